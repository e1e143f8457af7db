"""What maps say about errors, where the right answer is known."""
from functools import lru_cache

import numpy as np
import pytest
import torch
from demo import demo_detector

from mmdet_diffmap import load_detector
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.datasets.twins import render_twins
from mmdet_diffmap.errors.kinds import Kind
from mmdet_diffmap.errors.maps import explain_errors
from mmdet_diffmap.errors.misses import Mechanism
from mmdet_diffmap.lab.planted_errors import (
    instances_of,
    own_test_cfg,
    shift_boxes,
    suppress_neighbours,
    suppress_nothing,
    swap_badges,
)


@lru_cache
def detector(name):
    """A detector of its own, which tests may change."""
    return load_detector(f'mmdet_diffmap::demo/{name}.py')


def changed(name, change):
    model = load_detector(f'mmdet_diffmap::demo/{name}.py')
    change(model)
    return model


def errors_on(model, scene, **options):
    return explain_errors(model, scene.image, instances_of(scene), **options)


@pytest.mark.parametrize('family', ['fcos', 'faster-rcnn', 'detr'])
def test_a_class_contrast_lies_on_the_badge(family):
    """Badges alone decide the class of twins, and bodies do not: with badges
    swapped, the badge says why this class and not that."""
    shares, plain = [], []
    for index in range(1, 9, 2):
        scene = render_twins(0, index)
        for explanation in explain_errors(
                detector(f'{family}_twins'), scene.image,
                swap_badges(instances_of(scene))):
            assert explanation.error.kind is Kind.WRONG_CLASS
            assert explanation.record.reason == 'taken for another class'
            (question, contrast), (heat_question, _) = explanation.maps
            assert question.text == f'why {question.above} and not ' \
                f'{question.below}'
            assert not heat_question.output
            badge = torch.from_numpy(
                scene.parts[explanation.error.object])
            x1, y1, x2, y2 = scene.boxes[
                explanation.error.object].astype(int).tolist()
            box = torch.zeros_like(badge)
            box[y1:y2, x1:x2] = True
            shares.append(float(contrast.abs()[badge].sum() /
                                contrast.abs()[box].sum()))
            plain.append(float(badge[box].float().mean()))
    assert len(shares) >= 6
    assert np.mean(shares) > 1.2 * np.mean(plain)


def test_sides_that_are_off():
    """All boxes are shifted to the right, and the maps say so."""
    model = changed('faster-rcnn_scenes', shift_boxes(0.6))
    found = [explanation for index in range(3)
             for explanation in errors_on(model, render_scene(0, index))
             if explanation.error.kind is Kind.BADLY_PLACED]
    assert len(found) >= 6
    rightwards = 0
    for explanation in found:
        sides = [question for question, _ in explanation.maps
                 if 'side, off by' in question.text]
        # the right one may be clipped at the image's edge
        (left, ) = (question for question in sides
                    if question.text.startswith('its left side'))
        record = explanation.record
        to_the_right = record.box[0] > record.truth[0]
        wrong, right = ('right', 'left') if to_the_right else ('left', 'right')
        assert left.above == f'pulls it {wrong}, as it is'
        assert left.below == f'pulls it {right}, to where it should be'
        rightwards += to_the_right
    assert rightwards > len(found) / 2


def test_a_duplicate_is_compared_with_what_it_doubles():
    model = changed('faster-rcnn_scenes', suppress_nothing)
    found = [explanation for explanation in errors_on(
        model, render_scene(0, 2)) if explanation.error.kind is Kind.DUPLICATE]
    assert found
    for explanation in found:
        (question, difference), (_, heatmap) = explanation.maps
        assert 'against what it doubles' in question.text
        record = explanation.record
        assert record.rival_score >= record.score
        assert difference.min() >= -1 and difference.max() <= 1
        torch.testing.assert_close(difference.relu(),
                                   torch.minimum(difference.relu(), heatmap))


def test_what_was_suppressed_is_compared_with_what_suppressed_it():
    model = changed('fcos_scenes', suppress_neighbours)
    found = [explanation for index in range(8)
             for explanation in errors_on(model, render_scene(0, index))
             if explanation.record.reason == Mechanism.NEIGHBOUR.value]
    assert found
    for explanation in found:
        texts = [question.text for question, _ in explanation.maps]
        assert 'against what suppressed it' in texts[0]
        assert texts[1].startswith('what speaks for')
        assert explanation.record.fate == 'suppressed'


def test_background_is_compared_with_what_is_right():
    scene = render_scene(0, 2)
    instances = instances_of(scene)
    explanations = explain_errors(demo_detector(), scene.image, instances[1:])
    (first, ) = (each for each in explanations
                 if each.error.kind is Kind.BACKGROUND)
    assert first.error.object == -1 and first.record.truth is None
    assert [question.is_signed for question, _ in first.maps] == [
        False, True, True]
    alone = explain_errors(demo_detector(), scene.image, [])
    assert {len(each.maps) for each in alone} == {2}


def test_an_object_without_a_candidate_has_no_map():
    scene = render_scene(0, 2)
    far = dict(bbox=[0, 0, 3, 3], bbox_label=7)
    explanations = explain_errors(
        changed('faster-rcnn_scenes',
                lambda model: own_test_cfg(model).update(score_thr=0.5)),
        scene.image, [*instances_of(scene), far])
    (missed, ) = (each for each in explanations
                  if each.error.kind is Kind.MISSED)
    if missed.error.candidate < 0:
        assert not missed.maps and missed.record.box is None
    assert missed.record.reason == Mechanism.NO_PROPOSAL.value


def test_methods_that_cannot_tell_what_speaks_against():
    scene = render_twins(0, 1)
    explanations = explain_errors(
        detector('fcos_twins'), scene.image, swap_badges(instances_of(scene)),
        dict(type='DRISE', masks=16, progress=False))
    assert explanations
    for explanation in explanations:
        assert [question.is_signed for question, _ in explanation.maps] == [
            False]

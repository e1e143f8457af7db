"""What speaks for objects, and what against, is removed: the parts of the
check, on cases that can be read off, and all of it on a few scenes."""
import numpy as np
import pytest
import torch
from demo import demo_detector

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.explainers import DRISE, ODAM, DifferenceMap
from mmdet_diffmap.explainers.explainer import Evidence
from mmdet_diffmap.lab.evidence import (
    CONTROLS,
    FILLS,
    SHARES,
    EvidenceCase,
    check_evidence,
    check_explainer,
    occlude,
    on_occluder,
    rankings,
    removed_counts,
)
from mmdet_diffmap.lab.planted_errors import instances_of
from mmdet_diffmap.tracing.changed_inputs import ChangedInputs


def test_rankings():
    signed = torch.tensor([[0.5, -1.0, 0.0, 0.1],
                           [-0.2, 0.0, 0.9, 0.0],
                           [0.0, 0.0, 0.0, 0.0]])
    box = torch.tensor([10., 20., 12., 22.])  # of the input
    orders = rankings(signed, box, (20, 10), np.random.default_rng(0))
    assert set(orders) == {*CONTROLS['against'], *CONTROLS['for']}
    assert orders['against'][:2].tolist() == [1, 4]
    assert orders['magnitude'][:3].tolist() == [1, 6, 0]
    assert orders['for'][:2].tolist() == [6, 0]
    assert sorted(orders['random'].tolist()) == [0, 1, 4, 5]
    # around the middle of the two by two pixels of the box
    assert orders['against, turned'][:2].tolist() == [4, 1]
    # the third pixel of the second row has no place on the other side
    assert orders['for, turned'][:2].tolist() == [5, 0]


def test_no_more_pixels_are_removed_than_are_on_that_side():
    signed = torch.tensor([[0.5, -1.0, 0.0, 0.1], [-0.2, 0.3, 0.9, 0.0]])
    assert removed_counts(signed, 30.4, (0.05, 0.1, 0.2)) == {
        ('against', 0.05): 2, ('against', 0.1): 2, ('against', 0.2): 2,
        ('for', 0.05): 2, ('for', 0.1): 3, ('for', 0.2): 4}


def test_shares_on_the_occluder():
    signed = torch.zeros(4, 4)
    signed[0, 0], signed[0, 1], signed[3, 3] = -3, -1, 2
    occluder = np.zeros((4, 4), bool)
    occluder[0, 0] = True
    shares = on_occluder(signed, occluder, torch.tensor([0., 0., 2., 2.]))
    assert shares == {('occluder', 'area'): 25, ('occluder', 'against'): 75,
                      ('occluder', 'for'): 0}


def test_a_patch_hides_a_part_of_one_object():
    scene = render_scene(0, 3)
    image, mask = occlude(scene, (0, 3))
    again, _ = occlude(scene, (0, 3))
    assert np.array_equal(image, again)
    assert np.array_equal(image[~mask], scene.image[~mask])
    shares = [mask[y1:y2, x1:x2].mean()
              for x1, y1, x2, y2 in scene.boxes.astype(int)]
    assert 0.35 < max(shares) < 0.7


def scenes(count):
    pipeline = image_pipeline(demo_detector())
    for index in range(count):
        scene = render_scene(0, index)
        image, mask = occlude(scene, (0, index))
        yield EvidenceCase(pipeline(image).batch, instances_of(scene),
                           pipeline(scene.image).batch, mask)


@pytest.mark.slow
def test_what_it_hides_comes_back():
    """With more and more of what a patch hides, scores rise, whatever comes
    first; and more so with what speaks against than with its turned map."""
    figures = check_evidence(demo_detector(), scenes(24),
                             ODAM(outputs='score'), FILLS)
    assert figures.objects > 6
    assert set(figures.changes) == {
        (side, fill, share, ranking) for side in CONTROLS for fill in FILLS
        for share in SHARES for ranking in (side, *CONTROLS[side])}
    rising = [figures.changes['against', 'hidden', share, 'against'].mean
              for share in SHARES]
    assert rising == sorted(rising) and rising[-1] > 3
    assert figures.differences[
        'against', 'hidden', SHARES[-1], 'against, turned'].mean > 0
    assert set(figures.on_occluder) == {'for', 'against', 'area'}


def whole_scenes(*indices):
    pipeline = image_pipeline(demo_detector())
    for index in indices:
        scene = render_scene(0, index)
        yield EvidenceCase(pipeline(scene.image).batch, instances_of(scene))


@pytest.mark.parametrize('fill', FILLS[:2])
def test_found_objects_need_what_speaks_for_them(fill):
    figures = check_evidence(demo_detector(), whole_scenes(0, 1, 2, 3), ODAM(),
                             (fill, ), (0.2, ), objects='found')
    assert figures.objects > 6
    assert figures.before.low > 60
    assert figures.changes['for', fill, 0.2, 'for'].high < -5
    for control in ('random', 'for, turned', 'against'):
        difference = figures.differences['for', fill, 0.2, control]
        assert difference.mean == pytest.approx(
            figures.changes['for', fill, 0.2, 'for'].mean -
            figures.changes['for', fill, 0.2, control].mean)
        assert difference.mean < 0
    # both sides have so many pixels, and remove the same random ones
    assert figures.removed['for', 0.2].mean == pytest.approx(20, abs=0.1)
    assert figures.removed['against', 0.2] == figures.removed['for', 0.2]
    assert figures.changes['for', fill, 0.2, 'random'] == \
        figures.changes['against', fill, 0.2, 'random']
    assert not figures.on_occluder


class FewPixels(ODAM):
    """Five pixels in the middle of each box speak for it, three against."""

    def weigh(self, trace):
        maps = torch.zeros(len(trace), *trace.frame.image_shape)
        for own, (x1, y1, x2, y2) in zip(maps, trace.detections.bboxes):
            row, column = int(y1 + y2) // 2, int(x1 + x2) // 2
            own[row, column:column + 5] = torch.arange(1., 6)
            own[row + 1, column:column + 3] = -torch.arange(1., 4)
        return Evidence(maps, [], [])


def test_all_rankings_remove_as_many_pixels(monkeypatch):
    seen, candidates = [], ChangedInputs.candidates

    def look(self, images):
        seen.append(images)
        return candidates(self, images)

    monkeypatch.setattr(ChangedInputs, 'candidates', look)
    figures = check_evidence(demo_detector(), whole_scenes(0), FewPixels(),
                             ('noise', ), SHARES, objects='found')
    (image, ), *of_objects = seen
    assert len(of_objects) == figures.objects
    for images in of_objects:
        changed = (images != image).any(dim=1).sum(dim=(1, 2))
        assert sorted(changed.tolist()) == [3] * 5 + [5] * 5
    for share in SHARES:
        assert 5 * figures.removed['against', share].mean == pytest.approx(
            3 * figures.removed['for', share].mean)


@pytest.mark.parametrize('objects, problem', [
    ('missed', 'no object with a candidate of its class is missed'),
    ('found', 'no object is found'), ('both', 'must be missed or found')])
def test_nothing_to_look_at(objects, problem):
    cases = (EvidenceCase(image_pipeline(demo_detector())(
        'scene://0/1').batch, []) for _ in range(1))
    with pytest.raises(ValueError, match=problem):
        check_evidence(demo_detector(), cases, ODAM(), objects=objects)


@pytest.mark.parametrize('explainer', [DRISE(), DifferenceMap('ODAM')])
def test_methods_that_do_not_tell(explainer):
    with pytest.raises(ValueError, match='does not tell what speaks against'):
        check_explainer(explainer)

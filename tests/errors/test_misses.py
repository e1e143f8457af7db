"""Why objects are missed: cases whose reason can be read off."""
import copy
from functools import lru_cache

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_diffmap import load_detector
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.errors import explain_errors
from mmdet_diffmap.errors.find import find_errors
from mmdet_diffmap.errors.kinds import Kind, image_errors
from mmdet_diffmap.errors.misses import Mechanism, Miss, MissFinder
from mmdet_diffmap.evaluation.ground_truth import GroundTruth
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.lab.planted_errors import instances_of, own_test_cfg
from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.tracing.candidates import NUMBERS
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate, Filtering

#: Twice as large in the input.
FRAME = ImageFrame((200, 200), (200, 200), (100, 100))
OBJECT = (0, 0, 10, 10, 0)
NEIGHBOUR = (0, 4, 10, 14, 0)
#: x1, y1, x2, y2, label, score, fate, suppressor
RIGHT = (0, 0, 10, 9, 0, 0.6)


def finder_of(rows, *objects, proposals=None):
    """Of candidates (x1, y1, x2, y2, label, score, fate, suppressor), the
    best first, and objects (x1, y1, x2, y2, label)."""
    values = torch.tensor([row[:6] for row in rows]).view(-1, 6)
    candidates = InstanceData(
        bboxes=values[:, :4], labels=values[:, 4].long(), scores=values[:, 5])
    fates = torch.tensor([row[6] for row in rows], dtype=torch.long)
    kept = (fates == Fate.KEPT).nonzero()[:, 0]
    filtering = Filtering(
        fates,
        torch.tensor([(*row, -1)[7] for row in rows], dtype=torch.long), kept,
        values[kept, 5],
        None if proposals is None else torch.tensor(proposals).view(-1, 4))
    truth = GroundTruth.of_instances([
        dict(bbox=row[:4], bbox_label=row[4]) for row in objects])
    detections = candidates[kept]
    return MissFinder(
        image_errors(detections[detections.scores > 0.3], truth), candidates,
        filtering, FRAME)


@pytest.mark.parametrize('rows, miss', [
    ([], Miss(Mechanism.NO_BOX, -1)),
    # of its class, but elsewhere; the second overlaps it more
    ([(0, 6, 10, 16, 0, .9, Fate.KEPT), (0, 5, 10, 15, 0, .2, Fate.KEPT)],
     Miss(Mechanism.NO_BOX, 1)),
    ([(50, 50, 60, 60, 0, .9, Fate.KEPT)], Miss(Mechanism.NO_BOX, -1)),
    ([(0, 0, 10, 9, 1, .9, Fate.KEPT), (*RIGHT[:5], .1, Fate.KEPT)],
     Miss(Mechanism.OTHER_CLASS, 1, 0)),
    ([(0, 0, 10, 9, 1, .9, Fate.KEPT)], Miss(Mechanism.OTHER_CLASS, 0, 0)),
    ([(0, 0, 10, 9, 1, .2, Fate.KEPT), (*RIGHT[:5], .1, Fate.KEPT)],
     Miss(Mechanism.BACKGROUND, 1)),
    ([(0, 0, 10, 9, 1, .2, Fate.BELOW_THRESHOLD)],
     Miss(Mechanism.BACKGROUND, 0)),
    ([(*RIGHT, Fate.CUT)], Miss(Mechanism.CUT, 0)),
    ([(0, 0, 10, 4, 0, .9, Fate.KEPT), (*RIGHT, Fate.SUPPRESSED, 0)],
     Miss(Mechanism.WORSE_BOX, 1, 0)),
    ([(*RIGHT, Fate.SUPPRESSED)], Miss(Mechanism.WORSE_BOX, 0)),
    # the detector's own threshold is higher
    ([(*RIGHT, Fate.BELOW_THRESHOLD)], Miss(Mechanism.BACKGROUND, 0)),
    # suppression of all classes
    ([(0, 0, 10, 9, 1, .9, Fate.KEPT), (*RIGHT, Fate.SUPPRESSED, 0)],
     Miss(Mechanism.OTHER_CLASS, 1, 0)),
])
def test_mechanisms(rows, miss):
    assert finder_of(rows, OBJECT)(0) == miss


def test_neighbours():
    """The neighbour's box suppresses that of the object, or is its own."""
    found = (0, 4, 10, 14, 0, .9, Fate.KEPT)
    rows = [found, (*RIGHT, Fate.SUPPRESSED, 0)]
    finder = finder_of(rows, OBJECT, NEIGHBOUR)
    assert finder.errors.found_by.tolist() == [-1, 0]
    assert finder(0) == Miss(Mechanism.NEIGHBOUR, 1, 0)
    between = (0, 3, 10, 13, 0, .9, Fate.KEPT)
    finder = finder_of([between], OBJECT, NEIGHBOUR)
    assert finder.errors.found_by.tolist() == [-1, 0]
    assert finder(0) == Miss(Mechanism.SHARED, 0)


@pytest.mark.parametrize('proposals, mechanism', [
    ([[0., 0., 20., 18.]], Mechanism.MOVED_AWAY),  # in pixels of the input
    ([[0., 0., 10., 9.]], Mechanism.NO_PROPOSAL),
    ([], Mechanism.NO_PROPOSAL),
])
def test_proposals(proposals, mechanism):
    away = (0, 9, 10, 19, 0, .9, Fate.KEPT)
    finder = finder_of([away], OBJECT, proposals=proposals)
    assert finder(0) == Miss(mechanism, 0)


@lru_cache
def demo(name):
    return load_detector(f'mmdet_diffmap::demo/{name}_scenes.py')


def test_what_is_missed_can_be_explained():
    """The best candidate of a missed object lights up where the object is."""
    model = copy.deepcopy(demo('fcos'))
    with torch.no_grad():
        model.bbox_head.conv_cls.bias[0] -= 8
    scene = next(scene for scene in (render_scene(0, index)
                                     for index in range(8))
                 if 0 in scene.labels)
    found = find_errors(DetectorAdapter(model), image_pipeline(model)(
        scene.image).batch, instances_of(scene))
    number, miss = next(iter(found.misses.items()))
    assert number in found.errors.of_kind(Kind.MISSED)
    trace = found.candidates.trace.select([miss.candidate])
    assert trace.detections.scores.item() < 0.3
    (heatmap, ) = ODAM(outputs='score')(trace)
    x1, y1, x2, y2 = scene.boxes[number].round().astype(int)
    inside = heatmap[y1:y2, x1:x2]
    assert inside.max() == 1 and inside.mean() > 2 * heatmap.mean()


def test_annotations_of_other_classes():
    model = demo('fcos')
    data = image_pipeline(model)('scene://0/2').batch
    with pytest.raises(ValueError, match='knows 8 classes, 0 to 7'):
        find_errors(DetectorAdapter(model), data,
                    [dict(bbox=[0, 0, 9, 9], bbox_label=77)])


def test_nothing_annotated_and_only_a_crowd():
    model = demo('fcos')
    data = image_pipeline(model)('scene://0/2').batch
    found = find_errors(DetectorAdapter(model), data, [])
    assert not found.misses and set(found.errors.kinds) == {Kind.BACKGROUND}
    label = int(found.errors.detections.labels[0])
    crowd = dict(bbox=[0, 0, 192, 192], bbox_label=label, ignore_flag=1)
    found = find_errors(DetectorAdapter(model), data, [crowd])
    assert {kind for kind, own in zip(
        found.errors.kinds, found.errors.detections.labels.tolist())
        if own == label} == {Kind.IGNORED}


def test_an_image_without_detections():
    """And one without candidates of the object's class there."""
    model = demo('fcos')
    blank = np.full((192, 192, 3), 128, np.uint8)
    truth = [dict(bbox=[50, 50, 90, 90], bbox_label=0)]
    explained = find_errors(DetectorAdapter(model),
                            image_pipeline(model)(blank).batch, truth)
    assert not len(explained.errors.detections)
    (error, ) = explained
    assert error.kind is Kind.MISSED and error.object == 0
    assert error.miss.mechanism in (Mechanism.BACKGROUND, Mechanism.NO_BOX)
    assert not list(find_errors(DetectorAdapter(model), image_pipeline(
        model)(blank).batch, []))


def test_an_object_without_a_size():
    """It is found by nothing, and is nowhere."""
    model = demo('fcos')
    explained = find_errors(
        DetectorAdapter(model), image_pipeline(model)('scene://0/2').batch,
        [dict(bbox=[50, 50, 50, 50], bbox_label=0)])
    (missed, ) = (error for error in explained if error.kind is Kind.MISSED)
    assert missed.candidate == -1 and missed.iou == 0
    assert missed.miss.mechanism is Mechanism.NO_BOX


def test_more_detections_than_are_compared():
    """TIDE compares the best hundred."""
    apart = [(20. * i, 0., 20. * i + 10, 10.) for i in range(110)]
    rows = [(*box, 0, 0.9 - 0.001 * i, Fate.KEPT)
            for i, box in enumerate(apart)]
    finder = finder_of(rows, *[(*box, 0) for box in apart])
    finder.errors.detections.set_field(
        torch.arange(len(finder.errors.detections)), NUMBERS)
    assert len(finder.errors.detections) == 100
    assert finder(105) == Miss(Mechanism.CUT, 105)


def test_soft_suppression_lowers_scores():
    """The threshold is put on what is left of them."""
    model = copy.deepcopy(load_detector(
        'mmdet_diffmap::demo/faster-rcnn_scenes.py'))
    own_test_cfg(model).nms = ConfigDict(
        type='soft_nms', iou_threshold=0.5, min_score=0.001)
    data = image_pipeline(model)('scene://0/2').batch
    with torch.no_grad():
        (sample, ) = model.test_step(data)
    explained = find_errors(DetectorAdapter(model), data,
                            instances_of(render_scene(0, 2)))
    final = sample.pred_instances.scores
    torch.testing.assert_close(explained.errors.detections.scores,
                               final[final > 0.3])


def test_in_a_callers_inference_mode():
    scene = render_scene(0, 2)
    plain = explain_errors(demo('fcos'), scene.image, instances_of(scene),
                           score_thr=0.75)
    with torch.inference_mode():
        again = explain_errors(demo('fcos'), scene.image,
                               instances_of(scene), score_thr=0.75)
    assert plain and len(plain) == len(again)
    for first, second in zip(plain, again):
        assert first.record == second.record
        for (_, values), (_, others) in zip(first.maps, second.maps):
            torch.testing.assert_close(values, others)

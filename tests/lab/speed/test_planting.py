import json

import numpy as np
import pytest
import torch
from families import FAMILIES, batch_of, random_detector, random_image

from mmdet_diffmap.lab.speed import coco_boxes, planted, random_boxes
from mmdet_diffmap.tracing.detector import DetectorAdapter


def test_boxes_of_annotations_are_shares_of_their_image(tmp_path):
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=7, width=200, height=100)],
        annotations=[
            dict(image_id=7, bbox=[20, 10, 100, 50], iscrowd=0),
            dict(image_id=7, bbox=[0, 0, 100, 50], iscrowd=1),
            dict(image_id=7, bbox=[0, 0, 100, 0.5]),
            dict(image_id=7, bbox=[0, 0, 200, 100])])))
    boxes = coco_boxes(path)
    assert sorted(boxes.tolist()) == [[0, 0, 1, 1], [.1, .1, .6, .6]]
    assert np.array_equal(coco_boxes(path), boxes)


def test_random_boxes_are_boxes():
    boxes = random_boxes(500)
    assert boxes.shape == (500, 4)
    assert (boxes >= 0).all() and (boxes <= 1).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() >= 0.029 and sides.max() <= 0.901
    assert np.array_equal(random_boxes(500), boxes)
    assert not np.array_equal(random_boxes(500, 1), boxes)


@pytest.mark.parametrize('family', FAMILIES)
def test_planted_objects_come_first_and_nothing_stays(family):
    model = random_detector(family)
    data = batch_of(model, random_image(75, 130))
    boxes = np.array([[.1, .1, .2, .3], [.5, .5, .9, .9], [.4, 0, .6, 1]])
    before = [(len(m._forward_hooks), sorted(vars(m)))
              for m in model.modules()]
    with planted(model, boxes, data['inputs'][0].shape[1:]):
        scores = DetectorAdapter(model).trace(data).detections.scores
    plain = DetectorAdapter(model).trace(data).detections.scores
    assert scores[:3].min() > max(0.98, plain.max())
    assert before == [(len(m._forward_hooks), sorted(vars(m)))
                      for m in model.modules()]


def test_places_and_levels_of_planted_objects():
    """A detection's gradient is around the middle of its box, on the level
    of its size."""
    model = random_detector('pvt')
    data = batch_of(model, random_image(75, 130))
    height, width = data['inputs'][0].shape[1:]
    for box, level in [([.7, .1, .9, .3], 0), ([.1, .2, .9, .9], 1)]:
        with planted(model, np.array([box]), (height, width)):
            trace = DetectorAdapter(model).trace(data).select(slice(1))
        (gradient, ) = next(trace.gradients(['score'])).levels
        assert gradient.windows.level == level
        mass = gradient.spread().gradients[0].abs().sum(dim=0)
        weights = mass / mass.sum()
        stride = 8 << level
        row = (weights.sum(1) * torch.arange(len(mass))).sum() * stride
        assert abs(row + stride / 2 - (box[1] + box[3]) / 2 * height) < \
            2 * stride

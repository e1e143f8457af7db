"""How many operations an explanation starts."""
from functools import lru_cache

import numpy as np
import pytest
import torch
from families import CONFIGS, build, small_config

from mmdet_diffmap.explainers import DifferenceMap
from mmdet_diffmap.lab.speed import (
    Bench,
    Operations,
    count_operations,
    input_batch,
    random_boxes,
)

SIZE = (256, 320)


def test_views_are_free_and_waits_are_counted():
    x = torch.rand(3, 4)
    assert count_operations(lambda: x.T[1:].unsqueeze(0)) == Operations(0, 0)
    # a product of matrices, a sum, and its value
    assert count_operations(lambda: (x @ x.T).sum().item()) == \
        Operations(3, 1)
    assert count_operations(x.nonzero).waits == 1


def test_operations_on_the_way_back_are_counted():
    x = torch.rand(3, 4, requires_grad=True)
    y = x * 2
    # the product with 2, and nothing else
    assert count_operations(torch.autograd.grad, y, x, torch.ones(3, 4)
                            ) == Operations(1, 0)


@lru_cache
def bench(family):
    cfg = small_config(CONFIGS[family])
    for part in (cfg.model.test_cfg, cfg.model.test_cfg.get('rcnn') or {}):
        part['max_per_img'] = 80
        if 'nms' in part:
            part['nms']['iou_threshold'] = 1.
    if family == 'faster_rcnn':
        cfg.model.test_cfg.rpn.max_per_img = 90
    boxes = random_boxes(400, seed=1)
    return Bench(build(cfg), input_batch(
        np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8), SIZE
    ), boxes_apart(boxes)[:80])


def boxes_apart(boxes):
    """Boxes of the same size lie at places of their own; the first ones are
    of many sizes."""
    places = {}
    for box in boxes:
        x1, y1, x2, y2 = box * np.array([SIZE[1], SIZE[0]] * 2)
        side = np.sqrt((x2 - x1) * (y2 - y1))
        stride = 2**round(np.log2(side / 8))
        key = (stride, int((x1 + x2) / 2 / max(stride, 4)),
               int((y1 + y2) / 2 / max(stride, 4)))
        places.setdefault(key, box)
    return np.array(list(places.values()))


@pytest.mark.slow
@pytest.mark.parametrize('family, options', [
    ('yolox', {}), ('fcos', dict(statistics='frozen')), ('faster_rcnn', {})])
def test_operations_hardly_grow_with_the_objects(family, options):
    few, many = bench(family).operations(
        DifferenceMap('odam', **options), [5, 80])
    added = [each.trace.total + each.explain.total for each in (few, many)]
    assert few.forward.total + added[1] <= 1.3 * few.total, added

"""What would make a GPU wait for the processor, counted on the CPU."""
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from families import (
    CONFIGS,
    batch_of,
    build,
    coupled_detector,
    random_image,
    small_config,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.lab.speed import planted
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import products, rows

WAITS = {'item', 'tolist', 'cpu', 'numpy', 'nonzero', 'argwhere', 'unique',
         'masked_select', '__bool__', '__int__', '__float__', '__index__',
         '__contains__', '__array__', 'equal', 'allclose'}


class CountWaits(TorchFunctionMode):
    """Calls from Python that give the processor a value or a number of
    values."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        to_cpu = name == 'to' and any(
            str(one).startswith('cpu')
            for one in [*args[1:], *(kwargs or {}).values()]
            if isinstance(one, (str, torch.device)))
        if name in WAITS or to_cpu:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class CountOperations(TorchDispatchMode):
    """The same below Python, in the backward pass too."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = 'index' in name and isinstance(args[1], (tuple, list)) \
            and any(one is not None and one.dtype == torch.bool
                    for one in args[1])
        if by_mask or name in ('_local_scalar_dense', 'nonzero',
                               'masked_select', '_unique2', 'is_nonzero'):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def waits(work):
    with CountWaits() as calls, CountOperations() as operations:
        work()
    return calls.found + operations.found


def test_the_counters_see_what_they_must():
    x = torch.rand(4)
    assert waits(lambda: x.sum().item())['item'] == 1
    assert waits(lambda: x.tolist())['tolist'] == 1
    assert waits(lambda: x.cpu())['cpu'] == 1
    assert waits(lambda: x.to('cpu'))['to'] == 1
    assert waits(lambda: x.numpy())['numpy'] == 1
    assert sum(waits(lambda: x[x > 0.5]).values()) >= 1
    assert sum(waits(lambda: bool(x.any())).values()) >= 1
    assert not waits(lambda: x[torch.tensor([1, 2])] * 2)
    y = x.clone().requires_grad_()
    masked = y[y > 0.5].sum()
    assert sum(waits(lambda: torch.autograd.grad(masked, y)).values()) >= 1


@pytest.fixture(params=[*CONFIGS, 'fcos frozen'])
def planted_detector(request):
    family, _, statistics = request.param.partition(' ')
    cfg = small_config(CONFIGS[family])
    parts = [cfg.model.test_cfg, cfg.model.test_cfg.get('rcnn') or {}]
    for part in parts:
        part['max_per_img'] = 40
        if 'nms' in part:
            part['nms']['iou_threshold'] = 1.
    if family == 'detr':
        cfg.model.num_queries = 40
    elif family == 'faster_rcnn':
        cfg.model.test_cfg.rpn.max_per_img = 60
    model = build(cfg)
    data = batch_of(model, random_image(110, 147))
    return model, data, statistics or 'exact'


def small_boxes(count):
    """Boxes of one level, each at a place of its own."""
    columns, rows = np.meshgrid(np.arange(8), np.arange(5))
    corners = np.stack([columns / 9 + 0.02, rows / 6 + 0.02], 2).reshape(-1, 2)
    return np.concatenate([corners, corners + 0.06], axis=1)[:count]


def test_waits_do_not_grow_with_the_objects(planted_detector):
    """Neither for ODAM's maps nor for the differences of these."""
    model, data, statistics = planted_detector
    method = build_explainer('DifferenceMap', statistics=statistics)
    adapter = DetectorAdapter(model, 'neck', statistics)
    found = {}
    for count in (12, 40):
        with planted(model, small_boxes(count), data['inputs'][0].shape[1:]):
            trace = Selection(0, count)(adapter.trace(data))
        assert len(trace) == count
        # measuring takes time once for each head, and is not counted
        products.measurements[model.bbox_head if hasattr(
            model, 'bbox_head') else model.roi_head.bbox_head] = {
                torch.device('cpu'): products.Measured(False, 1)}
        method(trace)
        with rows.batches():  # cotangents are looked at on a CPU alone
            found[count] = waits(partial(method, trace))
    # less than one for each added object: a pass through the host's
    # post-processing, which has masks, may be one more
    assert sum(found[40].values()) - sum(found[12].values()) < 28, found


def test_coupled_regions_wait_once():
    model = coupled_detector()
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(110, 147)))
    list(trace.select([0]).gradients())  # finds out where RoIs are pooled
    assert not waits(lambda: list(trace.gradients()))

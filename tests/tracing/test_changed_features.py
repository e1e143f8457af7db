"""A detector with changed maps of a layer, against a run with a hook."""
import pytest
import torch
from families import SIZE, batch_of, random_detector, random_image, trace_of
from test_contract import state

from mmdet_diffmap.tracing.detector import DetectorAdapter

CHANNELS = (3, 0)


def one_by_one(model, trace, module, level, channel):
    """The candidates of a run in which a hook sets a channel to zero."""

    def hook(module, args, output):
        maps = [output] if isinstance(output, torch.Tensor) else list(output)
        for number, each in enumerate(maps):
            if level in (None, number):
                maps[number] = each.clone()
                if each.dim() == 3:  # tokens
                    maps[number][:, :, channel] = 0
                else:
                    maps[number][:, channel] = 0
        return maps[0] if isinstance(output, torch.Tensor) else tuple(maps)

    handle = model.get_submodule(module).register_forward_hook(hook)
    try:
        (candidates, ) = trace.input.candidates(trace.input.image[None])
    finally:
        handle.remove()
    return candidates


@pytest.mark.parametrize('family, layer, module, level', [
    ('fcos', 'neck', 'neck', None),
    ('fcos', 'neck[1]', 'neck', 1),
    ('fcos', 'backbone', 'backbone', None),
    ('fcos', 'neck.fpn_convs.0', 'neck.fpn_convs.0', None),
    ('fcos', 'bbox_head.cls_convs.0.conv', 'bbox_head.cls_convs.0.conv',
     None),
    ('faster_rcnn', 'neck', 'neck', None),
    ('faster_rcnn', 'backbone.layer4', 'backbone.layer4', None),
    ('detr', 'neck', 'neck', None),
    ('detr', 'encoder', 'encoder', None),
    ('yolox', 'neck', 'neck', None),
])
def test_copies_are_what_single_runs_are(family, layer, module, level):
    model, trace = random_detector(family), trace_of(family, layer)
    factors = [torch.ones(3, len(feature)) for feature in trace.features]
    for each in factors:
        for number, channel in enumerate(CHANNELS):
            each[number, channel] = 0
    *changed, unchanged = trace.scaled_channels(factors)
    (expected, ) = trace.input.candidates(trace.input.image[None])
    alike(unchanged, expected)
    for candidates, channel in zip(changed, CHANNELS):
        expected = one_by_one(model, trace, module, level, channel)
        alike(candidates, expected)
        assert not same(candidates, unchanged)


def alike(candidates, expected):
    """Whether candidates are the same but for rounding, which may exchange
    some that are nearly equal."""
    assert len(candidates) == len(expected)
    for name in 'scores', 'bboxes':
        ours, theirs = (getattr(each, name).flatten().sort().values
                        for each in (candidates, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def same(candidates, expected):
    return len(candidates) == len(expected) and torch.allclose(
        candidates.scores, expected.scores, rtol=0, atol=1e-7)


@pytest.mark.parametrize('layer, images', [
    ('neck', 1), ('backbone', 1), ('neck[1]', 5), ('backbone.layer4', 5)])
def test_what_comes_before_a_layer_runs_once_where_it_can(layer, images):
    trace = trace_of('fcos', layer)
    seen = []

    def note(module, args):
        seen.append(len(args[0]))

    hook = random_detector('fcos').backbone.register_forward_pre_hook(note)
    try:
        assert len(trace.scaled_channels([
            torch.ones(5, len(feature)) for feature in trace.features])) == 5
    finally:
        hook.remove()
    assert seen == [images]


@pytest.mark.parametrize('layer', ['neck', 'backbone.layer4'])
def test_nothing_is_left_behind(layer, monkeypatch):
    model = random_detector('fcos')
    trace = DetectorAdapter(model, layer).trace(
        batch_of(model, random_image(*SIZE)))
    factors = [torch.ones(2, len(feature)) for feature in trace.features]
    before = state(model)
    trace.scaled_channels(factors)
    assert state(model) == before

    def fail(*args, **kwargs):
        raise RuntimeError('the planted failure')

    with monkeypatch.context() as patch:
        patch.setattr(model.bbox_head, 'forward', fail)
        with pytest.raises(RuntimeError, match='the planted failure'):
            trace.scaled_channels(factors)
    assert state(model) == before


def test_no_target_layer_no_channels():
    assert trace_of('fcos', None).scaled_channels is None

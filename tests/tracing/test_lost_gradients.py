"""Detectors that lose the gradient of what they predict say where."""
import copy

import pytest
import torch
from families import batch_of, random_detector, random_image

from mmdet_diffmap.explainers import ODAM, GradCAM
from mmdet_diffmap.tracing.detector import DetectorAdapter

SIZE = (75, 130)
HERE = r'test_lost_gradients\.py:\d+'


def traced(model):
    data = batch_of(model, random_image(*SIZE))
    return DetectorAdapter(model).trace(data)


def leave_and_return(value):
    return torch.from_numpy(value.detach().numpy().copy())


def without_gradient(value):
    with torch.no_grad():
        return value * 1


def tensor_data(value):
    return value.data


@pytest.mark.parametrize('lose, name', [
    (leave_and_return, 'numpy'),
    (without_gradient, 'mul'),
    (tensor_data, 'data'),
])
def test_post_processing(monkeypatch, lose, name):
    model = copy.deepcopy(random_detector('yolox'))
    head = model.bbox_head
    decode = head._bbox_post_process
    monkeypatch.setattr(
        head, '_bbox_post_process',
        lambda results, **kwargs: decode(
            results=type(results)(**{
                key: lose(value) if value.is_floating_point() else value
                for key, value in results.items()}), **kwargs))
    with pytest.raises(RuntimeError, match=f'{name} in .*{HERE}.*, '
                       r'of bbox_head \(YOLOXHead\)'):
        ODAM()(traced(model))


def test_boxes_alone(monkeypatch):
    """The scores can still be explained."""
    model = copy.deepcopy(random_detector('fcos'))
    head = model.bbox_head
    decode = head.bbox_coder.decode
    monkeypatch.setattr(
        head.bbox_coder, 'decode',
        lambda *args, **kwargs: leave_and_return(decode(*args, **kwargs)))
    trace = traced(model)
    assert len(trace)
    assert GradCAM()(trace).any()
    assert ODAM(outputs='score')(trace).any()
    with pytest.raises(RuntimeError, match=r'the gradient of x1, x2, y1, y2: '
                       rf'numpy in leave_and_return \({HERE}\)'):
        ODAM(outputs=('x1', 'y1', 'x2', 'y2'))(trace)


def test_scores_within_the_head(monkeypatch):
    """Parameters alone have a gradient there; that is none of the input."""
    model = copy.deepcopy(random_detector('pvt'))
    layer = model.bbox_head.retina_cls
    forward = layer.forward
    monkeypatch.setattr(layer, 'forward',
                        lambda value: forward(value.detach()))
    trace = traced(model)
    with pytest.raises(RuntimeError, match=r'the gradient of score: detach in '
                       rf'.*{HERE}\), of bbox_head\.retina_cls \(Conv2d\)'):
        GradCAM()(trace)


def test_a_detector_that_loses_nothing():
    trace = traced(random_detector('fcos'))
    assert [trace.lost(output) for output in ('score', 'x1')] == ['', '']

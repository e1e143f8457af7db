import copy
import sys

import pytest
import torch
from families import (
    CONFIGS,
    DETECTIONS,
    FAMILIES,
    batch_of,
    build,
    random_detector,
    random_image,
    small_config,
)
from mmengine.config import Config
from torch import nn

from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.trace import OUTPUTS


def predict(model, data):
    with torch.no_grad():
        return model.test_step(copy.deepcopy(data))


@pytest.mark.parametrize('size', [(75, 130), (131, 61), (40, 40)])
@pytest.mark.parametrize('family', FAMILIES)
def test_detections_are_those_of_predict(family, size):
    model = random_detector(family)
    data = batch_of(model, random_image(*size))
    expected = predict(model, data)[0].pred_instances
    detections = DetectorAdapter(model).trace(data).detections
    assert len(expected) >= DETECTIONS
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(detections[field], expected[field])


@pytest.mark.parametrize('family', FAMILIES)
def test_outputs_are_the_detections_in_input_pixels(family):
    model = random_detector(family)
    data = batch_of(model, random_image(75, 130))
    trace = DetectorAdapter(model).trace(data)
    assert trace.outputs.shape == (len(trace), len(OUTPUTS))
    assert torch.equal(trace.outputs[:, 0], trace.detections.scores)
    scale = data['data_samples'][0].scale_factor
    torch.testing.assert_close(
        trace.outputs[:, 1:],
        trace.detections.bboxes * torch.tensor(scale * 2))


@pytest.mark.parametrize('family', FAMILIES)
def test_image_of_a_batch_keeps_the_padding_of_the_batch(family):
    model = random_detector(family)
    small, large = random_image(75, 130), random_image(60, 61, seed=1)
    data = batch_of(model, small, large)
    expected = predict(model, data)
    for index in (0, 1):
        trace = DetectorAdapter(model).trace(data, index)
        torch.testing.assert_close(
            trace.detections.scores[:DETECTIONS],
            expected[index].pred_instances.scores[:DETECTIONS],
            rtol=1e-4, atol=1e-5)
        assert trace.frame.image_shape == data['data_samples'][index].ori_shape
        assert trace.frame.input_shape == tuple(
            model.data_preprocessor(copy.deepcopy(data))['inputs'].shape[-2:])


@pytest.mark.parametrize('index', [-1, 1])
def test_image_that_is_not_in_the_batch(index):
    model = random_detector('fcos')
    with pytest.raises(ValueError, match=f'index {index} is none of a batch'):
        DetectorAdapter(model).trace(
            batch_of(model, random_image(75, 130)), index)


def test_data_is_left_as_it_is():
    model = random_detector('fcos')
    data = batch_of(model, random_image(75, 130))
    before = copy.deepcopy(data)
    DetectorAdapter(model).trace(data)
    assert torch.equal(data['inputs'][0], before['inputs'][0])
    assert data['data_samples'][0].metainfo == before['data_samples'][
        0].metainfo
    assert 'pred_instances' not in data['data_samples'][0]


def test_wrapped_model():
    class MMDistributedDataParallel(nn.Module):

        def __init__(self, module):
            super().__init__()
            self.module = module

    from mmengine.registry import MODEL_WRAPPERS
    MODEL_WRAPPERS.register_module(
        name='TestWrapper', module=MMDistributedDataParallel, force=True)
    model = random_detector('fcos')
    assert DetectorAdapter(MMDistributedDataParallel(model)).model is model


def test_something_else_than_a_detector():
    with pytest.raises(TypeError, match='detector of mmdet, not Linear'):
        DetectorAdapter(nn.Linear(2, 2))


def test_selection_function_is_put_back():
    module = sys.modules['mmdet.models.dense_heads.base_dense_head']
    select = module.select_single_mlvl
    model = random_detector('fcos')
    data = batch_of(model, random_image(75, 130))
    DetectorAdapter(model).trace(data)
    assert module.select_single_mlvl is select
    assert not select([torch.ones(1, 2, requires_grad=True)], 0)[
        0].requires_grad


def test_nan_of_a_head_is_not_taken_for_a_low_score():
    model = random_detector('pvt')
    data = batch_of(model, random_image(90, 110))
    network = DetectorAdapter(model, None).trace(data).input
    broken = network.image.clone()
    broken[:, 40:50, 40:50] = float('nan')
    assert len(network.detections(network.image[None])) == 1
    with pytest.raises(FloatingPointError, match='RetinaHead gives NaN'):
        network.detections(broken[None])
    assert not model.bbox_head._forward_hooks


@pytest.mark.parametrize('family', FAMILIES)
def test_detections_of_an_unchanged_copy_are_those_of_the_trace(family):
    model = random_detector(family)
    trace = DetectorAdapter(model, None).trace(
        batch_of(model, random_image(90, 110)))
    (found, ) = trace.input.detections(trace.input.image[None])
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(found[field], trace.detections[field])


def test_what_the_network_gets_for_pixels():
    model = random_detector('fcos')
    image = random_image(90, 110)
    network = DetectorAdapter(model, None).trace(batch_of(model, image)).input
    inputs = batch_of(model, image)['inputs'][0]
    if model.data_preprocessor._channel_conversion:
        inputs = inputs[[2, 1, 0]]
    height, width = inputs.shape[1:]
    torch.testing.assert_close(network.of_pixels(inputs),
                               network.image[:, :height, :width])


@pytest.mark.parametrize('settings, part', [
    (dict(), 'teacher'), (None, 'teacher'),
    (dict(predict_on='teacher'), 'teacher'),
    (dict(predict_on='student'), 'student')])
def test_semi_supervised_detector(settings, part):
    config = small_config(CONFIGS['fcos']).model
    model = build(Config(dict(model=dict(
        type='SemiBaseDetector', detector=config, semi_train_cfg=dict(),
        semi_test_cfg=settings))))
    assert DetectorAdapter(model).model is getattr(model, part)

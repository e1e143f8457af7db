import copy

import pytest
import torch
from families import batch_of, random_detector, random_image

from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.target_layer import TargetLayer, grids_of
from mmdet_diffmap.tracing.trace import whole_gradients


def trace(layer, family='fcos'):
    model = random_detector(family)
    return DetectorAdapter(model, layer).trace(
        batch_of(model, random_image(75, 130)))


@pytest.mark.parametrize('layer, levels', [
    ('neck', 5),
    ('backbone', 4),
    ('backbone.layer4', 1),
    ('backbone.bn1', 1),  # a ReLU changes its output in place
    ('neck.fpn_convs.1', 1),
    ('neck[1]', 1),
    ('bbox_head.cls_convs.0.conv', 5),  # shared by the levels
    ('bbox_head', 15),  # the raw maps themselves
])
def test_any_module_can_be_the_target(layer, levels):
    traced = trace(layer).select(slice(1))
    assert len(traced.features) == levels
    levels = whole_gradients(traced.gradients(['score']))[0, 'score']
    assert levels
    for level, gradient in levels.items():
        assert gradient.shape == traced.features[level].shape
    assert any(gradient.abs().sum() > 0 for gradient in levels.values())


@pytest.mark.parametrize('index', ['', '[1]'])
def test_neck_of_a_detector_without_one_is_its_backbone(index):
    backbone = torch.nn.Conv2d(3, 4, 1)
    model = torch.nn.ModuleDict(dict(backbone=backbone))
    layer = TargetLayer(model, f'neck{index}')
    assert layer.module is backbone
    assert layer.name == f'neck{index}'


def test_index_and_module_of_one_level_agree():
    first, second = (trace(layer).select(slice(2))
                     for layer in ('neck[0]', 'neck.fpn_convs.0'))
    torch.testing.assert_close(first.features, second.features)
    ours, theirs = (whole_gradients(traced.gradients())
                    for traced in (first, second))
    assert ours.keys() == theirs.keys() and any(ours.values())
    for key, levels in theirs.items():
        torch.testing.assert_close(ours[key], levels)


@pytest.mark.parametrize('layer, message', [
    ('neck.nothing', r'neck has lateral_convs, fpn_convs'),
    ('nowhere', r'FCOS has data_preprocessor, backbone, neck, bbox_head'),
    ('backbone.layer4.0.relu.x', r'backbone\.layer4\.0\.relu has no modules'),
    ('neck[x]', 'no module path'),
    ('', 'no module path'),
])
def test_layer_that_does_not_exist(layer, message):
    with pytest.raises(ValueError, match=message):
        trace(layer)


@pytest.mark.parametrize('layer, message', [
    ('neck[7]', 'no such output'),
    ('bbox_head.loss_cls', 'not used when the detector predicts'),
])
def test_layer_that_is_not_used(layer, message):
    with pytest.raises(ValueError, match=message):
        trace(layer)


@pytest.mark.parametrize('layer', ['rpn_head', 'neck[4]'])
def test_layer_that_no_detection_depends_on(layer):
    with pytest.raises(ValueError, match='no detection depends on target la'):
        trace(layer, 'faster_rcnn')


def test_layer_that_gives_no_maps():
    with pytest.raises(ValueError, match='not feature maps'):
        trace('backbone.layers.3.1.0', 'pvt')


@pytest.mark.parametrize('family, statistics', [
    ('pvt', 'exact'), ('fcos', 'exact'), ('fcos', 'frozen')])
@pytest.mark.parametrize('first', [True, False])
def test_layer_inside_of_the_head(family, statistics, first):
    """Windows of the head's inputs say nothing about it; and whether the head
    was used before does not matter."""
    model = copy.deepcopy(random_detector(family))
    data = batch_of(model, random_image(75, 130))
    if not first:
        DetectorAdapter(model, 'neck', statistics).trace(data)
    layer = 'bbox_head.cls_convs.0.conv'
    traced = DetectorAdapter(model, layer, statistics).trace(data)
    assert len(traced.features) == 5  # one a level
    levels = whole_gradients(
        traced.select(slice(1)).gradients(['score']))[0, 'score']
    assert any(gradient.abs().sum() > 0 for gradient in levels.values())


def test_tokens_of_an_encoder_are_a_map():
    """Of DETR's memory: the score's gradient is that of the tokens."""
    model = random_detector('detr')
    data = batch_of(model, random_image(75, 130))
    traced = DetectorAdapter(model, 'encoder').trace(data)
    (feature, ) = traced.features
    assert feature.shape[1:] == model.backbone(
        model.data_preprocessor(data)['inputs'])[-1].shape[2:]
    memory = []

    def hook(module, args, output):
        memory.append(output.detach().requires_grad_())
        return memory[0]

    prepared = model.data_preprocessor(copy.deepcopy(data), False)
    handle = model.encoder.register_forward_hook(hook)
    try:
        (sample, ) = model.predict(prepared['inputs'],
                                   prepared['data_samples'])
    finally:
        handle.remove()
    predicted = sample.pred_instances
    assert torch.equal(predicted.bboxes, traced.detections.bboxes)
    found = whole_gradients(traced.gradients(['score']))
    for detection, score in enumerate(predicted.scores):
        (expected, ) = torch.autograd.grad(score, memory, retain_graph=True)
        gradient = found[detection, 'score'][0]
        torch.testing.assert_close(gradient.flatten(1).T, expected[0])
    torch.testing.assert_close(feature.flatten(1).T, memory[0][0])


@pytest.mark.parametrize('shape, given, last_map, expected', [
    ((1, 26, 8), [[4, 5], [2, 3]], [(9, 9)], [(4, 5), (2, 3)]),
    ((1, 20, 8), None, [(4, 5)], [(4, 5)]),
    ((1, 21, 8), None, [(4, 5)], []),  # one is a class token
    ((1, 20, 8), None, [], []),  # the neck has not run yet
    ((2, 20, 8), None, [(4, 5)], [(4, 5)]),  # of two images
    ((1, 8, 4, 5), None, [(4, 5)], []),  # a map
])
def test_grids_of_tokens(shape, given, last_map, expected):
    kwargs = {} if given is None else dict(spatial_shapes=torch.tensor(given))
    assert grids_of(torch.rand(shape), kwargs, last_map) == expected

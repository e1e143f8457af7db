import copy
from functools import partial

import pytest
import torch
from families import batch_of, build, random_image, small_config
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.bbox import bbox2roi

from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.trace import whole_gradients

CONFIG = 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'


@pytest.fixture(scope='module')
def model():
    return build(small_config(CONFIG))


@pytest.fixture(scope='module')
def data(model):
    return batch_of(model, random_image(75, 130))


def naive_mask_gradients(model, data, count):
    """mmdet's mask branch on its own boxes, one backward pass a detection."""
    with torch.no_grad():
        found = model.test_step(data)[0].pred_instances[:count]
        batch = model.data_preprocessor(data, False)
        levels = model.extract_feat(batch['inputs'])
        factor = batch['data_samples'][0].scale_factor
    levels = [level.requires_grad_() for level in levels]
    boxes = found.bboxes * found.bboxes.new_tensor(factor).repeat(1, 2)
    logits = model.roi_head._mask_forward(
        tuple(levels), bbox2roi([boxes]))['mask_preds']
    for index, label in enumerate(found.labels):
        own = logits[index, label]
        inside = own.sigmoid() > 0.5
        assert inside.any()
        yield [one if one is None else one[0] for one in torch.autograd.grad(
            own[inside].mean(), levels, retain_graph=True, allow_unused=True)]


@pytest.mark.parametrize('target_layer', ['neck', 'neck[0]'])
def test_gradient_of_the_mask_is_that_of_a_naive_loop(
        model, data, target_layer):
    trace = DetectorAdapter(model, target_layer).trace(data)
    found = whole_gradients(trace.gradients(['mask']))
    assert all(found.values()) and len(found) == len(trace)
    expected = list(naive_mask_gradients(model, data, len(trace)))
    if target_layer == 'neck[0]':
        expected = [levels[:1] for levels in expected]
    for detection, levels in enumerate(expected):
        whole = [torch.zeros_like(one) for one in trace.features]
        for level, gradient in found[detection, 'mask'].items():
            whole[level] += gradient
        for one, other in zip(whole, levels):
            torch.testing.assert_close(
                one, torch.zeros_like(one) if other is None else other,
                atol=1e-6, rtol=1e-4)


def check_against_naive(model, data):
    trace = DetectorAdapter(model).trace(data)
    found = whole_gradients(trace.gradients(['mask']))
    for detection, levels in enumerate(
            naive_mask_gradients(model, data, len(trace))):
        for level, gradient in enumerate(levels):
            ours = found[detection, 'mask'].get(level)
            if gradient is None:
                assert ours is None or not ours.any()
            else:
                torch.testing.assert_close(ours, gradient, atol=1e-6,
                                           rtol=1e-4)


def test_branch_that_pools_in_its_own_way(model, data, monkeypatch):
    """The whole of it is gone back through."""
    for layer in model.roi_head.mask_roi_extractor.roi_layers:
        monkeypatch.setattr(layer, 'forward', partial(halved, layer.forward))
    check_against_naive(model, data)


def halved(forward, *args):
    return forward(*args) / 2


def test_branch_that_mixes_detections(model, data):
    """It runs with the whole detector."""
    mixing = copy.deepcopy(model)
    mixing.roi_head.mask_head.__class__ = MixingMaskHead
    check_against_naive(mixing, data)


class MixingMaskHead(FCNMaskHead):

    def forward(self, x):
        return super().forward(x - x.mean(dim=0))


def test_gradients_of_selected_detections_are_their_own(model, data):
    trace = DetectorAdapter(model).trace(data)
    assert len(trace) > 2
    among_all = whole_gradients(trace.gradients(['mask']))[2, 'mask']
    alone = whole_gradients(
        trace.select([2]).gradients(['mask']))[0, 'mask']
    assert alone.keys() == among_all.keys()
    for level, gradient in alone.items():
        torch.testing.assert_close(gradient, among_all[level])


def test_target_before_the_neck(model, data):
    trace = DetectorAdapter(model, 'backbone').trace(data).select([0])
    found = whole_gradients(trace.gradients(['mask']))[0, 'mask']
    leaves = [one[None].clone().requires_grad_() for one in trace.features]
    levels = model.neck(tuple(leaves))
    boxes = trace.outputs[:, 1:5].detach()
    logits = model.roi_head._mask_forward(
        levels, bbox2roi([boxes]))['mask_preds'][0, trace.detections.labels[0]]
    expected = torch.autograd.grad(
        logits[logits > 0].mean(), leaves, allow_unused=True)
    for number, one in enumerate(expected):
        if one is not None:
            torch.testing.assert_close(found[number], one[0], atol=1e-6,
                                       rtol=1e-4)


def test_no_mask_no_gradient(model, data, monkeypatch):
    monkeypatch.setitem(model.roi_head.test_cfg, 'mask_thr_binary', 1 - 1e-9)
    trace = DetectorAdapter(model).trace(data)
    for levels in whole_gradients(trace.gradients(['mask'])).values():
        assert not any(gradient.any() for gradient in levels.values())


def test_boxes_are_those_of_the_detector_with_masks(model, data):
    with torch.no_grad():
        expected = model.test_step(data)[0].pred_instances
    assert 'masks' in expected
    for target in 'neck', None:
        found = DetectorAdapter(model, target).trace(data).detections
        assert torch.equal(found.bboxes, expected.bboxes)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.labels, expected.labels)
    assert 'predict_mask' not in vars(model.roi_head)


def test_map_of_the_mask(model, data):
    trace = DetectorAdapter(model).trace(data)
    mask, = ODAM(outputs='mask')(trace.select([0]))
    assert mask.shape == trace.frame.image_shape
    assert mask.max() == 1
    joint, = ODAM(outputs=('score', 'mask'), normalize_outputs=True)(
        trace.select([0]))
    assert joint.max() == 1
    assert not torch.equal(joint, mask)


def test_detector_without_masks():
    model = build(small_config('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'))
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(75, 130)))
    with pytest.raises(ValueError, match='predicts no masks'):
        ODAM(outputs='mask')(trace)

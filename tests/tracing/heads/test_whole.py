"""Detectors of which nothing is known but that they predict."""
import copy

import pytest
import torch
from families import batch_of, build, random_detector, random_image
from mmdet.models.detectors import BaseDetector
from mmengine.hub import get_config

from mmdet_diffmap.apis import explain
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import WholeGradients
from mmdet_diffmap.tracing.heads import WholeRun, cut_heads, head_run
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients

SIZE = (90, 120)


class Stranger(BaseDetector):
    """A detector whose parts have names of their own."""

    def __init__(self, model):
        super().__init__(model.data_preprocessor)
        self.trunk, self.neck = model.backbone, model.neck
        self.finder = model.bbox_head

    def extract_feat(self, inputs):
        return self.neck(self.trunk(inputs))

    def predict(self, inputs, samples, rescale=True):
        found = self.finder.predict(self.extract_feat(inputs), samples,
                                    rescale=rescale)
        return self.add_pred_to_datasample(samples, found)

    def loss(self, inputs, samples):
        raise NotImplementedError

    _forward = loss


class Twice(Stranger):
    """Looks twice, and keeps what it has seen the second time."""

    def __init__(self, model):
        super().__init__(model)
        self.bbox_head = self.finder

    def predict(self, inputs, samples, rescale=True):
        super().predict(inputs, copy.deepcopy(samples), rescale)
        return super().predict(inputs, samples, rescale)


@pytest.mark.parametrize('kind', [Stranger, Twice])
@pytest.mark.parametrize('family', ['fcos', 'yolox'])
def test_maps_are_those_of_the_known_detector(kind, family):
    model = random_detector(family)
    stranger = kind(model).eval()
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(stranger).trace(data).select(slice(3))
    expected = DetectorAdapter(model).trace(data).select(slice(3))
    assert isinstance(trace.source, WholeGradients) or kind is Twice
    assert torch.equal(trace.detections.bboxes, expected.detections.bboxes)
    assert len(trace)
    torch.testing.assert_close(ODAM()(trace), ODAM()(expected), rtol=0,
                               atol=1e-3)


def test_which_run_is_chosen():
    stranger = Stranger(random_detector('fcos'))
    assert isinstance(head_run(stranger), WholeRun)
    with pytest.raises(TypeError, match='Stranger has no head of a known'):
        cut_heads(stranger)


def test_boxes_that_go_from_stage_to_stage(monkeypatch):
    """The host detaches them between the stages; against the parts of the
    detector, run one after the other where nothing can be detached."""
    cfg = get_config('mmdet::sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.update(
        depth=18, norm_cfg=dict(type='BN'), init_cfg=None)
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    cfg.model.rpn_head.num_proposals = 8
    heads = cfg.model.roi_head
    heads.update(num_stages=2, stage_loss_weights=[1, 1],
                 bbox_head=heads.bbox_head[:2])
    cfg.model.test_cfg.rcnn.max_per_img = 3
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = (150, 110)
    model = build(cfg)
    data = batch_of(model, random_image(*SIZE))
    trace = DetectorAdapter(model).trace(data)
    assert isinstance(head_run(model), WholeRun) and len(trace) == 3

    prepared = model.data_preprocessor(copy.deepcopy(data), False)
    samples = prepared['data_samples']
    with torch.no_grad():
        features = model.extract_feat(prepared['inputs'])
        proposals = model.rpn_head.predict(features, samples)
    features = [feature.requires_grad_() for feature in features]
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, 'detach', lambda self: self)
        (found, ) = model.roi_head.predict(features, proposals, samples,
                                         rescale=True)
    scale = found.bboxes.new_tensor(samples[0].scale_factor * 2)
    outputs = torch.cat([found.scores[:, None], found.bboxes * scale], dim=1)
    torch.testing.assert_close(trace.outputs, outputs)
    for (detection, output), levels in whole_gradients(
            trace.gradients()).items():
        expected = torch.autograd.grad(
            outputs[detection, OUTPUTS.index(output)],
            features, retain_graph=True, allow_unused=True)
        assert levels
        for level, one in enumerate(expected):
            if level in levels:
                torch.testing.assert_close(levels[level], one[0])
            else:
                assert one is None


@pytest.mark.parametrize('family', ['faster_rcnn', 'fcos'])
def test_a_whole_run_is_equal_to_the_cut_one(family):
    """Proposals are constants in both."""
    model = random_detector(family)
    adapter = DetectorAdapter(model)
    data = batch_of(model, random_image(*SIZE))
    whole = adapter.trace(data, run=WholeRun(model))
    torch.testing.assert_close(ODAM()(whole), ODAM()(adapter.trace(data)),
                               rtol=0, atol=1e-3)


def test_nothing_is_left_behind():
    model = random_detector('fcos')
    stranger = Stranger(model).eval()
    explain(stranger, batch_of(model, random_image(*SIZE)), score_thr=0)
    assert not any(one._forward_hooks or one._forward_pre_hooks
                   for one in stranger.modules())
    value = torch.ones(1, requires_grad=True)
    assert not value.detach().requires_grad

"""Detectors of which nothing is known but that they predict."""
import copy

import pytest
import torch
from families import batch_of, random_detector, random_image
from mmdet.models.detectors import BaseDetector

from mmdet_diffmap.apis import explain
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import WholeGradients
from mmdet_diffmap.tracing.heads import WholeRun, cut_heads, head_run

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

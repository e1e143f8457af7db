"""Detectors whose RoIs are coupled, against their parts, run one after the
other, and a loop of plain autograd."""
import copy

import pytest
import torch
from families import (
    batch_of,
    coupled_detector,
    random_image,
    with_small_features,
)
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads import SparseRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS

from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import (
    Pool,
    PooledFeatures,
    PooledGradients,
    products,
)
from mmdet_diffmap.tracing.heads import WholeRun, head_run
from mmdet_diffmap.tracing.heads.pooled import NumberedRows, PooledRun
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients

DETECTIONS = 2


@MODELS.register_module()
class TwoWaysRoIHead(SparseRoIHead):
    """Uses the levels in another way, too, and one of them alone; boxes are
    also of what is pooled for them, of maps like the levels."""

    def _bbox_forward(self, stage, x, rois, object_feats, batch_img_metas):
        context = x[1].mean(dim=(2, 3)) + x[-1].amax(dim=(2, 3))
        results = super()._bbox_forward(
            stage, x, rois, object_feats + context, batch_img_metas)
        pooled = self.bbox_roi_extractor[stage](
            [level * 2 for level in x[:4]], rois)
        pooled *= 0.5
        shift = pooled.mean(dim=(1, 2, 3))
        results['detached_proposals'] = [
            boxes + shift[:, None] for boxes in results['detached_proposals']]
        return results


class Naming(SingleRoIExtractor):
    """Is called by the names of its arguments, and enlarges RoIs."""

    def __call__(self, levels, rois):
        return super().__call__(feats=levels, rois=rois, roi_scale_factor=1.3)


class Halved(RoIAlign):
    """Pools something else than its settings say."""

    def forward(self, input, rois):
        return super().forward(input, rois) / 2


def detector(kind):
    model = coupled_detector(
        'SparseRoIHead' if kind in ('plain', 'by name') else 'TwoWaysRoIHead')
    if kind == 'by name':
        model = copy.deepcopy(model)
        for extractor in model.roi_head.bbox_roi_extractor:
            extractor.__class__ = Naming
    if kind == 'other pooling':
        model = copy.deepcopy(model)
        with_small_features(model)
        for layer in model.roi_head.modules():
            if isinstance(layer, RoIAlign):
                layer.__class__ = Halved
    return model


def naive_gradients(model, data, layer, monkeypatch):
    """The outputs (N, 5), and their gradients by autograd in a run in which
    nothing can be detached."""
    prepared = model.data_preprocessor(copy.deepcopy(data), False)
    samples = prepared['data_samples']
    with torch.no_grad():
        leaves = getattr(model, layer)(
            prepared['inputs'] if layer == 'backbone' else
            model.backbone(prepared['inputs']))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    features = model.neck(leaves) if layer == 'backbone' else leaves
    with torch.no_grad():
        proposals = model.rpn_head.predict(features, samples)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, 'detach', lambda self: self)
        (found, ) = model.roi_head.predict(features, proposals, samples,
                                           rescale=True)
    scale = found.bboxes.new_tensor(samples[0].scale_factor * 2)
    outputs = torch.cat([found.scores[:, None], found.bboxes * scale], dim=1)
    return outputs.detach(), {
        (detection, output): torch.autograd.grad(
            outputs[detection, column], leaves, retain_graph=True,
            allow_unused=True)
        for detection in range(DETECTIONS)
        for column, output in enumerate(OUTPUTS)
    }


@pytest.mark.parametrize('kind, layer, batched', [
    ('plain', 'neck', False),
    ('another way', 'backbone', True),
    ('another way', 'neck', False),
    ('by name', 'neck', True),
    ('other pooling', 'neck', True),
])
def test_gradients_are_those_of_a_loop(kind, layer, batched, monkeypatch):
    model = detector(kind)
    data = batch_of(model, random_image(90, 120))
    monkeypatch.setitem(
        products.measurements, model.roi_head,
        {torch.device('cpu'): products.Measured(batched, 1)})
    trace = DetectorAdapter(model, layer).trace(data)
    check_gradients(trace, naive_gradients(model, data, layer, monkeypatch))
    assert isinstance(head_run(model), PooledRun)
    assert isinstance(trace.source, PooledGradients)
    assert (trace.source.matrices is None) == (kind == 'other pooling')
    if kind == 'plain':
        assert len(trace.source.levels) == 4


def test_the_whole_prediction_is_traced_on_demand(monkeypatch):
    """The host detaches boxes between the stages."""
    model = detector('plain')
    data = batch_of(model, random_image(90, 120))
    trace = DetectorAdapter(model).trace(data, run=WholeRun(model))
    check_gradients(trace, naive_gradients(model, data, 'neck', monkeypatch))


def check_gradients(trace, naive):
    outputs, expected = naive
    torch.testing.assert_close(trace.outputs, outputs)
    found = whole_gradients(trace.select(slice(DETECTIONS)).gradients())
    assert found.keys() == expected.keys()
    for key, levels in expected.items():
        scale = max(float(level.abs().max()) for level in levels
                    if level is not None)
        assert scale
        for number, level in enumerate(levels):
            if level is None:
                assert number not in found[key]
                continue
            ours = found[key].get(number, torch.zeros_like(level[0]))
            torch.testing.assert_close(ours, level[0], rtol=0,
                                       atol=1e-5 * scale)


@pytest.mark.parametrize('mask', [
    True, False, [True, False, True], [[True, False]] * 3])
def test_rows_that_are_chosen_by_a_mask(mask):
    leaf = torch.arange(6.).view(3, 2).requires_grad_()
    mask = torch.tensor(mask)
    expected = leaf[mask]
    with NumberedRows():
        found = leaf[mask]
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad(rows.square().sum(), leaf)[0]
                    for rows in (found, expected))
    assert torch.equal(ours, theirs)


def test_a_detector_that_loses_all_gradients(monkeypatch):
    model = detector('plain')
    predict = model.roi_head.predict_bbox

    def without_graph(*args, **kwargs):
        (results, ) = predict(*args, **kwargs)
        for name in 'bboxes', 'scores':
            results[name] = torch.from_numpy(results[name].detach().numpy())
        return [results]

    monkeypatch.setattr(model.roi_head, 'predict_bbox', without_graph)
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(90, 120)))
    with pytest.raises(RuntimeError, match='loses the gradient of score: '
                       'numpy in without_graph'):
        list(trace.gradients(['score']))


def test_levels_apart(monkeypatch):
    """No RoI is pooled from the last one."""
    model = detector('plain')
    data = batch_of(model, random_image(90, 120))
    _, expected = naive_gradients(model, data, 'neck', monkeypatch)
    first, last = (DetectorAdapter(model, f'neck[{level}]').trace(data).select(
        slice(DETECTIONS)) for level in (0, 3))
    found = whole_gradients(first.gradients(['score']))
    for detection in range(DETECTIONS):
        torch.testing.assert_close(
            found[detection, 'score'][0], expected[detection, 'score'][0][0],
            rtol=0, atol=1e-5 * float(found[detection, 'score'][0].max()))
    assert not list(last.gradients(['score']))


def test_detections_are_the_hosts():
    model = detector('plain')
    data = batch_of(model, random_image(90, 120))
    ours, plain = (DetectorAdapter(model, layer).trace(data).detections
                   for layer in ('neck', None))
    for name in 'bboxes', 'scores', 'labels':
        assert torch.equal(ours[name], plain[name])


@pytest.mark.parametrize('ratio, aligned, scale', [
    (2, True, None), (0, True, 1.7), (0, False, None)])
def test_matrices_pool_as_extractors_do(ratio, aligned, scale):
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=(3, 2), sampling_ratio=ratio,
             aligned=aligned), 4, [4, 8])
    generator = torch.Generator().manual_seed(0)
    levels = [torch.rand(1, 4, *grid, generator=generator,
                         dtype=torch.double).requires_grad_()
              for grid in ((20, 30), (10, 15))]
    corners = torch.rand(200, 2, generator=generator).double() * 140 - 20
    sizes = torch.rand(200, 2, generator=generator).double()**4 * 300
    rois = torch.cat([torch.zeros(200, 1), corners, corners + sizes], dim=1)
    rois = rois.double()
    output = extractor(levels, rois, scale)
    pooled = PooledFeatures(Pool(extractor, [0, 1], scale), rois, output,
                            output.detach()[None])
    matrices = pooled.matrices(levels)
    source = PooledGradients(extractor, [pooled], levels, levels)
    torch.testing.assert_close(source.pool_again(pooled, matrices),
                               output.flatten(1))
    given = torch.rand(output.shape, generator=generator, dtype=torch.double)
    expected = torch.autograd.grad(output, levels, given)
    assert len(matrices) == 2
    for ours, gradient in zip(source.through_pooling([given[None]]),
                              expected):
        torch.testing.assert_close(ours, gradient)

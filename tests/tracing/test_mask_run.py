"""The output mask of heads that have little in common, against mmdet's own
methods, whose comparison with a threshold is left out of their source."""
from functools import lru_cache

import pytest
import torch
from families import (
    GRADIENT_MODES,
    batch_of,
    build,
    coupled_detector,
    narrow,
    random_image,
)
from mmengine.hub import get_config
from mmengine.structures import InstanceData

from mmdet_diffmap.explainers import ODAM, GradCAM
from mmdet_diffmap.explainers.engine import Selection, explain_image
from mmdet_diffmap.io.configs import inner_dicts
from mmdet_diffmap.lab.zoo import small
from mmdet_diffmap.lab.zoo.check import largest_difference
from mmdet_diffmap.lab.zoo.masks import naive_gradients, naive_masks
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import WholeGradients
from mmdet_diffmap.tracing.heads import WholeRun
from mmdet_diffmap.tracing.predicting import has_own_boxes
from mmdet_diffmap.tracing.trace import whole_gradients

SIZE = 64, 96
#: By what decides how masks come about.
CONFIGS = {
    'resized': 'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'averaged': 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    'scored': 'ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py',
    'refined': 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
    'of kernels': 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'without boxes': 'solov2/solov2-light_r18_fpn_ms-3x_coco.py',
    'of queries': 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'segments of queries': 'maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
    'segments of regions': 'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
}
SEGMENTS = 'segments of queries', 'segments of regions'
BOXLESS = 'without boxes', 'of queries', *SEGMENTS


@lru_cache
def detector(kind):
    """A narrow detector of a config that finds something."""
    cfg = get_config(f'mmdet::{CONFIGS[kind]}')
    small.shrink(cfg, SIZE)
    model = cfg.model
    shrink_backbone(model)
    for part in inner_dicts(model):
        if 'num_queries' in part:
            part['num_queries'] = 8
        for name in 'num_layers', 'num_transformer_feat_level':
            if part.get(name, 0) > 3:
                part[name] = 1
    if 'rpn' in model.test_cfg:
        model.test_cfg.rpn.update(nms_pre=20, max_per_img=10)
        model.test_cfg.rcnn.update(max_per_img=6)
    if 'max_per_image' in model.test_cfg:
        model.test_cfg.max_per_image = 6
    built = build(cfg)
    data = batch_of(built, random_image(*SIZE))
    small.calibrate(built, data)
    return built, data


def shrink_backbone(model):
    """Take ResNet-18 in the place of ResNet-50."""
    if model.backbone.get('depth', 18) == 18:
        return
    model.backbone.update(depth=18, norm_cfg=dict(type='BN'))
    model.backbone.pop('style', None)
    channels = [64, 128, 256, 512]
    if 'neck' in model:
        model.neck.in_channels = channels
        narrow(model)
    else:
        model.panoptic_head.in_channels = channels


def slow_but(*quick):
    return [kind if kind in quick else
            pytest.param(kind, marks=pytest.mark.slow) for kind in CONFIGS]


@lru_cache
def trace_of(kind):
    model, data = detector(kind)
    return DetectorAdapter(model).trace(data)


def some_rows(trace):
    """Three detections, of segments a thing among them."""
    last = len(trace) - 1
    return sorted({0, last // 2, last})


@pytest.mark.parametrize('kind', slow_but('resized', 'averaged', 'scored',
                                          *BOXLESS[:1], *SEGMENTS))
def test_gradients_are_those_of_the_host_without_its_comparison(kind):
    model, data = detector(kind)
    check_gradients(model, data, trace_of(kind), some_rows(trace_of(kind)))


def check_gradients(model, data, trace, rows):
    values, leaves = naive_masks(DetectorAdapter(model), data,
                                 trace.detections)
    expected = [naive_gradients(values[row], leaves) for row in rows]
    found = whole_gradients(trace.select(rows).gradients(['mask']))
    scales = [max((float(level.abs().max()) for level in levels
                   if level is not None), default=0.) for levels in expected]
    assert sum(map(bool, scales)) > 1  # a mask may be empty
    for detection, levels in enumerate(expected):
        for level, gradient in enumerate(levels):
            given = found.get((detection, 'mask'), {}).get(level)
            if gradient is None:
                assert given is None or not given.any()
            else:
                torch.testing.assert_close(given, gradient[0], rtol=0,
                                           atol=1e-4 * scales[detection])


def test_coupled_regions_are_cut_where_they_are_pooled(monkeypatch):
    model = coupled_detector(name='queryinst/queryinst_r50_fpn_1x_coco.py')
    data = batch_of(model, random_image(*SIZE))
    monkeypatch.setattr(WholeGradients, '__call__', None)
    check_gradients(model, data, DetectorAdapter(model).trace(data), [0, 2])


@pytest.mark.parametrize('kind', slow_but('resized', 'averaged', 'scored',
                                          *BOXLESS[:1]))
def test_detections_are_those_of_the_detector_with_masks(kind):
    if kind in SEGMENTS:
        pytest.skip('the detector gives a map of segments')
    model, data = detector(kind)
    with torch.no_grad():
        expected = model.test_step(data)[0].pred_instances
    found = trace_of(kind).detections
    for name in 'scores', 'labels', 'bboxes':
        if name != 'bboxes' or expected.bboxes.any():
            assert torch.equal(found[name], expected[name])
    if 'masks' in found:
        assert torch.equal(found.masks, expected.masks)
    assert not vars(model).get('predict')


def boxes_around(masks):
    boxes = []
    for mask in masks:
        rows, columns = mask.nonzero().unbind(dim=1)
        boxes.append([int(columns.min()), int(rows.min()),
                      int(columns.max()) + 1, int(rows.max()) + 1])
    return torch.tensor(boxes, dtype=torch.float)


@pytest.mark.parametrize('kind', BOXLESS[:1])
def test_boxes_of_masks_are_drawn_around_them_and_not_explained(kind):
    trace = trace_of(kind)
    assert trace.detections.masks.flatten(1).any(dim=1).all()
    assert torch.equal(trace.detections.bboxes,
                       boxes_around(trace.detections.masks))
    for outputs in ['x1'], ['score', 'width']:
        with pytest.raises(ValueError, match=f'^{outputs[-1]} cannot be '
                           'explained: boxes of this detector are drawn '
                           'around its masks; explain the score or the mask'):
            list(trace.gradients(outputs))


@pytest.mark.parametrize('kind', SEGMENTS)
def test_segments_are_those_of_the_map(kind):
    model, data = detector(kind)
    with torch.no_grad():
        numbers = model.test_step(data)[0].pred_panoptic_seg.sem_seg[0]
    found = trace_of(kind).detections
    classes = model.panoptic_fusion_head.num_classes
    segments = [number for number in sorted(set(numbers.flatten().tolist()))
                if number != classes]
    assert len(found) == len(segments)
    for segment, mask, label, score in zip(
            segments, found.masks, found.labels, found.scores):
        assert torch.equal(mask, numbers == segment)
        assert label == segment % 1000
        assert 0 < score < 1
    assert torch.equal(found.bboxes, boxes_around(found.masks))
    things = found.labels < model.panoptic_fusion_head.num_things_classes
    assert things.any() and not things.all()


def test_scores_of_stuff_and_things_of_regions():
    """The score of a thing is its detection's, that of stuff its mean
    probability."""
    model, data = detector('segments of regions')
    found = trace_of('segments of regions').detections
    noted = {}

    def note(detections, stuff):
        noted.update(detections=detections[0], stuff=stuff[0])
        return original(detections, stuff)

    fusion = model.panoptic_fusion_head
    original = fusion.predict
    fusion.predict = note
    try:
        with torch.no_grad():
            model.test_step(data)
    finally:
        del fusion.predict
    probabilities = noted['stuff'].softmax(dim=0)
    of_things = noted['detections'].scores
    for mask, label, score in zip(found.masks, found.labels, found.scores):
        if label < fusion.num_things_classes:
            same = noted['detections'].labels == label
            assert score in of_things[same]
        else:
            assert torch.isclose(score, probabilities[
                label - fusion.num_things_classes][mask].mean())


@pytest.mark.parametrize('kind', ['without boxes', 'segments of queries'])
def test_explain(kind):
    model, data = detector(kind)
    methods = [ODAM(), ODAM(outputs='mask'), GradCAM(outputs='mask')]
    default, mask, grad_cam = (explanation.sample.pred_instances
                               for explanation in explain_image(
                                   model, data, 0, methods, Selection(0, 2)))
    for found in default, mask, grad_cam:
        assert found.heatmaps.shape == found.difference_maps.shape == \
            (2, *SIZE)
        assert found.heatmaps.isfinite().all()
        assert torch.equal(found.masks, default.masks)
    assert (mask.heatmaps.amax(dim=(1, 2)) == 1).all()
    trace = Selection(0, 2)(trace_of(kind))
    # score and mask are explained in place of score and sides
    assert torch.allclose(default.heatmaps,
                          ODAM(outputs=('score', 'mask'))(trace), atol=1e-4)


@pytest.mark.parametrize('mode', GRADIENT_MODES)
def test_gradients_do_not_ask_what_the_caller_records(mode):
    model, data = detector('without boxes')
    with GRADIENT_MODES[mode]():
        trace = DetectorAdapter(model).trace(data).select([0])
        found = whole_gradients(trace.gradients(['mask']))
    assert any(gradient.any() for gradient in found[0, 'mask'].values())


def test_scores_that_masks_change_have_the_gradients_of_the_whole():
    model, data = detector('scored')
    adapter = DetectorAdapter(model)
    naive = adapter.trace(data, run=WholeRun(model)).select([0, 1])
    assert largest_difference(trace_of('scored').select([0, 1]), naive,
                              ['score', 'x2']) < 1e-4


@pytest.mark.parametrize('shift, count, own', [
    (0, 2, False), (1, 2, True), (0, 0, True)])
def test_boxes_around_masks_are_no_boxes_of_its_own(shift, count, own):
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = masks[1, 5:, :1] = True
    boxes = torch.tensor([[2., 1., 7., 4.], [0., 5., 1., 6.]]) + shift
    assert has_own_boxes(InstanceData(
        bboxes=boxes[:count], masks=masks[:count])) is own

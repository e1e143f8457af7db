"""Two-stage detectors against plain autograd through their whole graph."""
import copy
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
import torchvision
from families import (
    batch_of,
    build,
    random_image,
    small_config,
    with_small_features,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmdet_diffmap.maps.windows import Windows
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.gradients import (
    Pool,
    RoIGradients,
    crops,
    roi,
)
from mmdet_diffmap.tracing.heads import WholeRun
from mmdet_diffmap.tracing.trace import whole_gradients

DETECTIONS = 6
FASTER = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
#: A small backbone whose last stage is a part of the head.
STAGE = {
    'model.backbone.depth': 18,
    'model.rpn_head.in_channels': 256,
    'model.roi_head.bbox_roi_extractor.out_channels': 256,
    'model.roi_head.shared_head.depth': 18,
    'model.roi_head.shared_head.init_cfg': None,
    'model.roi_head.bbox_head.in_channels': 512}
DETECTORS = {
    'faster': (FASTER, {}),
    'class-agnostic': (FASTER, {
        'model.roi_head.bbox_head.reg_class_agnostic': True}),
    'convolutions': (FASTER, {
        'model.roi_head.bbox_head.type': 'Shared4Conv1FCBBoxHead',
        'model.roi_head.bbox_head.conv_out_channels': 16,
        'model.roi_head.bbox_head.norm_cfg': dict(type='GN', num_groups=4)}),
    'unshared': (FASTER, {
        'model.roi_head.bbox_head.type': 'ConvFCBBoxHead',
        'model.roi_head.bbox_head.num_cls_fcs': 1,
        'model.roi_head.bbox_head.num_reg_convs': 1,
        'model.roi_head.bbox_head.conv_out_channels': 16}),
    'unaligned': (FASTER, {
        'model.roi_head.bbox_roi_extractor.roi_layer.aligned': False,
        'model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio': 2}),
    'mask': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', {}),
    'mask c4': ('mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py', {
        'model.roi_head.mask_head.in_channels': 512, **STAGE}),
    'cascade': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', {}),
    'shared head': ('faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py', STAGE),
    'double head': ('double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py', {
        'model.roi_head.bbox_head.num_convs': 1}),
    'grid': ('grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py', {
        'model.roi_head.grid_head.num_convs': 1}),
    'semantic branch': ('htc/htc_r50_fpn_1x_coco.py', {
        'model.roi_head.semantic_head.num_convs': 1}),
    'global context': ('scnet/scnet_r50_fpn_1x_coco.py', {
        'model.roi_head.semantic_head.num_convs': 1,
        'model.roi_head.glbctx_head.num_convs': 1}),
    'all levels': ('groie/faste-rcnn_r50_fpn_groie_1x_coco.py', {}),
}


@lru_cache
def detector(name):
    config, options = DETECTORS[name]
    cfg = small_config(config)
    cfg.model.test_cfg.rcnn.max_per_img = DETECTIONS
    cfg.model.test_cfg.rcnn.nms.iou_threshold = 0.99  # many of one place
    cfg.merge_from_dict(options)
    for head in [cfg.model.roi_head.bbox_head]:
        for one in head if isinstance(head, list) else [head]:
            if 'fc_out_channels' in one:
                one.fc_out_channels = 32
    return build(cfg)


def compare(model, data, index=0, layer='neck', count=DETECTIONS):
    """All gradients against those of the graph that was never cut."""
    adapter = DetectorAdapter(model, layer)
    trace = adapter.trace(data, index).select(slice(count))
    plain = adapter.trace(data, index, WholeRun(model)).select(slice(count))
    assert len(trace) == len(plain) > 0
    assert torch.equal(trace.detections.bboxes, plain.detections.bboxes)
    expected = whole_gradients(plain.gradients())
    for key, ours in whole_gradients(trace.gradients()).items():
        exact = expected.pop(key)
        scale = max(float(one.abs().max()) for one in exact.values()) or 1.
        for level, gradient in exact.items():
            torch.testing.assert_close(
                ours.get(level, torch.zeros_like(gradient)), gradient, rtol=0,
                atol=2e-5 * scale)
    assert not any(gradient.any() for levels in expected.values()
                   for gradient in levels.values())
    return trace


#: Those whose heads hold a stage of the backbone.
C4 = 'shared head', 'mask c4'
SLOW = (*C4, 'global context', 'all levels')


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in DETECTORS])
def test_every_kind_of_head(name):
    layer = 'backbone' if name in C4 else 'neck'
    model = detector(name)
    trace = compare(model, batch_of(model, random_image(75, 130)), layer=layer)
    assert isinstance(trace.source.source, RoIGradients)


@pytest.mark.parametrize('name', ['faster', 'cascade'])
def test_padding_of_a_batch_and_layers_before_the_neck(name):
    model = detector(name)
    data = batch_of(model, random_image(75, 130), random_image(131, 61, 1))
    compare(model, data, 0)
    compare(model, data, 1)
    compare(model, data, 1, 'backbone', count=2)


def place_proposals(monkeypatch, model, boxes):
    """Let the first proposals be ``boxes``."""
    predict = model.rpn_head.predict

    def replaced(*args, **kwargs):
        (proposals, ) = predict(*args, **kwargs)
        proposals = proposals[:len(boxes)]
        proposals.bboxes = torch.tensor(boxes[:len(proposals)])
        return [proposals]

    monkeypatch.setattr(model.rpn_head, 'predict', replaced)


def test_rois_at_borders_corners_in_single_cells_and_of_the_whole_image(
        monkeypatch):
    model = detector('faster')
    height, width = 110., 147.
    place_proposals(monkeypatch, model, [
        [0., 0., 9.5, 7.], [width - 9, height - 3, width, height],
        [0., 0., width, height], [50., 40., 50.4, 40.3],
        [20.25, 0., 21., height], [0., 60., width, 60.], [64., 32., 96., 64.],
        [64., 32., 96., 64.], [-3., -2., 5., 5.]])
    torch.manual_seed(1)
    data = batch_of(model, random_image(110, 147))
    compare(model, data, count=None)


def test_image_without_proposals(monkeypatch):
    model = detector('faster')
    data = batch_of(model, random_image(75, 130))
    monkeypatch.setattr(model.rpn_head, 'predict', lambda *args, **kwargs: [
        InstanceData(bboxes=torch.zeros(0, 4))])
    trace = DetectorAdapter(model).trace(data)
    assert len(trace) == 0 and list(trace.gradients()) == []


def test_output_that_skips_stages_of_a_cascade():
    """The sides of a box that an early stage cut at the image's edge do not
    depend on that stage."""
    model = detector('cascade')
    head = model.roi_head.bbox_head[0]
    regress = head.regress_by_class
    head.regress_by_class = lambda *args: regress(*args).detach()
    try:
        trace = DetectorAdapter(model).trace(
            batch_of(model, random_image(75, 130)))
        found = whole_gradients(trace.gradients(['x1']))
    finally:
        del head.regress_by_class
    assert len(found) == len(trace) > 0
    assert any(gradient.any() for levels in found.values()
               for gradient in levels.values())


def test_random_rois(monkeypatch):
    model = detector('class-agnostic')
    torch.manual_seed(0)
    data = batch_of(model, random_image(110, 147))
    for _ in range(4):
        corners = torch.rand(12, 2, 2).sort(dim=1).values.flatten(1)
        boxes = corners * torch.tensor([147., 110.] * 2)
        with monkeypatch.context() as patch:
            place_proposals(patch, model, boxes.tolist())
            compare(model, data)


def test_extractor_that_pools_more_than_expected_takes_the_dense_way(
        monkeypatch):
    """A layer whose bins overlap: more cells than a crop has. Also of small
    features."""
    model = copy.deepcopy(detector('faster'))
    with_small_features(model)
    layer = model.roi_head.bbox_roi_extractor.roi_layers[0]
    forward = layer.forward

    def mixed(feats, rois):
        return forward(feats, rois) + feats.mean()

    for one in model.roi_head.bbox_roi_extractor.roi_layers:
        monkeypatch.setattr(one, 'forward', mixed)
    compare(model, batch_of(model, random_image(75, 130)))


@pytest.mark.parametrize('call', [
    lambda extractor, levels, rois: extractor(levels, rois, 1.4),
    lambda extractor, levels, rois: extractor(
        rois=rois, feats=levels, roi_scale_factor=1.4)])
def test_extractor_that_is_called_in_other_words(monkeypatch, call):
    model = detector('faster')
    head = model.roi_head

    def bbox_forward(x, rois):
        cls_score, bbox_pred = head.bbox_head(
            call(head.bbox_roi_extractor, x[:4], rois))
        return dict(cls_score=cls_score, bbox_pred=bbox_pred)

    monkeypatch.setattr(head, '_bbox_forward', bbox_forward)
    monkeypatch.setattr(RoIGradients, 'dense', no_dense_way)
    compare(model, batch_of(model, random_image(75, 130)))


def add_to_pooled(monkeypatch, roi_head, more):
    """Let an RoI head add something to what it pools.

    Args:
        more (Callable): (levels, pooled features) -> what is added.
    """

    def bbox_forward(x, rois):
        pooled = roi_head.bbox_roi_extractor(x[:4], rois)
        cls_score, bbox_pred = roi_head.bbox_head(pooled + more(x, pooled))
        return dict(cls_score=cls_score, bbox_pred=bbox_pred)

    monkeypatch.setattr(roi_head, '_bbox_forward', bbox_forward)


def no_dense_way(*args, **kwargs):
    raise AssertionError('the dense way')


@pytest.mark.parametrize('name, more, alone', [
    ('what all share', lambda x, pooled: x[1].mean(dim=(2, 3))[
        ..., None, None], True),
    ('other regions', lambda x, pooled: pooled.mean(dim=0), False),
    ('as many as before', lambda x, pooled: torch.ones(30, 1, 1, 1), False),
])
def test_head_whose_regions_share_something(monkeypatch, name, more, alone):
    """Each detection has a run of its own, and where that does not give what
    it gave, or cannot be made, the dense way is taken."""
    model = detector('faster')
    add_to_pooled(monkeypatch, model.roi_head, more)
    if alone:
        monkeypatch.setattr(RoIGradients, 'dense', no_dense_way)
    trace = compare(model, batch_of(model, random_image(75, 130)))
    assert isinstance(trace.source.source, RoIGradients)
    if not alone:
        monkeypatch.setattr(RoIGradients, 'dense', no_dense_way)
        with pytest.raises(AssertionError, match='the dense way'):
            list(trace.gradients(['score']))


def test_stages_that_share_a_vector_and_a_level(monkeypatch):
    """All classes depend on the vector, those of one stage on the level as
    well, and boxes on neither."""
    model = detector('cascade')
    head = model.roi_head
    predict = head.predict_bbox

    def bbox_forward(stage, x, rois):
        pooled = head.bbox_roi_extractor[stage](x[:4], rois)
        vector = x[-1] * (stage + 1)
        if stage == 1:
            vector = vector + x[0].amax(dim=(2, 3))
        return dict(
            cls_score=head.bbox_head[stage](pooled + vector[..., None, None]
                                            )[0],
            bbox_pred=head.bbox_head[stage](pooled)[1])

    monkeypatch.setattr(head, '_bbox_forward', bbox_forward)
    monkeypatch.setattr(
        head, 'predict_bbox', lambda x, *args, **kwargs: predict(
            (*x, x[1].mean(dim=(2, 3))), *args, **kwargs))
    monkeypatch.setattr(RoIGradients, 'dense', no_dense_way)
    compare(model, batch_of(model, random_image(75, 130)), count=2)


def test_second_branch_does_not_go_through_all_boxes(monkeypatch):
    """Grid R-CNN's runs again on the explained boxes alone."""
    model = detector('grid')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(75, 130)))
    assert len(trace) == DETECTIONS
    sizes = []
    hook = model.roi_head.grid_head.convs.register_forward_hook(
        lambda module, args, output: sizes.append(len(output)))
    try:
        assert len(list(trace.select(slice(2)).gradients(['x1'])))
    finally:
        hook.remove()
    assert sizes == [2]


def test_hooks_of_others_are_not_called_again():
    model = detector('faster')
    trace = DetectorAdapter(model).trace(
        batch_of(model, random_image(75, 130)))
    called = []
    hook = model.roi_head.bbox_head.register_forward_hook(
        lambda *args: called.append(args))
    try:
        assert len(list(trace.gradients(['score'])))
    finally:
        hook.remove()
    assert not called


def test_a_level_has_compact_windows_and_long_ones():
    """What one long RoI needs is not given to all others, unless that saves
    little."""
    inputs = [torch.rand(1, 2, 200, 300)]
    small = {number: {0: (4 * number, 0, 4 * number + 9, 12)}
             for number in range(9)}
    long = {9: {0: (0, 100, 8, 290)}}
    (compact, ), (wide, ) = (
        [where.windows for where in crops.windows_of(cells, inputs)]
        for cells in (small, long))
    assert compact.shape == (9, 12) and wide.shape == (8, 190)
    assert [where.windows for where in crops.windows_of(
        {**small, **long}, inputs)] == [compact, wide]
    (together, ) = crops.windows_of(
        {0: small[0], **long, 10: {0: (195, 0, 200, 180)}}, inputs)
    assert together.windows.shape == (9, 190)
    assert together.windows.corners == ((0, 0), (0, 100), (191, 0))


def test_few_detections_at_a_time_where_memory_is_short(monkeypatch):
    model = detector('cascade')
    data = batch_of(model, random_image(75, 130))
    monkeypatch.setattr(crops, 'MEMORY_BUDGET', 1)
    monkeypatch.setattr(roi, 'MEMORY_BUDGET', 2**22)
    trace = compare(model, data)
    batches = list(trace.gradients(['score']))
    assert len(batches) == len(trace) > 2


@pytest.mark.parametrize('box, expected', [
    ((0, 0, 8, 8), (0, 0, 5, 5)), ((-9, 70, 8, 81), (15, 0, 20, 5)),
    ((40, 40, 48, 44), (8, 8, 14, 15)), ((500, 0, 600, 8), (0, 29, 5, 30))])
def test_cells_that_a_box_reads(box, expected):
    """A cell of four pixels, two cells around the box, on 20 by 30 cells."""
    layer = torchvision.ops.RoIAlign(7, 1 / 4, 2)
    assert crops.cells_read(layer, box, (20, 30)) == expected


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_weights_are_those_of_roi_align(data):
    """Of torchvision, for boxes of any size and place."""
    torch.manual_seed(data.draw(st.integers(0, 99)))
    height, width, bins = (data.draw(st.integers(1, 20)) for _ in range(3))
    layer = torchvision.ops.RoIAlign(
        bins, data.draw(st.sampled_from([1., 0.25, 0.3])),
        data.draw(st.integers(-1, 3)), data.draw(st.booleans()))
    layer.output_size = (bins, bins)
    corners = (torch.rand(3, 4) * 1.4 - 0.2) * torch.tensor(
        [width, height] * 2) / layer.spatial_scale
    # torchvision divides boxes of a negative size into negative numbers of
    # samples, and ends in an error
    if layer.sampling_ratio <= 0 or data.draw(st.booleans()):
        corners = torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]),
                             torch.maximum(corners[:, :2], corners[:, 2:])],
                            dim=1)
    rois = torch.cat([torch.zeros(3, 1), corners], dim=1)
    level = torch.rand(1, 2, height, width)
    pool = Pool(SimpleNamespace(roi_layers=[layer]), [0])
    windows = Windows.whole_level(0, (height, width), range(3), level.device)
    rows, columns = crops.pooling_weights(
        pool, rois, [(windows, number) for number in range(3)])
    torch.testing.assert_close(
        rows[:, None] @ level @ columns[:, None].mT, layer(level, rois),
        rtol=1e-4, atol=1e-5)

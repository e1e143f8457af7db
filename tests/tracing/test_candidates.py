"""What is left to the final filtering, against the heads' raw maps decoded
one by one."""
import copy
import gc

import pytest
import torch
from families import (
    CONFIGS,
    FAMILIES,
    batch_of,
    build,
    random_detector,
    random_image,
    small_config,
)
from mmengine.structures import InstanceData
from naive import preprocess
from squares import SquareDetector
from torchvision.ops import box_iou

from mmdet_diffmap.lab.speed import input_batch
from mmdet_diffmap.tracing.candidates import recorded_candidates
from mmdet_diffmap.tracing.detector import DetectorAdapter


def dense(model, features, meta):
    """FCOS and RetinaNet: at each location, each class above the threshold,
    the best 1000 of a level."""
    head = model.bbox_head
    outs = head(features)
    priors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in outs[0]], device=features[0].device)
    for level, places in enumerate(priors):
        maps = [one[level][0].permute(1, 2, 0) for one in outs]
        classes = maps[0].reshape(len(places), 80).sigmoid()
        factor = maps[2].reshape(-1).sigmoid() if len(maps) > 2 else \
            torch.ones(len(places))
        boxes = head.bbox_coder.decode(
            places, maps[1].reshape(-1, 4), max_shape=meta['img_shape'])
        order = classes.flatten().argsort(descending=True)[:1000].tolist()
        for place, label in (divmod(one, 80) for one in order):
            yield (boxes[place], classes[place, label] * factor[place], label,
                   classes[place])


def yolox(model, features, meta):
    head = model.bbox_head
    for level, stride in enumerate((8, 16, 32)):
        classes, boxes, objectness = (
            maps[level][0] for maps in head(features))
        _, height, width = classes.shape
        for row in range(height):
            for column in range(width):
                dx, dy, dw, dh = boxes[:, row, column].tolist()
                x, y = (column + dx) * stride, (row + dy) * stride
                w, h = (torch.tensor(one).exp() * stride for one in (dw, dh))
                probabilities = classes[:, row, column].sigmoid()
                yield (torch.stack([x - w / 2, y - h / 2, x + w / 2,
                                    y + h / 2]),
                       probabilities.max() *
                       objectness[0, row, column].sigmoid(),
                       int(probabilities.argmax()), probabilities)


def two_stage(model, features, meta, samples):
    (proposals, ) = model.rpn_head.predict(features, samples, rescale=False)
    head = model.roi_head
    rois = torch.nn.functional.pad(proposals.bboxes, (1, 0))
    logits, deltas = head.bbox_head(head.bbox_roi_extractor(
        features[:4], rois))
    probabilities = logits.softmax(dim=1)[:, :80]
    for i in range(len(rois)):
        boxes = head.bbox_head.bbox_coder.decode(
            proposals.bboxes[i:i + 1].repeat(80, 1), deltas[i].view(80, 4),
            max_shape=meta['img_shape'])
        for label in range(80):
            yield (boxes[label], probabilities[i, label], label,
                   probabilities[i])


def detr(model, features, meta, samples):
    states = model.forward_transformer(features, samples)['hidden_states']
    logits, boxes = (out[-1][0] for out in model.bbox_head(states))
    probabilities = logits.softmax(dim=1)[:, :80]
    best, labels = probabilities.max(dim=1)
    height, width = meta['img_shape']
    for i in best.argsort(descending=True)[:4].tolist():
        x, y, w, h = (boxes[i] * boxes.new_tensor([width, height] * 2)
                      ).unbind()
        box = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        limits = box.new_tensor([width, height] * 2)
        yield (torch.minimum(box.clamp(min=0), limits), best[i],
               int(labels[i]), probabilities[i])


@torch.no_grad()
def naive_candidates(family, model, data):
    inputs, samples = preprocess(model, data)
    features = model.extract_feat(inputs)
    meta = samples[0].metainfo
    found = dict(fcos=dense, pvt=dense, yolox=yolox)
    if family in found:
        rows = found[family](model, features, meta)
    else:
        later = dict(faster_rcnn=two_stage, detr=detr)[family]
        rows = later(model, features, meta, samples)
    boxes, scores, labels, probabilities = zip(*rows)
    return InstanceData(
        bboxes=torch.stack(boxes), scores=torch.stack(scores),
        labels=torch.tensor(labels), probabilities=torch.stack(probabilities))


def rows_of(found):
    """The class probabilities of each candidate."""
    rows = getattr(found, 'rows', None)
    return found.probabilities if rows is None else found.probabilities[rows]


def assert_same(found, expected):
    """The same candidates in any order."""
    assert len(found) == len(expected)
    for label in expected.labels.unique().tolist():
        one, other = (
            torch.cat([own.bboxes, 100 * own.scores[:, None],
                       100 * rows_of(own)], dim=1)[own.labels == label]
            for own in (found, expected))  # (n, 4 + 1 + 80)
        partner = torch.cdist(other, one, p=torch.inf).argmin(dim=1)
        assert len(one) == len(partner.unique())
        torch.testing.assert_close(one[partner], other, rtol=1e-4, atol=1e-2)


def candidates_of(model, data, count=1):
    trace = DetectorAdapter(model, None).trace(data)
    return trace.input.candidates(trace.input.image.repeat(count, 1, 1, 1))


@pytest.mark.parametrize('family', FAMILIES)
def test_candidates_are_the_heads_own(family):
    model = random_detector(family)
    data = batch_of(model, random_image(75, 130))
    expected = naive_candidates(family, model, data)
    for found in candidates_of(model, data, count=2):
        assert_same(found, expected)


@pytest.mark.parametrize('family', FAMILIES)
def test_image_of_a_batch_is_its_own(family):
    """Different images in one batch do not get each other's candidates."""
    model = random_detector(family)
    trace = DetectorAdapter(model, None).trace(
        batch_of(model, random_image(75, 130)))
    images = torch.stack([trace.input.image, trace.input.image.flip(-1)])
    together = trace.input.candidates(images)
    for image, found in zip(images, together):
        (alone, ) = trace.input.candidates(image[None])
        assert_same(found, alone)


@pytest.mark.parametrize('config', [
    'atss/atss_r50_fpn_1x_coco.py',
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py',
    'gfl/gfl_r50_fpn_1x_coco.py',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'paa/paa_r50_fpn_1x_coco.py',
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py',
    'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
    'yolof/yolof_r50-c5_8xb8-1x_coco.py',
])
def test_class_probabilities_are_known(config):
    model = build(small_config(config))
    data = batch_of(model, random_image(75, 130))
    final = DetectorAdapter(model, None).trace(data).detections
    (found, ) = candidates_of(model, data)
    assert len(found) >= len(final) > 0
    assert rows_of(found).shape == (len(found), 80)
    assert found.probabilities.min() >= 0 and found.probabilities.max() <= 1
    # the final detections are among them, with their own scores
    apart = (final.scores[:, None] - found.scores).abs()
    apart[final.labels[:, None] != found.labels] = 1
    assert apart.amin(dim=1).max() < 1e-4


def test_scores_of_paa_are_not_its_class_probabilities():
    """But the square root of these and of IoUs."""
    model = build(small_config('paa/paa_r50_fpn_1x_coco.py'))
    (found, ) = candidates_of(model, batch_of(model, random_image(75, 130)))
    own = rows_of(found)[range(len(found)), found.labels]
    assert (found.scores**2 < own).all() and (found.scores**2 < own / 2).any()


@pytest.mark.parametrize('config', [
    'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'yolact/yolact_r50_1xb8-55e_coco.py',
])
def test_other_heads_give_their_final_detections(config):
    """CenterNet's input has a border on all sides; YOLACT's post-processing
    is its own."""
    model = build(small_config(config))
    trace = DetectorAdapter(model, None).trace(
        batch_of(model, random_image(75, 130)))
    (found, ) = trace.input.candidates(trace.input.image[None])
    assert len(found) == len(trace) > 0 and found.probabilities is None
    torch.testing.assert_close(found.bboxes, trace.outputs[:, 1:], rtol=1e-4,
                               atol=1e-2)
    torch.testing.assert_close(found.scores, trace.outputs[:, 0])


class Wrapper(SquareDetector):
    """As the host's wrappers of detectors: boxes of the image alone."""

    def predict(self, inputs, samples):
        return super().predict(inputs, samples, rescale=True)


def test_detector_that_cannot_leave_boxes_at_the_inputs_scale():
    data = input_batch(random_image(64, 80), (128, 160))
    square = (16, 24, 64, 72)
    for kind in (Wrapper, SquareDetector):
        (found, ) = candidates_of(kind(square), data)
        assert found.bboxes.tolist() == [list(square)]


@pytest.mark.parametrize('keywords', [True, False])
def test_wrapped_predict_of_a_known_head(keywords, monkeypatch):
    """Boxes must be the input's, whether the wrapper passes on ``rescale`` or
    has none."""
    model = copy.deepcopy(random_detector('faster_rcnn'))
    plain = type(model).predict

    def with_keywords(inputs, samples, **kwargs):
        return plain(model, inputs, samples, **kwargs)

    def without(inputs, samples):
        return plain(model, inputs, samples)

    data = batch_of(model, random_image(75, 130))
    final = DetectorAdapter(model, None).trace(data).outputs
    monkeypatch.setattr(model, 'predict',
                        with_keywords if keywords else without)
    (found, ) = candidates_of(model, data)
    assert found.probabilities is not None
    overlap = box_iou(final[:, 1:], found.bboxes).amax(dim=1)
    assert overlap.min() > 0.99


def test_query_of_a_detr_when_scores_tie():
    """Of half-precision logits, many are the same."""
    cfg = small_config(
        'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py')
    model = build(cfg)
    head = model.bbox_head
    head.test_cfg.max_per_img = 300
    torch.manual_seed(0)
    logits = torch.randn(900, 80).bfloat16()
    boxes = torch.rand(900, 4)
    boxes[:, 0] = torch.arange(900) / 900  # tells which query it is
    boxes[:, 2] = 0
    with recorded_candidates(head) as images:
        head._predict_by_feat_single(
            logits, boxes, dict(img_shape=(900, 900)), rescale=False)
    (found, ) = images
    queries = found.bboxes[:, 0].round().long()
    torch.testing.assert_close(found.probabilities, logits.sigmoid()[queries],
                               rtol=0, atol=0)


def test_given_proposals_are_those_of_masked_images_too():
    model = build(small_config('fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py'))
    data = input_batch(random_image(75, 130), (96, 160))
    data['data_samples'][0].proposals = InstanceData(
        bboxes=torch.tensor([[10., 10, 60, 70], [50, 20, 150, 90]]))
    for found in candidates_of(model, data, count=2):
        assert len(found) == 2 * 80
        torch.testing.assert_close(
            found.probabilities.sum(dim=1) < 1, torch.ones(2).bool())


@pytest.mark.parametrize('family', FAMILIES)
def test_nothing_waits_for_the_garbage_collector(family):
    """Cycles would hold the tensors of many batches."""
    model = random_detector(family)
    trace = DetectorAdapter(model, None).trace(
        batch_of(model, random_image(75, 130)))
    images = trace.input.image[None]

    def tensors():
        return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())

    trace.input.candidates(images)
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        trace.input.candidates(images)
        assert tensors() == before
    finally:
        gc.enable()


def test_final_detections_of_a_detector_of_no_known_kind():
    """In input pixels, which are two for one of the image."""
    model = SquareDetector((16, 24, 64, 72), (96, 60, 144, 108))
    data = input_batch(random_image(64, 80), (128, 160))
    first, second = candidates_of(model, data, count=2)
    assert first.probabilities is None
    assert first.bboxes.tolist() == [[16, 24, 64, 72], [96, 60, 144, 108]]
    assert first.labels.tolist() == [0, 1]
    torch.testing.assert_close(first.scores, second.scores)
    final = DetectorAdapter(model, None).trace(data).detections
    assert final.bboxes.tolist() == [[8, 12, 32, 36], [48, 30, 72, 54]]
    torch.testing.assert_close(first.scores, final.scores)


def test_image_without_proposals_has_no_candidates():
    cfg = small_config(CONFIGS['faster_rcnn'])
    cfg.model.test_cfg.rpn.min_bbox_size = 1e6
    model = build(cfg)
    data = batch_of(model, random_image(75, 130))
    assert [len(one) for one in candidates_of(model, data, 2)] == [0, 0]

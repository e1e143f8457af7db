"""A detector with letter boxes and a head of its own kind, against the whole,
uncut prediction and the host's own boxes."""
import pytest
import torch
from families import batch_of, random_image
from letter_box import letter_box_detector

from mmdet_diffmap import explain
from mmdet_diffmap.lab.zoo.check import strategy_of
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients

SIZE = (45, 60)  # fills 144 rows of 256, and 56 lie above


@pytest.fixture(scope='module')
def model():
    return letter_box_detector()


@pytest.fixture(scope='module')
def data(model):
    return batch_of(model, random_image(*SIZE))


@pytest.fixture(scope='module')
def trace(model, data):
    return DetectorAdapter(model, 'backbone').trace(data)


def whole_prediction(model, data, detections, values):
    """The gradients of values of some detections by the backbone's maps:
    ``values`` makes them of scores and boxes with a graph."""
    data = model.data_preprocessor(data, False)
    leaves = [level.detach().requires_grad_()
              for level in model.backbone(data['inputs'])]
    classes, distances, objectness = model.bbox_head(leaves)
    # the same without anything in place: of an image, nothing is taken apart
    places = torch.cat([
        torch.cartesian_prod(
            torch.arange(level.shape[2]) + .5,
            torch.arange(level.shape[3]) + .5).flip(1) * stride
        for level, stride in zip(classes, (8, 16))])
    strides = torch.cat([
        torch.full((level[0, 0].numel(), 1), float(stride))
        for level, stride in zip(classes, (8, 16))])
    rows = [torch.cat([level[0].flatten(1) for level in levels], dim=1).T
            for levels in (classes, distances, objectness)]
    scores = rows[0].sigmoid() * rows[2].sigmoid()
    boxes = torch.cat([places - rows[1][:, :2] * strides,
                       places + rows[1][:, 2:] * strides], dim=1)
    expected = []
    for detection in detections:
        value = values(scores, boxes, detection)
        expected.append([[
            torch.zeros_like(leaf[0]) if gradient is None else gradient[0]
            for leaf, gradient in zip(leaves, torch.autograd.grad(
                output, leaves, retain_graph=True, allow_unused=True))]
            for output in value])
    return expected


def test_boxes_are_the_hosts(model, data, trace):
    with torch.no_grad():
        (sample, ) = model.test_step(data)
    assert len(trace) == len(sample.pred_instances) > 3
    for name in 'bboxes', 'scores', 'labels':
        assert torch.equal(trace.detections[name],
                           sample.pred_instances[name])
    assert trace.frame.corner == (56, 0)
    assert trace.frame.content_shape == (144, 192)


def test_gradients_are_those_of_the_whole_prediction(model, data, trace):
    assert strategy_of(trace) == 'window'
    inside = [
        number for number, box in enumerate(trace.detections.bboxes)
        if (box > 0).all() and (box < box.new_tensor(SIZE[::-1] * 2)).all()
    ][:3]
    assert inside
    some = trace.select(inside)
    found = trace.detections[inside]

    def values(scores, boxes, detection):
        """Score and box, by the values that the host gives."""
        score = scores[:, detection.labels]
        row = int((score - detection.scores).abs().argmin())
        return [score[row, 0], *boxes[row]]

    expected = whole_prediction(model, data, found, values)
    ours = whole_gradients(some.gradients(OUTPUTS))
    for number, outputs in enumerate(expected):
        for output, levels in zip(OUTPUTS, outputs):
            scale = max(float(level.abs().max()) for level in levels)
            assert scale > 0
            for level, gradient in enumerate(levels):
                given = ours[number, output].get(
                    level, torch.zeros_like(gradient))
                torch.testing.assert_close(given, gradient, rtol=0,
                                           atol=1e-4 * scale)


def test_class_scores_and_contrasts(model, data, trace):
    """A class's probability is the head's score of it."""
    own = trace.classes.probabilities[trace.classes.rows].gather(
        1, trace.detections.labels[:, None])[:, 0]
    torch.testing.assert_close(own, trace.outputs[:, 0])
    result = explain(model, random_image(*SIZE), explainer=dict(
        type='ODAM', outputs=['contrast'], target_layer='backbone'),
        score_thr=0)
    assert result.pred_instances.heatmaps.shape[1:] == SIZE


def test_candidates_lie_in_the_input(model, data, trace):
    """Though the head clips boxes to the image, which is smaller, even where
    they are not taken back to it."""
    (found, ) = trace.input.candidates(trace.input.image[None])
    assert found.probabilities.shape == (len(found), 5)
    assert found.bboxes[:, 3].max() > SIZE[0] + 56  # below the image itself
    nearest = torch.cdist(
        trace.frame.to_input(trace.detections.bboxes),
        trace.frame.to_input(clipped(found.bboxes, trace.frame)),
        compute_mode='donot_use_mm_for_euclid_dist').amin(dim=1)
    assert nearest.max() < 1e-3


def clipped(boxes, frame):
    """Boxes of the input, in the image's pixels and clipped to it."""
    top, left = frame.corner
    height, width = frame.image_shape
    boxes = (boxes - boxes.new_tensor([left, top] * 2)) / boxes.new_tensor(
        frame.scale * 2)
    return torch.stack([boxes[:, 0].clamp(0, width),
                        boxes[:, 1].clamp(0, height),
                        boxes[:, 2].clamp(0, width),
                        boxes[:, 3].clamp(0, height)], dim=1)


def test_what_becomes_of_candidates(model, data):
    candidates = DetectorAdapter(model, 'backbone').trace_candidates(data)
    kept = candidates.with_fate(Fate.KEPT)
    with torch.no_grad():
        (sample, ) = model.test_step(data)
    assert sorted(kept.tolist()) == sorted(
        candidates.filtering.detections.tolist())
    torch.testing.assert_close(
        candidates.trace.detections.scores[candidates.filtering.detections],
        sample.pred_instances.scores, rtol=0, atol=0)
    assert len(candidates.with_fate(Fate.SUPPRESSED)) > 0


@pytest.mark.parametrize('halves', [False, True])
def test_frames_of_many_boxes(halves):
    """The frame, to the pixel, of boxes that no stride divides."""
    model = letter_box_detector(width=97, height=131, halves=halves)
    for height, width in (45, 61), (61, 45), (97, 131), (30, 97):
        image = random_image(height, width)
        sample = explain(model, image, score_thr=0, explainer=dict(
            type='ODAM', target_layer='backbone'))
        ratio = min(97 / width, 131 / height)
        inner = round(height * ratio), round(width * ratio)
        corner = (131 - inner[0]) // 2, (97 - inner[1]) // 2
        trace = DetectorAdapter(model, 'backbone').trace(
            batch_of(model, image))
        assert trace.frame.corner == corner
        assert trace.frame.content_shape == inner
        assert sample.pred_instances.heatmaps.shape[1:] == (height, width)

"""How probable each class of a candidate is, against the head's own logits
and the gradients of the whole, uncut network."""
import pytest
import torch
from families import FAMILIES, SIZE, batch_of, random_detector, random_image
from naive import logits_of

from mmdet_diffmap.tracing.class_scores import ClassScores
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.trace import whole_gradients

CHOSEN = [0, 3, 7]
#: Of softmax heads that one more logit, the background's, follows.
SOFTMAX = 'faster_rcnn', 'detr'


@pytest.fixture(scope='module', params=FAMILIES)
def traced(request):
    model = random_detector(request.param)
    data = batch_of(model, random_image(*SIZE))
    return request.param, model, data, DetectorAdapter(
        model).trace_candidates(data).trace


def test_rows_are_those_of_the_host(traced):
    """Each candidate's probabilities are those of one of the head's rows, and
    its score follows from that of its class."""
    family, model, data, trace = traced
    with torch.no_grad():
        _, logits = logits_of(model, data)
    probabilities = logits.softmax(1)[:, :-1] if family in SOFTMAX \
        else logits.sigmoid()
    own = trace.classes.probabilities[trace.classes.rows].detach()
    apart = torch.cdist(
        own[::50], probabilities,
        compute_mode='donot_use_mm_for_euclid_dist').amin(dim=1)
    assert apart.max() < 1e-4
    assert trace.classes.independent == (family not in SOFTMAX)
    of_class = own.gather(1, trace.detections.labels[:, None])[:, 0]
    if family in ('fcos', 'yolox'):  # there is a factor for the place
        assert (of_class >= trace.detections.scores - 1e-6).all()
    else:
        torch.testing.assert_close(of_class, trace.detections.scores)


def test_contrasts_are_differences_of_logits(traced):
    """And their gradients are those of the whole network."""
    _, model, data, trace = traced
    leaves, logits = logits_of(model, data)
    some = trace.select(CHOSEN)
    found = some.detections.labels
    true = (found + torch.tensor([1, 5, 9])) % 80
    contrast = some.classes.contrast(found, true)
    ours = whole_gradients(some.with_score(contrast).gradients(['score']))
    differences = logits[:, found] - logits[:, true]  # (R, n)
    for number in range(len(CHOSEN)):
        value = contrast[number].detach()
        row = int((differences[:, number] - value).abs().argmin())
        expected_value = differences[row, number]
        torch.testing.assert_close(value, expected_value.detach(), rtol=1e-4,
                                   atol=1e-4)
        expected = torch.autograd.grad(
            expected_value, leaves, retain_graph=True, allow_unused=True)
        largest = max(gradient.abs().max() for gradient in expected
                      if gradient is not None)
        assert largest > 0
        for level, gradient in enumerate(expected):
            got = ours.get((number, 'score'), {}).get(level)
            if got is None:
                assert gradient is None or not gradient.any()
            else:
                assert (got - gradient[0]).abs().max() < 1e-5 * largest


def test_certain_classes_have_finite_contrasts():
    for independent in True, False:
        values = torch.tensor([[1., 0.]], requires_grad=True)
        scores = ClassScores(values, torch.tensor([0]), independent)
        contrast = scores.contrast(torch.tensor([0]), torch.tensor([1]))
        contrast.backward()
        assert contrast.isfinite().all() and contrast > 10
        assert values.grad.isfinite().all()


def test_detections_do_not_show_their_numbers(traced):
    *_, trace = traced
    assert set(trace.detections.keys()) == {'bboxes', 'scores', 'labels'}

import copy

import mmcv.ops.nms  # noqa: F401
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import MaskedConv2d, batched_nms
from mmdet.models.layers import bbox_nms
from torch import nn

from mmdet_diffmap.tracing.heads.attached import (
    Attached,
    CopiedTensors,
    attached_operations,
)


def test_detach_is_the_identity_outside_of_modules():
    value = torch.ones(2, requires_grad=True)
    with Attached() as mode:
        assert value.detach() is value
        mode.running = 1
        assert not value.detach().requires_grad
    assert not value.detach().requires_grad


def test_parts_of_a_tensor_may_be_changed_in_place():
    """As they may without a graph; the gradient is that of the same without
    in-place operations."""
    value = torch.randn(2, 3, requires_grad=True)
    factor = torch.randn(3, requires_grad=True)
    rows = value.sigmoid()
    with Attached():
        total = torch.zeros(())
        for row in rows:
            row *= factor
            total = total + row.square().sum()
        first, _ = rows.unbind()
    expected = (value.sigmoid() * factor).square().sum()
    torch.testing.assert_close(total, expected)
    for ours, theirs in zip(torch.autograd.grad(total, (value, factor)),
                            torch.autograd.grad(expected, (value, factor))):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(first, value.sigmoid()[0])
    plain = torch.ones(2, 3)
    with Attached():
        plain.unbind()[0].zero_()
    assert plain.sum() == 3  # a view still, where there is no graph


def test_masked_convolution_has_the_gradient_of_a_convolution():
    torch.manual_seed(0)
    convolution = MaskedConv2d(3, 5, 3, padding=1).double()
    image = torch.randn(1, 3, 9, 7, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(1, 9, 7) > 0.6
    with attached_operations(convolution):
        output = convolution(image, mask)
    with torch.no_grad():
        assert torch.equal(output, convolution(image, mask))
    expected = F.conv2d(image, convolution.weight, convolution.bias,
                        padding=1) * mask
    cotangent = torch.randn_like(output)
    torch.testing.assert_close(
        *(torch.autograd.grad(one, image, cotangent)[0]
          for one in (output, expected)))
    assert not convolution._forward_hooks


@pytest.mark.parametrize('options, others', [
    (dict(), None), (dict(split_thr=5), None), (dict(split_thr=5), True),
    (dict(class_agnostic=True), None),
    (dict(class_agnostic=True, split_thr=5), None),
    (dict(split_thr=5, max_num=3), None),
    (dict(split_thr=5, score_threshold=0.3, offset=1), None)])
def test_plain_suppression_chooses_rows(options, others):
    """As mmcv does, with fewer steps on the way back where it goes through
    one class after the other. Also where scores are equal, and where the
    numbers of classes are so large that corners are rounded."""
    torch.manual_seed(0)
    count = 60
    corners = 20 * torch.rand(count, 2)
    boxes = torch.cat([corners, corners + 5 + 8 * torch.rand(count, 2)], dim=1)
    scores = torch.randint(12, (count, )) / 12
    leaves = [boxes.requires_grad_(), scores.requires_grad_()]
    labels = 400000 + torch.randint(5, (count, ))
    options = dict(type='nms', iou_threshold=0.2, **options)
    agnostic = () if others is None else (others, )
    expected, order = batched_nms(*leaves, labels, options, *agnostic)
    head = bbox_nms.batched_nms
    with attached_operations(nn.Identity()):
        assert bbox_nms.batched_nms is not head
        dets, kept = bbox_nms.batched_nms(*leaves, labels, options, *agnostic)
    assert bbox_nms.batched_nms is head
    assert torch.equal(dets, expected) and torch.equal(kept, order)
    assert 0 < len(kept) < count
    weights = torch.randn_like(dets)
    for ours, theirs in zip(torch.autograd.grad(dets, leaves, weights),
                            torch.autograd.grad(expected, leaves, weights)):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize('options', [None, dict(iou_threshold=0.2)])
def test_suppression_that_has_no_name(options):
    """It is plain, or there is none."""
    torch.manual_seed(0)
    corners = 20 * torch.rand(30, 2)
    boxes = torch.cat([corners, corners + 9], dim=1)
    scores = torch.rand(30, requires_grad=True)
    labels = torch.zeros(30)
    expected, order = batched_nms(boxes, scores, labels, options)
    with attached_operations(nn.Identity()):
        dets, kept = bbox_nms.batched_nms(boxes, scores, labels, options)
    assert torch.equal(dets, expected) and torch.equal(kept, order)
    assert (len(kept) < 30) == (options is not None)
    assert dets.requires_grad


@pytest.mark.parametrize('method, offset', [
    ('naive', 0), ('linear', 0), ('gaussian', 0), ('gaussian', 1)])
def test_soft_nms_has_the_gradient_of_its_scores(method, offset):
    """Against the change of the scores when boxes and scores change."""
    torch.manual_seed(0)
    corners = 20 * torch.rand(12, 2, dtype=torch.float64)
    boxes = torch.cat(
        [corners, corners + 5 + 8 * torch.rand(12, 2).double()], dim=1)
    scores = torch.rand(12, dtype=torch.float64)
    labels = torch.arange(12) % 2
    options = dict(type='soft_nms', iou_threshold=0.25, min_score=0.01,
                   method=method, offset=offset)

    def suppress(boxes, scores):
        dets, kept = batched_nms(boxes, scores, labels, dict(options))
        return dets.double(), kept

    with torch.no_grad():
        plain, order = suppress(boxes, scores)
    leaves = [boxes.clone().requires_grad_(), scores.clone().requires_grad_()]
    with attached_operations(nn.Identity()):
        dets, kept = suppress(*leaves)
    assert torch.equal(dets, plain) and torch.equal(kept, order)
    assert not torch.equal(dets[:, 4], scores[kept]) or method == 'naive'
    weights = torch.randn_like(dets)
    gradients = torch.autograd.grad(dets, leaves, weights)
    for number, gradient in enumerate(gradients):
        direction = torch.randn_like(gradient)
        ends = []
        for sign in (1, -1):
            values = [boxes, scores]
            values[number] = values[number] + sign * 1e-6 * direction
            with torch.no_grad():
                moved, again = suppress(*values)
            assert torch.equal(again, order)
            ends.append((moved * weights).sum())
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), slope,
                                   rtol=1e-5, atol=1e-6)


def test_roots_of_zeros_that_nothing_depends_on():
    scores = torch.tensor([0.25, 0.0], requires_grad=True)
    quality = torch.tensor(0.64, requires_grad=True)
    with Attached():
        joint = (scores * quality).sqrt()
    joint[0].backward()
    # d sqrt(s q) = sqrt(q / s) / 2, and the other way round
    assert scores.grad.tolist() == pytest.approx([0.8, 0.0])
    assert quality.grad.item() == pytest.approx(0.3125)


def test_a_deep_copy_keeps_its_graph():
    value = torch.ones(3, requires_grad=True)
    with CopiedTensors():
        copied = copy.deepcopy(value * 2)
        copied += 1
    copied.sum().backward()
    assert copied.tolist() == [3, 3, 3] and value.grad.tolist() == [2, 2, 2]

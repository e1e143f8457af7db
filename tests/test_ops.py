import re
import subprocess
import sys

import mmcv.ops
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import (
    MaskedConv2d,
    RoIAlign,
    RoIPool,
    carafe,
    deform_conv2d,
    modulated_deform_conv2d,
    nms,
    sigmoid_focal_loss,
    soft_nms,
)
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torchvision.ops import roi_align, roi_pool

from mmdet_diffmap.host import current_host
from mmdet_diffmap.ops import install_standins


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def naive_nms(boxes, scores, threshold, offset):
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        def iou(j, i=i):
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            inside = np.prod(np.maximum(high - low + offset, 0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2] + offset)
                     for k in (i, j)]
            return inside / (sum(areas) - inside)
        if all(iou(j) <= threshold for j in kept):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_a_plain_loop_keeps(offset):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (60, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 12, (60, 2))])
    scores = rng.permutation(60) / 60
    dets, kept = nms(
        torch.tensor(boxes), torch.tensor(scores), 0.3, offset=offset)
    expected = naive_nms(boxes, scores, 0.3, offset)
    assert kept.tolist() == expected
    assert len(expected) < 60
    np.testing.assert_array_equal(dets[:, :4], boxes[expected])
    if offset:  # the offset must matter here
        assert expected != naive_nms(boxes, scores, 0.3, 0)


def naive_soft_nms(boxes, scores, factor, min_score):
    waiting, kept = dict(enumerate(scores)), []
    while waiting:
        best = max(waiting, key=waiting.get)
        kept.append((best, waiting.pop(best)))
        x1, y1, x2, y2 = boxes[best]
        for i in list(waiting):
            width = min(x2, boxes[i][2]) - max(x1, boxes[i][0])
            height = min(y2, boxes[i][3]) - max(y1, boxes[i][1])
            inside = max(width, 0) * max(height, 0)
            areas = [(c - a) * (d - b) for a, b, c, d in
                     (boxes[best], boxes[i])]
            waiting[i] *= factor(inside / (sum(areas) - inside))
            if waiting[i] < min_score:
                waiting.pop(i)
    return kept


@pytest.mark.parametrize('method, factor', [
    ('naive', lambda iou: 0 if iou >= 0.2 else 1),
    ('linear', lambda iou: 1 - iou if iou >= 0.2 else 1),
    ('gaussian', lambda iou: np.exp(-iou**2 / 0.4)),
])
def test_soft_nms_keeps_what_a_plain_loop_keeps(method, factor):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (40, 2))
    boxes = np.hstack([corners, corners + rng.uniform(4, 12, (40, 2))])
    scores = rng.uniform(0.1, 1, 40)
    dets, kept = soft_nms(
        torch.tensor(boxes), torch.tensor(scores), iou_threshold=0.2,
        sigma=0.4, min_score=0.1, method=method)
    expected = naive_soft_nms(boxes.tolist(), scores.tolist(), factor, 0.1)
    assert kept.tolist() == [index for index, _ in expected]
    assert 5 < len(kept) < 40
    np.testing.assert_allclose(dets[:, 4], [score for _, score in expected])
    np.testing.assert_array_equal(dets[:, :4], boxes[kept])


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.6)])
def test_focal_loss_and_its_gradient(gamma, alpha):
    """mmdet's own for the CPU is the reference."""
    torch.manual_seed(0)
    first = (4 * torch.randn(7, 3, dtype=torch.float64)).requires_grad_()
    second = first.detach().clone().requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 0, 1])  # 3 is the background
    loss = sigmoid_focal_loss(first, target, gamma, alpha, None, 'none')
    one_hot = torch.nn.functional.one_hot(target, 4)[:, :3]
    expected = py_sigmoid_focal_loss(
        second, one_hot, gamma=gamma, alpha=alpha, reduction='none')
    torch.testing.assert_close(loss, expected)
    weights = torch.rand(7, 3, dtype=torch.float64)
    (loss * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient(aligned, sampling_ratio):
    torch.manual_seed(0)
    feature = torch.rand(2, 3, 20, 30, dtype=torch.float64)
    rois = torch.tensor([[0, 3.2, 4.1, 90.5, 60], [1, 0, 0, 7, 7],
                         [1, 50, 10, 130, 85]], dtype=torch.float64)
    first = feature.clone().requires_grad_()
    second = feature.clone().requires_grad_()
    pooled = RoIAlign((5, 7), 0.25, sampling_ratio, aligned=aligned)(
        first, rois)
    expected = roi_align(second, rois, (5, 7), 0.25, max(sampling_ratio, 0),
                         aligned)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)
    weights = torch.rand_like(pooled)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_roi_pool_and_its_gradient():
    torch.manual_seed(0)
    feature = torch.rand(2, 3, 20, 30, dtype=torch.float64)
    rois = torch.tensor([[0, 3., 4, 90, 60], [1, 50, 10, 110, 79]],
                        dtype=torch.float64)
    first = feature.clone().requires_grad_()
    second = feature.clone().requires_grad_()
    pooled = RoIPool((5, 7), 0.25)(first, rois)
    expected = roi_pool(second, rois, (5, 7), 0.25)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)
    weights = torch.rand_like(pooled)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def check_gradients(output, inputs, expected, expected_inputs):
    """Assert that two outputs are equal, and their gradients."""
    torch.testing.assert_close(output, expected)
    cotangent = torch.randn_like(output)
    torch.testing.assert_close(
        torch.autograd.grad(output, inputs, cotangent),
        torch.autograd.grad(expected, expected_inputs, cotangent))


def leaves(tensors):
    """Return copies of tensors that get gradients."""
    return [tensor.clone().requires_grad_() for tensor in tensors]


def naive_deform_conv(image, offset, mask, weight, bias, stride, padding,
                      dilation, groups, deform_groups):
    """Sample with ``grid_sample``, one kernel position after the other."""
    batch, _, height, width = image.shape
    rows, columns = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    offset = offset.view(batch, deform_groups, rows * columns, 2, out_h, out_w)
    mask = torch.ones_like(offset[:, :, :, 0]) if mask is None else \
        mask.view_as(offset[:, :, :, 0])
    samples = []
    for place in range(rows * columns):
        y = torch.arange(out_h)[:, None] * stride - padding + \
            place // columns * dilation + offset[:, :, place, 0]
        x = torch.arange(out_w) * stride - padding + \
            place % columns * dilation + offset[:, :, place, 1]
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1],
                           dim=-1)
        parts = [
            F.grid_sample(part, grid[:, number], align_corners=True)
            * mask[:, number, place, None]
            for number, part in enumerate(image.chunk(deform_groups, dim=1))
        ]
        samples.append(torch.cat(parts, dim=1))
    samples = torch.stack(samples, dim=2)  # (B, C, places, h, w)
    outputs = [
        torch.einsum('bcphw,ocp->bohw', part, kernel.flatten(2))
        for part, kernel in zip(samples.chunk(groups, dim=1),
                                weight.chunk(groups))
    ]
    return torch.cat(outputs, dim=1) + bias[:, None, None]


@pytest.mark.parametrize('layout', [
    torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('stride, padding, dilation, groups, deform_groups', [
    (1, 1, 1, 1, 1), (2, 2, 2, 2, 4)])
def test_deformable_convolution_and_its_gradients(
        modulated, stride, padding, dilation, groups, deform_groups, layout):
    torch.manual_seed(0)
    image = torch.randn(2, 8, 11, 13, dtype=torch.float64)
    weight = torch.randn(4, 8 // groups, 3, 3, dtype=torch.float64)
    size = [(side + 2 * padding - 2 * dilation - 1) // stride + 1
            for side in image.shape[2:]]
    offset = 2 * torch.randn(2, deform_groups * 18, *size, dtype=torch.float64)
    values = [image, offset, weight]
    if modulated:
        values += [torch.rand(2, deform_groups * 9, *size).double(),
                   torch.randn(4, dtype=torch.float64)]
    first, second = leaves(
        each.to(memory_format=layout) if each.dim() == 4 else each
        for each in values), leaves(values)
    options = stride, padding, dilation, groups, deform_groups
    if modulated:
        image, offset, weight, mask, bias = first
        output = modulated_deform_conv2d(image, offset, mask, weight, bias,
                                         *options)
        image, offset, weight, mask, bias = second
    else:
        output = deform_conv2d(*first, *options)
        image, offset, weight = second
        mask, bias = None, torch.zeros(4)
    expected = naive_deform_conv(image, offset, mask, weight, bias, *options)
    check_gradients(output, first, expected, second)


@pytest.mark.parametrize('layout', [
    torch.contiguous_format, torch.channels_last])
def test_larger_offsets_are_read_as_flat_memory(layout):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 5, 6, dtype=torch.double)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.double)
    bias = torch.randn(4, dtype=torch.double)
    offset = 2 * torch.randn(2, 18, 10, 12, dtype=torch.double)
    mask = torch.rand(2, 9, 10, 12, dtype=torch.double)
    first, second = (
        leaves([image, offset, mask, weight, bias]) for _ in range(2))
    first[:4] = leaves(each.to(memory_format=layout)
                       for each in (image, offset, mask, weight))
    output = modulated_deform_conv2d(*first, 1, 1)
    image, offset, mask, weight, bias = second
    # place (n, y, x) of the smaller grid is element n*30 + y*6 + x in memory
    places = torch.arange(18 * 30).view(18, 5, 6)
    offset, mask = (
        torch.stack([own.reshape(-1)[places[:len(own)]] for own in values])
        for values in (offset, mask))
    expected = naive_deform_conv(image, offset, mask, weight, bias, 1, 1, 1, 1,
                                 1)
    check_gradients(output, first, expected, second)


def test_smaller_offsets_are_an_error():
    with pytest.raises(ValueError, match='offsets of 3 x 2 are too few'):
        modulated_deform_conv2d(
            torch.zeros(1, 1, 4, 4), torch.zeros(1, 18, 2, 3),
            torch.zeros(1, 9, 2, 3), torch.zeros(1, 1, 3, 3),
            torch.zeros(1), 1, 1)


def test_masked_convolution():
    torch.manual_seed(0)
    convolution = MaskedConv2d(3, 5, 3, padding=1).double()
    image = torch.randn(1, 3, 9, 7, dtype=torch.float64)
    mask = torch.rand(1, 9, 7) > 0.6
    with torch.no_grad():
        output = convolution(image, mask)
        expected = F.conv2d(image, convolution.weight, convolution.bias,
                            padding=1) * mask
    torch.testing.assert_close(output, expected)


def test_multi_scale_deformable_attention_and_its_gradients():
    torch.manual_seed(0)
    shapes = torch.tensor([[6, 7], [3, 4]])
    starts = torch.tensor([0, 42])
    values = [torch.randn(2, 54, 4, 8, dtype=torch.float64),
              torch.rand(2, 5, 4, 2, 3, 2, dtype=torch.float64),
              torch.rand(2, 5, 4, 2, 3, dtype=torch.float64)]
    first, second = leaves(values), leaves(values)
    output = MultiScaleDeformableAttnFunction.apply(
        first[0], shapes, starts, *first[1:], 64)
    expected = multi_scale_deformable_attn_pytorch(second[0], shapes,
                                                   *second[1:])
    check_gradients(output, first, expected, second)


def test_carafe_and_its_gradients():
    torch.manual_seed(0)
    features = torch.randn(2, 4, 2, 3, dtype=torch.double, requires_grad=True)
    masks = torch.randn(2, 2 * 9, 6, 9, dtype=torch.double,
                        requires_grad=True)
    output = carafe(features, masks, 3, 2, 3)
    expected = torch.zeros(2, 4, 6, 9, dtype=torch.double)
    for channel in range(4):
        for row in range(6):
            for column in range(9):
                for dy in range(3):
                    for dx in range(3):
                        y, x = row // 3 + dy - 1, column // 3 + dx - 1
                        if 0 <= y < 2 and 0 <= x < 3:
                            weight = (channel // 2) * 9 + dy * 3 + dx
                            expected[:, channel, row, column] += \
                                features[:, channel, y, x].detach() * \
                                masks[:, weight, row, column].detach()
    torch.testing.assert_close(output.detach(), expected)
    assert torch.autograd.gradcheck(
        lambda *args: carafe(*args, 3, 2, 3), (features, masks))


def test_another_op_says_what_to_install():
    image = torch.rand(1, 2, 8, 8)
    with pytest.raises(RuntimeError, match='needs a compiled mmcv.*: '
                       + re.escape(current_host().compiled)):
        mmcv.ops.tin_shift(image, torch.zeros(1, 1))
    with pytest.raises(RuntimeError, match='pool_mode="max"'):
        RoIAlign(2, pool_mode='max')(image, torch.zeros(1, 5))


@pytest.mark.slow
def test_compiled_mmcv_is_left_alone(tmp_path):
    (tmp_path / '_ext.py').write_text(
        'def __getattr__(name): return lambda *args: "compiled"')
    code = (f'import mmcv; mmcv.__path__.append({str(tmp_path)!r})\n'
            'from mmdet_diffmap.ops import install_standins\n'
            'import sys; print(install_standins(), '
            'sys.modules["mmcv._ext"].nms())')
    assert run(code) == 'False compiled'


def test_standins_are_installed_once():
    """The package has done it, before any test."""
    first = sys.modules['mmcv._ext']
    assert install_standins()
    assert sys.modules['mmcv._ext'] is first

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deformable and masked convolutions in place of mmcv's."""
# mmcv passes arguments by these names
# ruff: noqa: N803
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from .sparse import has_sparse_products, matrix, products_at, transposed


def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor,
                        output: Tensor, columns: Tensor, ones: Tensor,
                        kW: int, kH: int, dW: int, dH: int, padW: int,
                        padH: int, dilationW: int, dilationH: int, group: int,
                        deformable_group: int, im2col_step: int) -> None:
    """Write the deformable convolution (Dai et al., ICCV 2017) of ``input``
    (B, C, H, W) with ``offset`` (B, deformable_group * 2 * kH * kW, h, w),
    pairs (y, x), to ``output``."""
    output.copy_(
        torchvision.ops.deform_conv2d(
            input, offset, weight, None, (dH, dW), (padH, padW),
            (dilationH, dilationW)))


def deform_conv_backward_input(input: Tensor, offset: Tensor,
                               grad_output: Tensor, grad_input: Tensor,
                               grad_offset: Tensor, weight: Tensor,
                               columns: Tensor, im2col_step: int,
                               **options: int) -> None:
    """Write the gradients with respect to the input and the offsets."""
    gradients = backward(grad_output, input, weight, offset, None,
                         with_weight=False, **from_old_names(**options))
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(input: Tensor, offset: Tensor,
                                    grad_output: Tensor, grad_weight: Tensor,
                                    columns: Tensor, ones: Tensor,
                                    scale: float, im2col_step: int,
                                    **options: int) -> None:
    """Write the gradient with respect to the weight, times ``scale``."""
    gradients = backward(grad_output, input, grad_weight, offset, None,
                         **from_old_names(**options))
    grad_weight.copy_(scale * gradients[1])


def modulated_deform_conv_forward(
        input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor,
        offset: Tensor, mask: Tensor, output: Tensor, columns: Tensor,
        kernel_h: int, kernel_w: int, stride_h: int, stride_w: int,
        pad_h: int, pad_w: int, dilation_h: int, dilation_w: int, group: int,
        deformable_group: int, with_bias: bool) -> None:
    """Write the modulated deformable convolution (Zhu et al., CVPR 2019) to
    ``output``: ``mask`` (B, deformable_group * kH * kW, h, w) weights the
    samples."""
    offset, mask = (read_flat(values, output) for values in (offset, mask))
    output.copy_(
        torchvision.ops.deform_conv2d(
            input, offset, weight, bias if with_bias else None,
            (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w),
            mask))


def read_flat(values: Tensor, output: Tensor) -> Tensor:
    """Read offsets or masks (B, n, H, W) as mmcv does for an output (B, C, h,
    w): the memory of each image as if it were (n, h, w), whatever H and W
    are. DyHead gives larger ones, and its weights were trained so.

    Raises:
        ValueError: If there are not enough.
    """
    batch, channels, height, width = values.shape
    size = output.shape[2:]
    if size == (height, width):
        return values
    needed = channels * size.numel()
    if needed > channels * height * width:
        raise ValueError(f'offsets of {width} x {height} are too few for an '
                         f'output of {size[1]} x {size[0]}')
    return values.flatten(1)[:, :needed].reshape(batch, channels, *size)


def modulated_deform_conv_backward(
        input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor,
        offset: Tensor, mask: Tensor, columns: Tensor, grad_input: Tensor,
        grad_weight: Tensor, grad_bias: Tensor, grad_offset: Tensor,
        grad_mask: Tensor, grad_output: Tensor, with_bias: bool,
        **options: Any) -> None:
    """Write the gradients with respect to all inputs."""
    gradients = backward(
        grad_output, input, weight, read_flat(offset, grad_output),
        read_flat(mask, grad_output), **options)
    for gradient, value in zip((grad_input, grad_weight), gradients):
        gradient.copy_(value)
    for gradient, value in zip((grad_offset, grad_mask), gradients[2:]):
        unread = gradient[0].numel() - value[0].numel()
        gradient.copy_(F.pad(value.flatten(1), (0, unread)).view(
            gradient.shape))
    if with_bias:
        grad_bias.copy_(grad_output.sum(dim=(0, 2, 3)))


def backward(grad_output: Tensor, input: Tensor, weight: Tensor,
             offset: Tensor, mask: Tensor | None, kernel_h: int,
             kernel_w: int, stride_h: int, stride_w: int, pad_h: int,
             pad_w: int, dilation_h: int, dilation_w: int, group: int,
             deformable_group: int, with_weight: bool = True) -> Any:
    """Compute the gradients of input, weight, offset and mask (without
    meaning where there is none, or where it is not wanted)."""
    masked = mask is not None
    if has_sparse_products(input):
        return sparse_backward(
            grad_output, input, weight, offset, mask, (stride_h, stride_w),
            (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group,
            with_weight)
    if mask is None:
        mask = input.new_zeros(len(input), 1)
    gradients = torch.ops.torchvision._deform_conv2d_backward(
        grad_output, input, weight, offset, mask,
        input.new_zeros(len(weight)), stride_h, stride_w, pad_h, pad_w,
        dilation_h, dilation_w, group, deformable_group, masked)
    return gradients[:4]


def sparse_backward(grad_output: Tensor, input: Tensor, weight: Tensor,
                    offset: Tensor, mask: Tensor | None,
                    stride: tuple[int, int], padding: tuple[int, int],
                    dilation: tuple[int, int], group: int,
                    deformable_group: int,
                    with_weight: bool) -> tuple[Tensor | None, ...]:
    """Compute the gradients by products with a sparse matrix, in a fraction
    of the time that torchvision's loops take on a CPU.

    The samples of the input are the rows of a sparse matrix, with four
    entries each, times its cells; the convolution is a dense product after
    that. Rows are ordered by image, place of the output, place of the kernel
    and deformable group.
    """
    batch, channels, height, width = input.shape
    kernel_h, kernel_w = weight.shape[2:]
    out_h, out_w = grad_output.shape[2:]
    samples = kernel_h * kernel_w
    # (B, P, K, groups, y and x)
    offsets = offset.view(batch, deformable_group, samples, 2, -1).permute(
        0, 4, 2, 1, 3)
    starts = [torch.arange(count, device=input.device) * step - before
              for count, step, before in zip((out_h, out_w), stride, padding)]
    inner = [torch.arange(count, device=input.device) * step
             for count, step in zip((kernel_h, kernel_w), dilation)]
    regular = torch.stack([
        torch.cartesian_prod(*starts)[:, None, axis] +
        torch.cartesian_prod(*inner)[None, :, axis] for axis in (0, 1)
    ], dim=-1)  # (P, K, 2)
    places = offsets + regular[None, :, :, None]
    first = places.floor()
    after = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]],
                         device=input.device)
    sizes = torch.tensor([height, width], device=input.device)
    cells = first[..., None, :].long() + after
    inside = (cells >= 0) & (cells < sizes)  # (B, P, K, groups, 4, 2)
    share = (places - first)[..., None, :]
    shares = torch.where(after.bool(), share, 1 - share) * inside
    slopes = torch.where(after.bool(), 1, -1) * inside
    cells = cells.clamp(min=0).minimum(sizes - 1)
    image = torch.arange(batch, device=input.device).view(-1, 1, 1, 1, 1)
    groups = torch.arange(deformable_group, device=input.device)[:, None]
    columns = ((image * height + cells[..., 0]) * width + cells[..., 1]
               ) * deformable_group + groups
    columns = columns.reshape(-1, 4)
    bilinear = shares.prod(dim=-1).reshape(-1, 4)

    of_outputs = grad_output.flatten(2).mT.unflatten(2, (group, -1))
    kernels = weight.flatten(2).unflatten(0, (group, -1))  # (g, O, C, K)
    of_samples = torch.einsum('bpgo,gock->bpkgc', of_outputs, kernels
                              ).reshape(len(columns), -1)
    tokens = input.permute(0, 2, 3, 1).reshape(-1, of_samples.shape[1])
    products = products_at(columns, of_samples, tokens)
    weights = bilinear
    factor = offset.new_ones(1)
    if mask is not None:
        factor = mask.view(batch, deformable_group, samples, -1).permute(
            0, 3, 2, 1).reshape(-1, 1)
        weights = bilinear * factor
    back = transposed(columns, weights, len(tokens))
    grad_input = (back @ of_samples).view(
        batch, height, width, channels).permute(0, 3, 1, 2)
    grad_offset = torch.stack([
        (products * factor * (slope * other).reshape(-1, 4)).sum(dim=1)
        for slope, other in ((slopes[..., 0], shares[..., 1]),
                             (slopes[..., 1], shares[..., 0]))
    ], dim=1).view(batch, -1, samples, deformable_group, 2).permute(
        0, 3, 2, 4, 1).reshape(offset.shape)
    grad_weight = None
    if with_weight:
        sampled = (matrix(columns, weights, len(tokens)) @ tokens).view(
            batch, -1, samples, group, channels // group)
        grad_weight = torch.einsum('bpgo,bpkgc->gock', of_outputs, sampled
                                   ).reshape(weight.shape)
    grad_mask = None if mask is None else (products * bilinear).sum(
        dim=1).view(batch, -1, samples, deformable_group).permute(
            0, 3, 2, 1).reshape(mask.shape)
    return grad_input, grad_weight, grad_offset, grad_mask


def from_old_names(kW: int, kH: int, dW: int, dH: int, padW: int, padH: int,
              dilationW: int, dilationH: int, group: int,
              deformable_group: int) -> dict[str, Any]:
    """Translate the names that mmcv gives the arguments of :func:`backward`
    in the older of the two operations."""
    return dict(
        kernel_h=kH, kernel_w=kW, stride_h=dH, stride_w=dW, pad_h=padH,
        pad_w=padW, dilation_h=dilationH, dilation_w=dilationW, group=group,
        deformable_group=deformable_group)


def masked_im2col_forward(features: Tensor, mask_h_idx: Tensor,
                          mask_w_idx: Tensor, data_col: Tensor, kernel_h: int,
                          kernel_w: int, pad_h: int, pad_w: int) -> None:
    """Write the patches of one image's ``features`` (1, C, H, W) around some
    places to ``data_col`` (C * kernel_h * kernel_w, places)."""
    width = features.shape[3] + 2 * pad_w - kernel_w + 1
    patches = F.unfold(features[:1], (kernel_h, kernel_w),
                       padding=(pad_h, pad_w))[0]
    data_col.copy_(patches[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(data_col: Tensor, mask_h_idx: Tensor,
                          mask_w_idx: Tensor, output: Tensor, height: int,
                          width: int, channels: int) -> None:
    """Write the values (C, places) of some places to one image's ``output``
    (1, C, height, width)."""
    output[0, :, mask_h_idx, mask_w_idx] = data_col

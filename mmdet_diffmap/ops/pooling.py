# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Pooling of regions in place of mmcv's."""
import torch
from torch import Tensor

from .missing import missing_op

AVERAGE = 1  # mmcv's code for pool_mode='avg'; 0 is 'max'


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor,
                      argmax_y: Tensor, argmax_x: Tensor, aligned_height: int,
                      aligned_width: int, spatial_scale: float,
                      sampling_ratio: int, pool_mode: int,
                      aligned: bool) -> None:
    """Write the pooled features (K, C, h, w) of ``rois`` (K, 5) to
    ``output``."""
    if pool_mode != AVERAGE:
        missing_op('roi_align_forward with pool_mode="max"')()
    output.copy_(
        torch.ops.torchvision.roi_align(input, rois, spatial_scale,
                                        aligned_height, aligned_width,
                                        sampling_ratio, aligned))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor,
                       argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Write the gradient with respect to the features (B, C, H, W) to
    ``grad_input``."""
    if pool_mode != AVERAGE:
        missing_op('roi_align_backward with pool_mode="max"')()
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(grad_output, rois,
                                                  spatial_scale,
                                                  aligned_height,
                                                  aligned_width,
                                                  *grad_input.shape,
                                                  sampling_ratio, aligned))


def roi_pool_forward(input: Tensor, rois: Tensor, output: Tensor,
                     argmax: Tensor, pooled_height: int, pooled_width: int,
                     spatial_scale: float) -> None:
    """Write the largest values (K, C, h, w) of the bins of ``rois`` (K, 5) to
    ``output``, and their places to ``argmax``."""
    pooled, places = torch.ops.torchvision.roi_pool(
        input, rois, spatial_scale, pooled_height, pooled_width)
    output.copy_(pooled)
    argmax.copy_(places)


def roi_pool_backward(grad_output: Tensor, rois: Tensor, argmax: Tensor,
                      grad_input: Tensor, pooled_height: int,
                      pooled_width: int, spatial_scale: float) -> None:
    """Write the gradient with respect to the features (B, C, H, W) to
    ``grad_input``."""
    grad_input.copy_(
        torch.ops.torchvision._roi_pool_backward(
            grad_output, rois, argmax, spatial_scale, pooled_height,
            pooled_width, *grad_input.shape))

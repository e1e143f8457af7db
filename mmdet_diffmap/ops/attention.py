# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Multi-scale deformable attention in place of mmcv's compiled one.

mmcv has it in plain torch too, and uses that on the CPU alone.
"""
import torch
from torch import Tensor


def ms_deform_attn_forward(value: Tensor, spatial_shapes: Tensor,
                           level_start_index: Tensor,
                           sampling_locations: Tensor,
                           attention_weights: Tensor,
                           im2col_step: int) -> Tensor:
    """Compute the attention (Zhu et al., ICLR 2021), shape (B, queries,
    channels)."""
    from mmcv.ops.multi_scale_deform_attn import (
        multi_scale_deformable_attn_pytorch,
    )
    return multi_scale_deformable_attn_pytorch(
        value, spatial_shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(value: Tensor, spatial_shapes: Tensor,
                            level_start_index: Tensor,
                            sampling_locations: Tensor,
                            attention_weights: Tensor, grad_output: Tensor,
                            grad_value: Tensor, grad_sampling_loc: Tensor,
                            grad_attn_weight: Tensor,
                            im2col_step: int) -> None:
    """Write the gradients with respect to values, locations and weights."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in
                  (value, sampling_locations, attention_weights)]
        output = ms_deform_attn_forward(
            leaves[0], spatial_shapes, level_start_index, leaves[1],
            leaves[2], im2col_step)
    for gradient, value in zip(
            (grad_value, grad_sampling_loc, grad_attn_weight),
            torch.autograd.grad(output, leaves, grad_output)):
        gradient.copy_(value)

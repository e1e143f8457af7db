# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Content-aware reassembly of features in place of mmcv's."""
import torch
import torch.nn.functional as F
from torch import Tensor


def reassemble(features: Tensor, masks: Tensor, kernel_size: int,
               group_size: int, scale_factor: int) -> Tensor:
    """Enlarge features (CARAFE; Wang et al., ICCV 2019): each cell of the
    result is a weighted sum of the cells around its own in the features.

    Args:
        features (Tensor): Shape (B, C, H, W).
        masks (Tensor): The weights, shape (B, group_size * kernel_size²,
            scale_factor * H, scale_factor * W).
        kernel_size (int): Side of the square that is summed over.
        group_size (int): Groups of channels with weights of their own.
        scale_factor (int): How many times larger the result is.

    Returns:
        Tensor: Shape (B, C, scale_factor * H, scale_factor * W).
    """
    batch, channels, height, width = features.shape
    squares = F.unfold(features, kernel_size, padding=kernel_size // 2).view(
        batch, group_size, channels // group_size, kernel_size**2, height,
        width)
    weights = masks.view(batch, group_size, kernel_size**2, height,
                         scale_factor, width, scale_factor)
    return torch.einsum('bgckhw,bgkhiwj->bgchiwj', squares, weights).reshape(
        batch, channels, height * scale_factor, width * scale_factor)


def carafe_forward(features: Tensor, masks: Tensor, rfeatures: Tensor,
                   routput: Tensor, rmasks: Tensor, output: Tensor,
                   kernel_size: int, group_size: int,
                   scale_factor: int) -> None:
    """Write the enlarged features to ``output``, and what the way back needs
    of the features to ``rfeatures``."""
    rfeatures.copy_(features)
    output.copy_(reassemble(features, masks, kernel_size, group_size,
                            scale_factor))


def carafe_backward(grad_output: Tensor, rfeatures: Tensor, masks: Tensor,
                    rgrad_output: Tensor, rgrad_input_hs: Tensor,
                    rgrad_input: Tensor, rgrad_masks: Tensor,
                    grad_input: Tensor, grad_masks: Tensor, kernel_size: int,
                    group_size: int, scale_factor: int) -> None:
    """Write the gradients with respect to features and masks."""
    with torch.enable_grad():
        features = rfeatures.detach().requires_grad_()
        masks = masks.detach().requires_grad_()
        output = reassemble(features, masks, kernel_size, group_size,
                            scale_factor)
    for gradient, value in zip((grad_input, grad_masks), torch.autograd.grad(
            output, (features, masks), grad_output)):
        gradient.copy_(value)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Focal loss in place of mmcv's."""
import torch
import torchvision
from torch import Tensor

from .missing import missing_op


def focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float,
               alpha: float) -> Tensor:
    """Compute the focal loss of logits (N, C) for labels (N, ), of which C is
    the background, element by element."""
    if weight.numel():
        missing_op('sigmoid_focal_loss with weights of classes')()
    one_hot = torch.nn.functional.one_hot(target, input.shape[1] + 1)[:, :-1]
    return torchvision.ops.sigmoid_focal_loss(input, one_hot.to(input), alpha,
                                              gamma)


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor,
                               output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Write the losses (N, C) to ``output``; see :func:`focal_loss`."""
    output.copy_(focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor,
                                grad_input: Tensor, gamma: float,
                                alpha: float) -> None:
    """Write the gradient of their sum (N, C) to ``grad_input``."""
    with torch.enable_grad():
        logits = input.detach().requires_grad_()
        total = focal_loss(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, logits)[0])

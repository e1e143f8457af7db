# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Stand-ins for mmcv's compiled ops, for installations without a compiler.

mmdet imports ``mmcv.ops``, which loads the extension module ``mmcv._ext``. The
wheel ``mmcv-lite`` does not carry that module. :func:`install_standins` puts a
module in its place whose ``nms``, RoIAlign and sigmoid focal loss are
torchvision's; every other op can be imported, and says what to install when it
is called. Nothing happens where a compiled mmcv is installed.
"""
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import Tensor

EXTENSION = 'mmcv._ext'
AVERAGE = 1  # mmcv's code for pool_mode='avg'; 0 is 'max'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Indices of the boxes that non-maximum suppression keeps.

    Args:
        boxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ), of any floating-point type: heads may
            give boxes in single precision only.
        iou_threshold (float): A box is dropped when its IoU with a better
            one is larger.
        offset (int): 0, or 1 for boxes whose last pixel is included.

    Returns:
        Tensor: int64, shape (num_kept, ), best score first.
    """
    if offset:  # a width of x2 - x1 + 1 is the width of a box one wider
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    dtype = torch.promote_types(boxes.dtype, scores.dtype)
    return torchvision.ops.nms(
        boxes.to(dtype), scores.to(dtype), iou_threshold)


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


def focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float,
               alpha: float) -> Tensor:
    """The focal loss of logits (N, C) for labels (N, ), of which C is the
    background, element by element."""
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


def missing_op(name: str) -> Callable[..., Any]:
    """A function that raises, when called, what to install for ``name``."""

    def raise_missing(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f'mmcv\'s op "{name}" needs a compiled mmcv, and only mmcv-lite '
            'is installed. Install it with: pip uninstall mmcv-lite && '
            'pip install -U openmim && mim install "mmcv>=2.1,<2.2"')

    return raise_missing


class StandIns(ModuleType):
    """The module that takes the place of ``mmcv._ext``."""

    nms = staticmethod(nms)
    roi_align_forward = staticmethod(roi_align_forward)
    roi_align_backward = staticmethod(roi_align_backward)
    sigmoid_focal_loss_forward = staticmethod(sigmoid_focal_loss_forward)
    sigmoid_focal_loss_backward = staticmethod(sigmoid_focal_loss_backward)

    def __init__(self) -> None:
        super().__init__(EXTENSION, __doc__)
        # importlib.util.find_spec refuses a loaded module without a spec
        self.__spec__ = ModuleSpec(EXTENSION, loader=None)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)
        return missing_op(name)


def install_standins() -> bool:
    """Make ``mmcv.ops`` importable where mmcv has no compiled ops.

    Returns:
        bool: Whether the stand-ins are in use; False where a compiled mmcv
        is installed, which is left untouched.

    Raises:
        ImportError: If there is no mmcv at all.
    """
    try:
        spec = importlib.util.find_spec(EXTENSION)
    except ModuleNotFoundError as error:
        raise ImportError(
            'mmdet_diffmap needs mmcv. Without a compiler: pip install '
            '"mmdet_diffmap[lite]"; with compiled ops: pip install -U openmim '
            '&& mim install "mmcv>=2.1,<2.2"') from error
    if spec is None:
        sys.modules[EXTENSION] = StandIns()
    return isinstance(sys.modules.get(EXTENSION), StandIns)

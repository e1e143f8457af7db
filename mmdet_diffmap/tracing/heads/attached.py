# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients through what the host detaches.

mmdet predicts without gradients, so some of its post-processing detaches what
it takes from a head, and some operations of mmcv have no way back. Here each
of them has one, with the values that it always has.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.ops import MaskedConv2d, batched_nms
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..gradients.value_of import ValueOf
from ..swapping import modules_with, swapped
from .suppression import SoftNMS, suppress_batch


class Attached(TorchFunctionMode):
    """In this context, ``detach`` gives the tensor as it is, and
    ``new_tensor`` the one that it is given, unless something is running that
    may detach: what a network detaches inside is left so. The square root's
    gradient is not NaN where nothing depends on it. What a tensor is taken
    apart into may be changed in place, as it may be without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0

    def __torch_function__(self,
                           function: Callable,
                           types: Sequence[type],
                           args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        if function is Tensor.detach and not self.running:
            return args[0]
        if function is Tensor.new_tensor and not kwargs and \
                not self.running and isinstance(args[1], Tensor):
            return args[1].to(args[0]).clone()  # the original detaches
        if function in (Tensor.numpy, Tensor.__array__):
            args = (args[0].detach(), *args[1:])  # as the caller has meant to
        if function in (torch.unbind, Tensor.unbind) and \
                args[0].requires_grad:
            return tuple(part.clone()
                         for part in function(*args, **(kwargs or {})))
        if function in (torch.sqrt, Tensor.sqrt) and not kwargs:
            function = Root.apply
        return function(*args, **(kwargs or {}))


class CopiedTensors(TorchFunctionMode):
    """In this context, ``copy.deepcopy`` takes tensors with a graph, too:
    heads that run several times get copies of the maps."""

    def __torch_function__(self,
                           function: Callable,
                           types: Sequence[type],
                           args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        if function is Tensor.__deepcopy__:
            return args[0].clone()
        return function(*args, **(kwargs or {}))


class Root(torch.autograd.Function):
    """The square root. Zeros that no output depends on, such as the scores
    that mmdet gives to the background before it takes the geometric mean with
    another score, have the gradient 0 and not 0 * inf."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        root = value.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (root, ) = ctx.saved_tensors
        return torch.where(gradient == 0, gradient, gradient / (2 * root))


@contextmanager
def attached_selection(heads: Sequence[nn.Module]) -> Iterator[None]:
    """Take an image's maps out of the batch without copies on the way back.

    Dense heads do this with the function ``select_single_mlvl``. Here there
    is one image, and ``squeeze`` spares the backward pass a copy of each map.
    The function belongs to a module, and is swapped for all threads.
    """

    def attached(maps: Any, index: int, detach: bool = True) -> list[Tensor]:
        return [level.squeeze(0) if len(level) == 1 else level[index]
                for level in maps]

    modules = {module: None for head in heads
               for module in modules_with('select_single_mlvl', head)}
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(
                swapped(module, 'select_single_mlvl', attached))
        yield


@contextmanager
def attached_operations(model: nn.Module) -> Iterator[None]:
    """Give masked convolutions and Soft-NMS a way back in this context, and
    plain suppression a short one."""

    def convolve(module: MaskedConv2d, args: tuple, output: Tensor) -> Tensor:
        if len(args) < 2 or output.grad_fn is None:
            return output
        everywhere = F.conv2d(args[0], module.weight, module.bias,
                              module.stride, module.padding)
        return ValueOf.apply(everywhere * (args[1] > 0), output)

    suppression: Any = sys.modules[batched_nms.__module__]
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, MaskedConv2d):
                stack.callback(
                    module.register_forward_hook(convolve,
                                                 prepend=True).remove)
        stack.enter_context(
            swapped(suppression, 'soft_nms', SoftNMS(suppression.soft_nms)))
        suppress: Callable = partial(suppress_batch, batched_nms)
        for name, user in list(sys.modules.items()):
            if name != __name__ and getattr(user, '__dict__', {}).get(
                    'batched_nms') is batched_nms:
                stack.enter_context(swapped(user, 'batched_nms', suppress))
        yield

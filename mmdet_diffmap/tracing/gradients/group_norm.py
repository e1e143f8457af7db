# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""GroupNorm layers with the statistics of another run."""
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .value_of import ValueOf

Replace = Callable[[nn.GroupNorm, Tensor, Tensor], Tensor]


class FrozenStatistics:
    """What the GroupNorm layers of a head do to each level, as constants.

    With its mean and variance held constant, a layer scales and shifts each
    channel. A layer that several levels share is called once for each of
    them, always in the same order; so the layer and the number of the call
    tell its constants.

    Args:
        head (nn.Module): The head.
    """

    def __init__(self, head: nn.Module) -> None:
        self.layers = [
            module for module in head.modules()
            if isinstance(module, nn.GroupNorm)
        ]
        self.recorded: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep the scales and shifts of every call in the context."""
        self.recorded = {layer: [] for layer in self.layers}

        def keep(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            self.recorded[layer].append(scale_and_shift(layer, x.detach()))
            return output

        with self._hooks(keep):
            yield

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Scale and shift as recorded, call by call."""
        calls = {layer: iter(self.recorded[layer]) for layer in self.layers}

        def replace(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            scale, shift = next(calls[layer])
            return torch.addcmul(shift, x, scale)

        with self._hooks(replace):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let gradients take the scales and shifts of each call for
        constants; the outputs keep their bits."""

        def hold(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            if not x.requires_grad:
                return output
            scale, shift = scale_and_shift(layer, x.detach())
            return ValueOf.apply(
                torch.addcmul(shift, x, scale), output.detach())

        with self._hooks(hold):
            yield

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Neither scale nor shift."""
        with self._hooks(lambda layer, x, output: x.clone()):
            yield

    @contextmanager
    def _hooks(self, replace: Replace) -> Iterator[None]:

        def hook(layer: Any, args: tuple[Tensor], output: Tensor) -> Tensor:
            return replace(layer, args[0], output)

        with ExitStack() as stack:
            for layer in self.layers:
                handle = layer.register_forward_hook(hook)
                stack.callback(handle.remove)
            yield


@torch.no_grad()
def scale_and_shift(layer: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift, each (1, C, 1, 1), by which a layer
    normalises a map (1, C, H, W)."""
    groups = x.reshape(layer.num_groups, -1)
    variance, mean = torch.var_mean(groups, dim=1, correction=0)
    each = layer.num_channels // layer.num_groups
    scale = (variance + layer.eps).rsqrt().repeat_interleave(each)
    shift = -mean.repeat_interleave(each) * scale
    if layer.affine:
        scale, shift = scale * layer.weight, shift * layer.weight + layer.bias
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)

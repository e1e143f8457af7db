# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""GroupNorm layers with the statistics of another run."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .value_of import ValueOf

Replace = Callable[[nn.GroupNorm, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Call:
    """One call of a GroupNorm layer with a map (1, C, H, W) of a level.

    Args:
        layer (nn.GroupNorm): The layer.
        mean (Tensor): Of each channel's group, shape (1, C, 1, 1).
        rstd (Tensor): One by the standard deviation of each channel's group,
            of the same shape.
        kept (tuple[Tensor]): The map, with its graph, if it was kept.
    """
    layer: nn.GroupNorm
    mean: Tensor
    rstd: Tensor
    kept: tuple[Tensor, ...] = ()

    @classmethod
    @torch.no_grad()
    def of(cls, layer: nn.GroupNorm, x: Tensor, keep: bool = False) -> Call:
        """Measure a map; with ``keep``, hold on to it."""
        groups = x.reshape(layer.num_groups, -1)
        variance, mean = torch.var_mean(groups, dim=1, correction=0)
        each = layer.num_channels // layer.num_groups
        rstd = (variance + layer.eps).rsqrt()
        mean, rstd = (
            values.repeat_interleave(each, output_size=layer.num_channels
                                     ).view(1, -1, 1, 1)
            for values in (mean, rstd))
        return cls(layer, mean, rstd, (x, ) if keep else ())

    @property
    def map(self) -> Tensor:
        """The map (1, C, H, W), which was kept."""
        return self.kept[0]

    @cached_property
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The scale and the shift, each (1, C, 1, 1), by which the layer
        normalises the map."""
        scale, shift = self.rstd, -self.mean * self.rstd
        if self.layer.affine:
            weight, bias = (values.detach().view(1, -1, 1, 1)
                            for values in (self.layer.weight,
                                           self.layer.bias))
            scale, shift = scale * weight, shift * weight + bias
        return scale, shift


#: Gets a recorded call, what the layer gets now, and what it gives.
Watch = Callable[[Call, Tensor, Tensor], None]


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
        self.recorded: dict[nn.Module, list[Call]] = {}

    @contextmanager
    def record(self, keep: bool = False) -> Iterator[None]:
        """Measure the maps of every call in the context.

        Args:
            keep (bool): Hold on to the maps as well, with their graph.
        """
        self.recorded = {layer: [] for layer in self.layers}

        def measure(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            self.recorded[layer].append(Call.of(layer, x, keep))
            return output

        with self._hooks(measure):
            yield

    @contextmanager
    def replay(
        self,
        watch: Watch | None = None
    ) -> Iterator[None]:
        """Scale and shift as recorded, call by call.

        Args:
            watch (Callable, optional): Is told of each call.
        """
        calls = {layer: iter(self.recorded[layer]) for layer in self.layers}

        def replace(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            call = next(calls[layer])
            scale, shift = call.scale_and_shift
            given = torch.addcmul(shift, x, scale)
            if watch is None:
                return given
            watch(call, x, given)
            return given.clone()  # which may be changed in place

        with self._hooks(replace):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let gradients take the scales and shifts of each call for
        constants; the outputs keep their bits."""

        def hold(layer: nn.GroupNorm, x: Tensor, output: Tensor) -> Tensor:
            if not x.requires_grad:
                return output
            scale, shift = Call.of(layer, x.detach()).scale_and_shift
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

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Stages that pool regions of interest and run a head on them."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..modes import evaluation_mode
from ..nested import flat_tensors
from ..recording import recording
from ..swapping import swapped
from ..target_layer import depend


class RefusedError(Exception):
    """A stage does not run on some of its RoIs as it did on all."""


@dataclass(frozen=True)
class Pool:
    """How a stage pools its RoIs once, each from one level.

    Args:
        extractor (nn.Module): Pools them; has ``map_roi_levels`` and
            ``roi_layers``.
        levels (list[int]): Which of the stage's inputs the levels are that it
            gets.
        scale (float, optional): By which the RoIs are enlarged.
    """
    extractor: Any
    levels: list[int]
    scale: float | None = None

    def levels_of(self, rois: Tensor) -> list[int]:
        """List the input that each RoI is pooled from."""
        count = len(self.levels)
        if count == 1:
            return self.levels * len(rois)
        return [self.levels[level] for level
                in self.extractor.map_roi_levels(rois, count).tolist()]

    def layer(self, level: int) -> Any:
        """Return what pools from an input."""
        return self.extractor.roi_layers[self.levels.index(level)]

    def places(self, rois: Tensor) -> Tensor:
        """Return the regions that are pooled for some RoIs."""
        # as the host, which does not enlarge RoIs of a single level
        if self.scale is None or len(self.levels) == 1:
            return rois
        return self.extractor.roi_rescale(rois, self.scale)

    @property
    def values(self) -> int:
        """How many values an RoI is pooled to."""
        height, width = self.extractor.roi_layers[0].output_size
        return self.extractor.out_channels * height * width


@dataclass
class RoIStage:
    """One stage of a detector's second part, which can run again on some of
    its RoIs.

    Args:
        module (nn.Module): What has to be in evaluation mode when it runs.
        forward (Callable): Runs it: (inputs, RoIs) -> its result.
        extractors (Sequence[nn.Module]): Those that pool each RoI from one
            level, by means.
        heads (Sequence[nn.Module]): Whose outputs are the raw maps; if none
            of them runs, the result is.
        inputs (list[Tensor]): The levels, and all else that it gets.
        rois (Tensor): The RoIs that it got, shape (K, 5), last dim (image,
            x1, y1, x2, y2) in input pixels.
        pools (list[Pool | None]): What each call of an extractor pooled; None
            where it was something else than the stage's RoIs and inputs.
        raw (list[int]): The raw maps that it gave, by their place among
            those of all stages.
    """
    module: nn.Module
    forward: Callable[[Sequence[Tensor], Tensor], Any]
    extractors: Sequence[nn.Module]
    heads: Sequence[nn.Module] = ()
    inputs: list[Tensor] = field(default_factory=list)
    rois: Tensor = field(default_factory=lambda: torch.zeros(0, 5))
    pools: list[Pool | None] = field(default_factory=list)
    raw: list[int] = field(default_factory=list)

    @classmethod
    def of_head(cls, extractor: Any, shared_head: nn.Module,
                head: nn.Module) -> RoIStage:
        """Return a stage that pools RoIs from the first levels, and runs a
        head on them.

        Args:
            extractor (nn.Module): Pools RoIs.
            shared_head (nn.Module): Runs on the pooled features.
            head (nn.Module): Runs on its result.
        """

        def forward(inputs: Sequence[Tensor], rois: Tensor) -> Any:
            pooled = extractor(tuple(inputs[:extractor.num_inputs]), rois)
            return head(shared_head(pooled))

        return cls(nn.ModuleList([extractor, shared_head, head]), forward,
                   [extractor], [head],
                   pools=[Pool(extractor, list(range(extractor.num_inputs)))])

    def on(self, rois: Tensor) -> StageRun:
        """Run on some RoIs, with leaves of the graph in the place of what is
        pooled for them.

        Raises:
            RefusedError: If extractors run in another order.
        """
        calls = iter(self.pools)
        leaves: list[Tensor] = []

        def replace(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            try:
                pool = next(calls)
            except StopIteration:
                raise RefusedError from None
            if pool is None:
                return output
            if pool.extractor is not module or len(output) != len(rois):
                raise RefusedError
            leaves.append(output.detach().requires_grad_())
            return leaves[-1].clone()  # a leaf may not be changed in place

        with ExitStack() as stack:
            stack.enter_context(recording())
            inputs = [each.detach().requires_grad_() for each in self.inputs]
            for extractor in self.extractors:
                stack.callback(
                    extractor.register_forward_hook(replace).remove)
            try:
                raw = self._raw_maps(inputs, rois)
            except (RuntimeError, ValueError, IndexError,
                    AssertionError) as error:
                # it cannot do without the others, or with leaves
                raise RefusedError from error
        if len(leaves) != sum(pool is not None for pool in self.pools):
            raise RefusedError
        return StageRun(leaves, raw, {
            number: leaf for number, leaf in enumerate(inputs)
            if depend(raw, [leaf])
        })

    def on_all(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on all RoIs, recorded from the inputs on; return the raw
        maps."""
        return self._raw_maps(inputs, self.rois)

    def _raw_maps(self, inputs: Sequence[Tensor],
                  rois: Tensor) -> list[Tensor]:
        with recording(), evaluation_mode(self.module), \
                raw_maps(self.heads) as raw:
            result = self.forward(inputs, rois)
        return raw or flat_tensors(result)


@dataclass(frozen=True)
class StageRun:
    """What a run of a stage gave.

    Args:
        leaves (list[Tensor]): What each pool gave, (n, C, bins, bins), leaves
            of the graph.
        raw (list[Tensor]): The raw maps.
        direct (dict[int, Tensor]): The inputs, leaves, on which the raw maps
            depend in another way than by pooling.
    """
    leaves: list[Tensor]
    raw: list[Tensor]
    direct: dict[int, Tensor]


@contextmanager
def raw_maps(heads: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Listen to what heads give in this context, in which the hooks of others
    are not called: they have seen the head run, on all RoIs."""
    heard: list[Tensor] = []

    def hear(module: nn.Module, args: Any, output: Any) -> None:
        heard.extend(flat_tensors(output))

    with ExitStack() as stack:
        for head in heads:
            for hooks in '_forward_hooks', '_forward_pre_hooks':
                stack.enter_context(swapped(head, hooks, OrderedDict()))
            stack.callback(head.register_forward_hook(hear).remove)
        yield heard

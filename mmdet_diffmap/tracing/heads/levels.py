# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from mmdet.models.detectors import BaseDetector
from torch import Tensor, nn

from ..gradients import (
    CoupledGradients,
    DenseGradients,
    FrozenStatistics,
    ReceptiveField,
    Upstream,
    WindowGradients,
    fused_attention,
    receptive_field,
    sparse_deformable_attention,
    sparse_linear,
)
from ..target_layer import CapturedLayer
from ..trace import GradientSource
from .run import HeadRun, RunsTwiceError, box_head, is_cascade


class LevelHeadRun(HeadRun):
    """A head that runs once, most often on feature levels.

    Where each location of its raw maps depends on a small square of a level,
    gradients are found from windows; else the whole head is recorded.

    Args:
        model (nn.Module): The detector.
        head (nn.Module): Its head.
        statistics (str): See :func:`head_runs`.
        target (nn.Module, optional): The target layer. If it lies in the
            head, a run of the head on windows would say nothing about it.
    """

    def __init__(self,
                 model: nn.Module,
                 head: nn.Module,
                 statistics: str,
                 target: nn.Module | None = None) -> None:
        super().__init__(model, [head])
        self.head = head
        self.inside = any(module is target for module in head.modules())
        self.frozen = statistics == 'frozen'
        statistics_of = FrozenStatistics(head)
        self.statistics = statistics_of if statistics_of.layers else None
        self.field: ReceptiveField | None = None
        self.running = ExitStack()

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> LevelHeadRun | None:
        """Take a detector whose boxes come from one ``bbox_head``."""
        head = box_head(model)
        if head is None or is_cascade(model):
            return None
        return cls(model, head, statistics, target)

    def source(self, target: CapturedLayer) -> GradientSource:
        if self.field is None:
            dense = DenseGradients(self.head, target.leaves, self.raw,
                                   self.cut)
            return Upstream(dense, target.leaves, target)
        windows = WindowGradients(self.head, self.inputs, self.cut, self.field,
                                  self.statistics)
        if self.recorded:
            return Upstream(CoupledGradients(windows, self.raw), self.inputs,
                            target)
        return Upstream(windows, self.inputs, target)

    def hook(self, stack: ExitStack) -> None:

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self.cut:
                raise RunsTwiceError
            if len(args) == 1 and isinstance(args[0], (tuple, list)) and \
                    not kwargs:
                self._choose(args[0])

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            self.running.close()
            return self.cut_off(output)

        stack.enter_context(fused_attention(self.model))
        stack.enter_context(sparse_deformable_attention())
        stack.enter_context(sparse_linear())
        stack.callback(self.running.close)
        stack.callback(
            self.head.register_forward_pre_hook(
                before, with_kwargs=True).remove)
        # first of all hooks: what others do to the output comes after the cut
        stack.callback(
            self.head.register_forward_hook(after, prepend=True).remove)

    def _choose(self, levels: Sequence[Tensor]) -> None:
        """Choose the strategy for the levels that the head is about to
        get."""
        self.field = self.field_of(levels, self.frozen)
        coupled = False
        if self.field is None and not self.frozen and \
                self.statistics is not None and \
                all(level.requires_grad for level in levels):
            self.field = self.field_of(levels, frozen=True)
            coupled = self.field is not None
        if self.field is not None:
            self.inputs = list(levels)
        if self.field is not None and not coupled:
            self.run_without_record()
        if self.statistics is not None:
            if self.field is not None:
                self.running.enter_context(
                    self.statistics.record(keep=coupled))
            elif self.frozen:
                self.running.enter_context(self.statistics.held())

    def field_of(self, levels: Sequence[Tensor],
                 frozen: bool) -> ReceptiveField | None:
        """Return what of the levels a location sees, see
        :func:`receptive_field`."""
        return None if self.inside else receptive_field(
            self.head, levels, frozen)

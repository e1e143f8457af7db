# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..gradients import Pool, PooledFeatures, PooledGradients
from ..target_layer import CapturedLayer
from ..trace import GradientSource
from .masks import extractor_arguments, pools_simply
from .rois import coupled
from .whole import WholeRun


class PooledRun(WholeRun):
    """The whole prediction is traced, and cut at the pooled features.

    For RoI heads of which one stage goes on from what another made of all
    RoIs. What is pooled in another way than by means stays in the graph.

    Args:
        model (BaseDetector): The detector.
    """

    def __init__(self, model: BaseDetector) -> None:
        super().__init__(model)
        self.roi_head: Any = model.roi_head
        self.levels: list[Tensor] = []
        self.pooled: list[PooledFeatures] = []

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> PooledRun | None:
        """Take a detector whose RoIs are known to be coupled."""
        return cls(model) if getattr(model, 'roi_head', None) in coupled \
            else None

    @property
    def ends(self) -> list[Tensor]:
        return [each.output for each in self.pooled]

    def source(self, target: CapturedLayer) -> GradientSource:
        return PooledGradients(self.roi_head, self.pooled, self.levels,
                               target.leaves)

    def hook(self, stack: ExitStack) -> None:
        super().hook(stack)
        stack.enter_context(NumberedRows())
        for module in self.roi_head.modules():
            if pools_simply(module):
                stack.callback(module.register_forward_hook(
                    self.extractor_ran, with_kwargs=True).remove)

    def extractor_ran(self, module: nn.Module, args: Any, kwargs: Any,
                      output: Tensor) -> Tensor:
        """Put a leaf in the place of what was pooled."""
        if not output.requires_grad:
            return output
        levels, rois, scale = extractor_arguments(module, args, kwargs)
        with self.detaching():
            leaf = output.detach()[None].requires_grad_()
            rois = rois.detach().type_as(output)
        self.pooled.append(PooledFeatures(
            Pool(module, [self.number_of(level) for level in levels], scale),
            rois, output, leaf))
        return leaf.squeeze(0).clone()  # a leaf may not be changed in place

    def number_of(self, level: Tensor) -> int:
        """Return the place of a level among those of the run."""
        for number, known in enumerate(self.levels):
            if known is level:
                return number
        self.levels.append(level)
        return len(self.levels) - 1


class NumberedRows(TorchFunctionMode):
    """In this context, rows that are chosen by a mask are chosen by their
    numbers, so that no way back has to find them again, for which a processor
    waits."""

    def __torch_function__(self,
                           function: Callable,
                           types: Sequence[type],
                           args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        if function is Tensor.__getitem__ and isinstance(args[1], Tensor) and \
                args[1].dtype == torch.bool and args[1].dim():
            args = args[0], args[1].nonzero(as_tuple=True)
        return function(*args, **(kwargs or {}))

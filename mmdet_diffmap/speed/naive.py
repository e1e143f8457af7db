# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The way of published scripts: one backward pass through the whole head for
each output of each object."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gradients.upstream import level_gradients
from ..heads import HeadRun
from ..target_layer import CapturedLayer
from ..trace import OUTPUTS, GradientSource, OutputGradient, recording


@dataclass(frozen=True)
class NaiveGradients:
    """``∂Y/∂A`` by one call of ``autograd.grad`` for each output.

    Args:
        features (list[Tensor]): ``A``, leaves of the graph.
    """
    features: list[Tensor]

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        for detection in range(len(outputs)):
            for column in columns:
                with recording():
                    gradients = torch.autograd.grad(
                        outputs[detection, column],
                        self.features,
                        retain_graph=True,
                        allow_unused=True)
                yield OutputGradient(
                    detection, OUTPUTS[column],
                    level_gradients(self.features, gradients))


class UncutRun(HeadRun):
    """A head whose graph is not cut."""

    @property
    def reached(self) -> list[Tensor]:
        return []

    def source(self, target: CapturedLayer) -> GradientSource:
        return NaiveGradients(target.leaves)

    def _hook(self, stack: ExitStack) -> None:
        pass

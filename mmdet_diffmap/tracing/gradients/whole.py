# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients through all that follows the target layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..recording import recording
from ..trace import OutputGradients, Tolerance, column_name
from .upstream import level_gradients


@dataclass(frozen=True)
class WholeGradients:
    """One backward pass through all that follows the target layer for each
    output of each object: the way of published scripts.

    Args:
        features (list[Tensor]): ``A``, leaves of the graph.
    """
    features: list[Tensor]

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        if not outputs.requires_grad:
            return
        for detection in range(len(outputs)):
            for column in columns:
                with recording():
                    gradients = torch.autograd.grad(
                        outputs[detection, column],
                        self.features,
                        retain_graph=True,
                        allow_unused=True)
                levels = level_gradients(self.features, gradients,
                                         [detection])
                if levels:
                    yield OutputGradients(column_name(column), levels)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients through all that follows the target layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..recording import recording
from ..trace import OUTPUTS, OutputGradient
from .upstream import level_gradients


@dataclass(frozen=True)
class WholeGradients:
    """One backward pass through all that follows the target layer for each
    output of each object: the way of published scripts.

    Args:
        features (list[Tensor]): ``A``, leaves of the graph.
    """
    features: list[Tensor]

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        for detection in range(len(outputs)):
            for column in columns:
                gradients: Sequence[Tensor | None] = []
                if outputs.requires_grad:
                    with recording():
                        gradients = torch.autograd.grad(
                            outputs[detection, column],
                            self.features,
                            retain_graph=True,
                            allow_unused=True)
                yield OutputGradient(
                    detection, OUTPUTS[column],
                    level_gradients(self.features, gradients))

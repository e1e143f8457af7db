# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients past the maps that a head gets, to the target layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..recording import recording
from ..target_layer import CapturedLayer, depend
from ..trace import OUTPUTS, GradientSource, LevelGradient, OutputGradient


@dataclass(frozen=True)
class Upstream:
    """From the maps ``X`` that a head gets to the target layer's maps ``A``.

    Most often they are the same. Where layers lie between, as the neck does
    for a target in the backbone, each gradient is pushed through them. What
    reaches ``A`` past the head, as in a detector with a second branch, is
    added.

    Args:
        source (GradientSource): Gives ``∂Y/∂X``.
        inputs (list[Tensor]): ``X``, with their graph to ``A``, if any.
        target (CapturedLayer): ``A``.
    """
    source: GradientSource
    inputs: list[Tensor]
    target: CapturedLayer

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        past_head = depend([outputs], self.target.leaves)
        same = [self.target.index_of(level) for level in self.inputs]
        for gradient in self.source(outputs, columns):
            levels = [
                replace(part, level=level) for part in gradient.levels
                if (level := same[part.level]) is not None
            ]
            between = [
                part for part in gradient.levels if same[part.level] is None
            ]
            if between or past_head:
                dense = self._through(between)
                for part in levels:
                    whole = part.whole()[None]
                    dense[part.level] = add(dense[part.level], whole)
                if past_head:
                    column = OUTPUTS.index(gradient.output)
                    with recording():
                        direct = torch.autograd.grad(
                            outputs[gradient.detection, column],
                            self.target.leaves,
                            retain_graph=True,
                            allow_unused=True)
                    dense = list(map(add, dense, direct))
                levels = level_gradients(self.target.leaves, dense)
            yield OutputGradient(gradient.detection, gradient.output, levels)

    def _through(self, parts: list[LevelGradient]) -> list[Tensor | None]:
        """Push gradients of some of ``X`` through the layers before it."""
        starts = [(self.inputs[part.level], part.whole()[None])
                  for part in parts if self.inputs[part.level].requires_grad]
        if not starts:
            return [None] * len(self.target.leaves)
        with recording():
            return list(
                torch.autograd.grad([x for x, _ in starts],
                                    self.target.leaves,
                                    [gradient for _, gradient in starts],
                                    retain_graph=True,
                                    allow_unused=True))


def level_gradients(features: Sequence[Tensor],
                    gradients: Sequence[Tensor | None]) -> list[LevelGradient]:
    """List the gradients (1, C, H, W) of whole levels, without those that are
    None."""
    return [
        LevelGradient(level, feature.detach()[0], gradient[0])
        for level, (feature, gradient) in enumerate(zip(features, gradients))
        if gradient is not None
    ]


def add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Add two gradients; None where there is neither."""
    if first is None or second is None:
        return second if first is None else first
    return first + second

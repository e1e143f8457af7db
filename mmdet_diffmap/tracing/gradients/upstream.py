# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients past the maps that a head gets, to the target layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..level_gradients import LevelGradients, LevelWindows
from ..recording import recording
from ..target_layer import CapturedLayer, depend
from ..trace import (
    GradientSource,
    OutputGradients,
    Tolerance,
    column_name,
)


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

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        past_head = depend([outputs], self.target.leaves)
        same = [self.target.index_of(level) for level in self.inputs]
        through = past_head or any(
            level is None and maps.requires_grad
            for level, maps in zip(same, self.inputs))
        columns_of = {column_name(column): column for column in columns}
        waiting = {(detection, output)
                   for detection in range(len(outputs))
                   for output in columns_of}
        for gradients in self.source(outputs, columns, tolerance):
            if not through:
                levels = [part.as_level(level) for part in gradients.levels
                          if (level := same[part.windows.level]) is not None]
                if levels:
                    yield OutputGradients(gradients.output, levels)
                del gradients, levels  # before the next are made
                continue
            detections = sorted({
                detection for part in gradients.levels
                for detection in part.windows.detections
            })
            for detection in detections:
                waiting.discard((detection, gradients.output))
                parts = [part.take([numbers.index(detection)])
                         for part in gradients.levels
                         if detection in (numbers := part.windows.detections)]
                column = columns_of.get(gradients.output)  # None of masks
                direct = None if column is None or not past_head else \
                    outputs[detection, column]
                yield from self._push(parts, same, gradients.output, detection,
                                      direct)
        for detection, output in sorted(waiting) if past_head else ():
            yield from self._push([], same, output, detection,
                                  outputs[detection, columns_of[output]])

    def _push(self, parts: list[LevelGradients], same: Sequence[int | None],
              output: str, detection: int,
              direct: Tensor | None) -> Iterator[OutputGradients]:
        """Push the gradient of one output through the layers between.

        Args:
            parts (list[LevelGradients]): By ``X``.
            same (Sequence[int | None]): Which of ``A`` each of ``X`` is.
            output (str): The output.
            detection (int): The detection.
            direct (Tensor, optional): The output's value, if what reaches
                ``A`` past the head is to be added.
        """
        dense: list[Tensor | None] = [None] * len(self.target.leaves)
        starts = []
        for part in parts:
            level = same[part.windows.level]
            gradient = part.spread().gradients
            if level is not None:
                dense[level] = add(dense[level], gradient)
            elif self.inputs[part.windows.level].requires_grad:
                starts.append((self.inputs[part.windows.level], gradient))
        with recording():
            if starts:
                between = torch.autograd.grad([maps for maps, _ in starts],
                                              self.target.leaves,
                                              [given for _, given in starts],
                                              retain_graph=True,
                                              allow_unused=True)
                dense = list(map(add, dense, between))
            if direct is not None:
                dense = list(map(add, dense, torch.autograd.grad(
                    direct, self.target.leaves, retain_graph=True,
                    allow_unused=True)))
        levels = level_gradients(self.target.leaves, dense, [detection])
        if levels:
            yield OutputGradients(output, levels)


def level_gradients(features: Sequence[Tensor],
                    gradients: Sequence[Tensor | None],
                    detections: Sequence[int]) -> list[LevelGradients]:
    """List the gradients (n, C, H, W) of n detections on whole levels,
    without those that are None."""
    return [
        LevelGradients(gradient, LevelWindows.whole_level(
            level, feature.detach()[0], detections))
        for level, (feature, gradient) in enumerate(zip(features, gradients))
        if gradient is not None
    ]


def add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Add two gradients; None where there is neither."""
    if first is None or second is None:
        return second if first is None else first
    return first + second

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..trace import OUTPUTS, LevelGradient, OutputGradient, recording


@dataclass(frozen=True)
class DenseGradients:
    """One backward pass through the whole head for each output.

    Works for every detector. The chain is cut at the head's raw maps ``R``:
    ``∂Y/∂R`` is cheap and is zero in all maps but a few, and only those are
    pushed through the head to the features. What reaches the features past
    the head, as in a head with a second branch, is added.

    Args:
        features (list[Tensor]): The target layer's maps ``A``, leaves of the
            graph, each (1, C, H, W).
        raw (list[Tensor]): The head's raw maps, with a graph to ``features``.
        cut (list[Tensor]): Their copies from which the outputs were computed,
            leaves of the graph.
    """
    features: list[Tensor]
    raw: list[Tensor]
    cut: list[Tensor]

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        for i in range(len(outputs)):
            for column in columns:
                with recording():
                    gradients = self._backward(outputs[i, column])
                levels = [
                    LevelGradient(level, feature.detach()[0], gradient[0])
                    for level, (feature, gradient) in enumerate(
                        zip(self.features, gradients)) if gradient is not None
                ]
                yield OutputGradient(i, OUTPUTS[column], levels)

    def _backward(self, output: Tensor) -> list[Tensor | None]:
        """``∂Y/∂A`` of each level; None where there is no path."""
        found = [
            None if gradient is None or not gradient.any() else gradient
            for gradient in torch.autograd.grad(
                output, [*self.cut, *self.features],
                retain_graph=True,
                allow_unused=True)
        ]
        cotangents, direct = found[:len(self.cut)], found[len(self.cut):]
        used = [(raw, cotangent)
                for raw, cotangent in zip(self.raw, cotangents)
                if cotangent is not None]
        if not used:
            return direct
        reached, pushed = zip(*used)
        through_head = torch.autograd.grad(
            reached,
            self.features,
            pushed,
            retain_graph=True,
            allow_unused=True)
        return list(map(add_gradients, through_head, direct))


def add_gradients(first: Tensor | None,
                  second: Tensor | None) -> Tensor | None:
    """The sum of two gradients, None where there is neither."""
    if first is None or second is None:
        return second if first is None else first
    return first + second

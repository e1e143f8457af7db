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
    pushed through the head to the features.

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

    def _backward(self, output: Tensor) -> tuple[Tensor | None, ...]:
        """``∂Y/∂A`` of each level; None where there is no path."""
        cotangents = torch.autograd.grad(
            output, self.cut, retain_graph=True, allow_unused=True)
        used = [(raw, cotangent)
                for raw, cotangent in zip(self.raw, cotangents)
                if cotangent is not None and cotangent.any()]
        if not used:
            return (None, ) * len(self.features)
        raw, cotangents = zip(*used)
        return torch.autograd.grad(
            raw,
            self.features,
            cotangents,
            retain_graph=True,
            allow_unused=True)

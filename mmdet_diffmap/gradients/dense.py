# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..trace import OUTPUTS, OutputGradient
from .jacobian import Row, SparseJacobian
from .products import Products
from .upstream import level_gradients


@dataclass(frozen=True)
class DenseGradients:
    """One backward pass through the whole head for each output.

    Works for every detector. The chain is cut at the head's raw maps ``R``:
    ``∂Y/∂R`` is cheap and is zero in all maps but a few, and only those are
    pushed through the head.

    Args:
        head (nn.Module): The head, by which measurements are remembered.
        features (list[Tensor]): The maps to differentiate by, leaves of the
            graph, each (1, C, H, W).
        raw (list[Tensor]): The head's raw maps, with a graph to ``features``.
        cut (list[Tensor]): Their copies from which the outputs were computed,
            leaves of the graph.
    """
    head: nn.Module
    features: list[Tensor]
    raw: list[Tensor]
    cut: list[Tensor]

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        jacobian = SparseJacobian.of(outputs, self.cut, columns)
        # rows that need the same raw maps go the same way through the head
        kinds: dict[tuple[int, ...], list[Row]] = {}
        for row, parts in jacobian.rows.items():
            kinds.setdefault(tuple(parts), []).append(row)
        for used, rows in kinds.items():
            products = Products(self.head, [self.raw[m] for m in used],
                                self.features)
            cotangents = ([
                jacobian.cotangent(row, m, self.cut[m]) for m in used
            ] for row in rows)
            for (detection, column), gradients in zip(
                    rows, products(cotangents, len(rows))):
                yield OutputGradient(
                    detection, OUTPUTS[column],
                    level_gradients(self.features, gradients))

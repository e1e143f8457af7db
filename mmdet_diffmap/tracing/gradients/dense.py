# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients through whole heads: the way that always works."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..recording import recording
from ..trace import OUTPUTS, OutputGradient
from .agreement import agree
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
        for detection, column in kinds.pop((), []):
            yield OutputGradient(detection, OUTPUTS[column], [])
        for used, rows in kinds.items():
            products = Products(self.head, [self.raw[m] for m in used],
                                self.features)
            cotangents = ([
                jacobian.cotangent(m, self.cut[m], column,
                                   {detection: lambda index: index})
                for m in used
            ] for detection, column in rows)
            for (detection, column), gradients in zip(
                    rows, products(cotangents, len(rows))):
                yield OutputGradient(
                    detection, OUTPUTS[column],
                    level_gradients(self.features, gradients))


def again(source: DenseGradients, outputs: Tensor, columns: Sequence[int],
          detections: list[int]) -> Iterator[OutputGradient]:
    """Compute the gradients of some detections, from a head that ran once
    more.

    Args:
        source (DenseGradients): The head's new raw maps, and those before.
        outputs (Tensor): Of all detections, (N, 5).
        columns (Sequence[int]): The columns wanted.
        detections (list[int]): The detections wanted.

    Raises:
        RuntimeError: If it does not give what it gave before.
    """
    same_shapes = [raw.shape for raw in source.raw] == [
        before.shape for before in source.cut
    ]
    if not same_shapes or not agree(
        [(raw.reshape(1, -1), before.reshape(1, -1))
         for raw, before in zip(source.raw, source.cut) if raw.numel()]):
        raise RuntimeError(
            f'{type(source.head).__name__} does not give what it gave when '
            'the objects were detected: detect them again after a change of '
            'the model')
    with recording():
        some = outputs[detections]
    for gradient in source(some, columns):
        yield OutputGradient(detections[gradient.detection], gradient.output,
                             gradient.levels)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients through whole heads: the way that always works."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..recording import recording
from ..trace import OutputGradients, Tolerance, column_name
from .agreement import agree
from .jacobian import RawPart, Row, SparseJacobian
from .products import Products, batch_size
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

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        jacobian = SparseJacobian.of(outputs, self.cut, columns)
        # rows that need the same raw maps go the same way through the head
        kinds: dict[tuple[int, ...], list[Row]] = {}
        for (detection, column), parts in jacobian.rows.items():
            if parts:
                kinds.setdefault((column, *parts),
                                 []).append((detection, column))
        for (column, *used), rows in kinds.items():
            products = Products(self.head, [self.raw[m] for m in used],
                                self.features)
            cotangents = (self.cotangent(jacobian, row, used) for row in rows)
            done = 0
            for gradients in products(cotangents, len(rows)):
                count = batch_size(gradients)
                detections = [detection for detection, _
                              in rows[done:done + count]]
                done += count
                yield OutputGradients(
                    column_name(column),
                    level_gradients(self.features, gradients, detections))

    def cotangent(self, jacobian: SparseJacobian, row: Row,
                  used: Sequence[int]) -> list[Tensor]:
        """Return ``∂Y/∂R`` of one output and the raw maps that it needs."""
        detection, column = row
        cotangents = jacobian.cotangents([column], {
            number: RawPart(self.cut[number].shape,
                            {detection: lambda index: index})
            for number in used
        })[column]
        return [cotangents[number] for number in used]


def again(source: DenseGradients, outputs: Tensor, columns: Sequence[int],
          detections: list[int]) -> Iterator[OutputGradients]:
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
    for gradients in source(some, columns):
        yield OutputGradients(gradients.output, [
            level.renumbered(detections) for level in gradients.levels
        ])

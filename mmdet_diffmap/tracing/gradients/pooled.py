# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of detectors whose pooled regions of interest are coupled."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ...maps.image_frame import Shape
from ...maps.windows import Windows
from ..trace import OutputGradients, Tolerance, column_name
from .agreement import agree
from .crops import pooling_weights
from .products import Gradients, Products, batch_size, vector_products
from .stages import Pool
from .upstream import add, level_gradients

#: RoIs whose weights are computed at once.
ROIS = 128


@dataclass(frozen=True)
class PooledFeatures:
    """What an extractor pooled in a run.

    Args:
        pool (Pool): How, and from which of the run's levels.
        rois (Tensor): The RoIs, shape (R, 5), last dim (image, x1, y1, x2,
            y2) in input pixels.
        output (Tensor): The pooled features, shape (R, C, h, w), with a graph
            to the target layer.
        leaf (Tensor): Their copy with which the detector went on, a leaf of
            the graph, shape (1, R, C, h, w).
    """
    pool: Pool
    rois: Tensor
    output: Tensor
    leaf: Tensor

    def matrices(self, levels: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return the way back from the pooled features: for each level that
        RoIs are pooled from, a sparse matrix (H * W, R * h * w)."""
        places, of_rois = self.pool.places(self.rois), \
            self.pool.levels_of(self.rois)
        bins = self.output.shape[-2:].numel()
        matrices = {}
        for level in set(of_rois):
            height, width = levels[level].shape[-2:]
            numbers = torch.tensor(
                [number for number, each in enumerate(of_rois)
                 if each == level], device=places.device)
            entries = [
                weights_of_cells(self.pool, level, (height, width),
                                 places[some], some)
                for some in numbers.split(ROIS)
            ]
            indices, values = (torch.cat(each, dim=-1)
                               for each in zip(*entries))
            matrices[level] = torch.sparse_coo_tensor(
                indices,
                values, (height * width, len(self.rois) * bins),
                check_invariants=False).coalesce()
        return matrices


@dataclass(frozen=True)
class PooledGradients:
    """One backward pass to what was pooled for each output of each object,
    and sparse products from there.

    Where RoIs are coupled, by attention or a mean over all of them, each
    output depends on all RoIs of all stages. Pooling is linear, and the way
    back through it a product with a matrix that is the same for all outputs.
    What reaches the target layer in another way than by pooling is added.

    The matrices are checked: they must pool what the extractors gave. If they
    do not, the way back is that of the extractors.

    Args:
        module (nn.Module): By which measurements are remembered.
        pooled (list[PooledFeatures]): What was pooled in the run.
        levels (list[Tensor]): From what, each (1, C, H, W), with a graph to
            ``features``.
        features (list[Tensor]): ``A``, leaves of the graph.
    """
    module: nn.Module
    pooled: list[PooledFeatures]
    levels: list[Tensor]
    features: list[Tensor]

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        if not outputs.requires_grad:
            return
        leaves = [each.leaf for each in self.pooled]
        products = Products(self.module, [outputs], [*leaves, *self.features])
        for column in columns:
            done = 0
            for gradients in products(
                    one_by_one(outputs, column), len(outputs)):
                detections = range(done, done + batch_size(gradients))
                done = detections.stop
                of_features = map(
                    add, self.through_pooling(gradients[:len(leaves)]),
                    gradients[len(leaves):])
                levels = level_gradients(self.features, list(of_features),
                                         detections)
                if levels:
                    yield OutputGradients(column_name(column), levels)

    @cached_property
    def matrices(self) -> list[dict[int, Tensor]] | None:
        """For each of ``pooled`` its way back; None if one of them does not
        pool what its extractor gave."""
        matrices = [each.matrices(self.levels) for each in self.pooled]
        return matrices if agree([], [
            (self.pool_again(each, of_levels), each.output.flatten(1))
            for each, of_levels in zip(self.pooled, matrices)
        ]) else None

    def pool_again(self, pooled: PooledFeatures,
                   matrices: dict[int, Tensor]) -> Tensor:
        """Pool by matrices, shape (R, C * h * w)."""
        count, channels, height, width = pooled.output.shape
        again = pooled.rois.new_zeros(count * height * width, channels)
        for level, matrix in matrices.items():
            again.addmm_(matrix.T, self.levels[level].detach()[0].flatten(1).T)
        return again.view(count, -1, channels).mT.flatten(1)

    def through_pooling(self, gradients: Gradients) -> Gradients:
        """Go back through the pooling.

        Args:
            gradients (list[Tensor | None]): Of each of ``pooled``, those of k
                outputs, shape (k, R, C, h, w); None where there is no path.

        Returns:
            list[Tensor | None]: Of each of ``features``, shape (k, C, H, W).
        """
        if self.matrices is None:
            starts = [(pooled.output, gradient) for pooled, gradient
                      in zip(self.pooled, gradients) if gradient is not None]
        else:
            starts = self.of_levels(gradients)
        if not starts:
            return [None] * len(self.features)
        through = vector_products([maps for maps, _ in starts], self.features,
                                  [gradient for _, gradient in starts])
        return [None if each is None else each.flatten(0, 1)
                for each in through]

    def of_levels(
            self,
            gradients: Gradients) -> list[tuple[Tensor, Tensor]]:
        """Return levels with their gradients, shape (k, 1, C, H, W); see
        :meth:`through_pooling`."""
        sums: dict[int, Tensor] = {}
        for gradient, matrices in zip(gradients, self.matrices or ()):
            if gradient is None:
                continue
            count, _, channels = gradient.shape[:3]
            # most heads give them in this order, so that nothing is copied
            flat = gradient.permute(1, 3, 4, 0, 2).reshape(
                -1, count * channels)
            for level, matrix in matrices.items():
                if self.levels[level].requires_grad:
                    if level not in sums:
                        sums[level] = flat.new_zeros(len(matrix),
                                                     flat.shape[1])
                    sums[level].addmm_(matrix, flat)
        return [(self.levels[level],
                 total.T.view(-1, *self.levels[level].shape))
                for level, total in sums.items()]


def one_by_one(outputs: Tensor, column: int) -> Iterator[list[Tensor]]:
    """Yield the cotangents of a column's outputs (N, columns)."""
    for detection in range(len(outputs)):
        cotangent = torch.zeros_like(outputs)
        cotangent[detection, column] = 1
        yield [cotangent]


def weights_of_cells(pool: Pool, level: int, grid: Shape, places: Tensor,
                     numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return with which weights the cells of a level are pooled.

    Args:
        pool (Pool): The pool.
        level (int): Which of its inputs the level is.
        grid (tuple): Height and width of the level.
        places (Tensor): The regions that are pooled from it, shape (n, 5).
        numbers (Tensor): Their places among the RoIs of the pool, shape
            (n, ).

    Returns:
        tuple: Flat indices of cells and of the bins of all RoIs, shape (2,
        entries), and the weights, shape (entries, ).
    """
    whole = Windows.whole_level(level, grid, [0], places.device)
    (rows, row_weights), (columns, column_weights) = map(
        nonzeros, pooling_weights(pool, places, [(whole, 0)] * len(places)))
    cells = rows[:, :, None, :, None] * grid[1] + columns[:, None, :, None]
    weights = row_weights[:, :, None, :, None] * \
        column_weights[:, None, :, None]  # (n, h, w, rows, columns)
    height, width = cells.shape[1:3]
    bins = numbers[:, None] * height * width + torch.arange(
        height * width, device=numbers.device)
    bins = bins.view(-1, height, width, 1, 1).expand_as(cells)
    counted = weights != 0
    return torch.stack([cells[counted], bins[counted]]), weights[counted]


def nonzeros(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of the entries of each row (..., k) that are not
    zero, and these, both (..., m); rows with fewer get zeros as well.

    >>> nonzeros(torch.tensor([[0., 2., 1.], [0., 0., 3.]]))[0].tolist()
    [[1, 2], [2, 0]]
    """
    most = int(weights.count_nonzero(dim=-1).max())
    values, places = weights.topk(most, dim=-1)
    return places, values

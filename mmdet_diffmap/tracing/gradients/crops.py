# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Where on the levels regions of interest are pooled, and with which
weights."""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...maps.image_frame import Shape
from ...maps.windows import Windows
from ..level_gradients import LevelWindows
from .stages import Pool

MARGIN = 2  # cells around an RoI that bilinear sampling may read
#: Windows with longer sides may be apart from the others of a level. An FPN
#: pools regions of 28 by 28 cells at most, or longer ones of that area.
COMPACT = 40
#: Bytes that the gradients of some detections in compact windows may take.
MEMORY_BUDGET = 2**27


@dataclass(frozen=True)
class Pooling:
    """How RoIs of one pool are pooled from windows.

    Args:
        pool (int): The pool.
        windows (list[int]): The window of each of m RoIs.
        rois (list[int]): Its place among the RoIs of the pool.
        rows (Tensor): Weights of the windows' rows, shape (m, bins, h).
        columns (Tensor): Weights of their columns, shape (m, bins, w).
    """
    pool: int
    windows: list[int]
    rois: list[int]
    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class PooledWindows:
    """Windows of a level, and the RoIs that are pooled from them.

    Args:
        where (LevelWindows): The windows.
        poolings (list[Pooling]): One for each pool that has such RoIs.
    """
    where: LevelWindows
    poolings: list[Pooling]

    def pooled_again(self, pooled: Sequence[Tensor]
                     ) -> list[tuple[Tensor, Tensor]]:
        """Pool the features.

        Args:
            pooled (Sequence[Tensor]): For each pool, what its RoIs were
                pooled to, (n, C, bins, bins).

        Returns:
            list: Pairs (m, C * bins * bins): what the windows are pooled to,
            and what they should be.
        """
        pairs = []
        for pooling in self.poolings:
            # not kept: those of all windows are more than those of some
            features = self.where.windows.cut(self.where.feature)
            if len(features) > 1:
                features = some(features, pooling.windows)
            again = pooling.rows[:, None] @ features @ \
                pooling.columns[:, None].mT
            pairs.append((again.flatten(1),
                          some(pooled[pooling.pool],
                               pooling.rois).flatten(1)))
        return pairs

    def way_back(self) -> WayBack:
        """Return the way back through the pooling, for several outputs."""
        channels = len(self.where.feature)
        return WayBack(self, [
            (weights.rows.mT[:, None].expand(-1, channels, -1, -1
                                             ).flatten(0, 1),
             weights.columns[:, None].expand(-1, channels, -1, -1
                                             ).flatten(0, 1))
            for weights in self.poolings
        ])


@dataclass(frozen=True)
class WayBack:
    """The way back through a pooling.

    Args:
        pooled (PooledWindows): The pooling.
        weights (list[tuple]): For each pooling, the weights of rows and of
            columns, for each RoI and channel.
    """
    pooled: PooledWindows
    weights: list[tuple[Tensor, Tensor]]

    def gradients(self, pooled: Sequence[Tensor | None]) -> Tensor:
        """Return the gradient in the windows, (n, C, h, w).

        Args:
            pooled (Sequence[Tensor | None]): For each pool, the gradient of
                its pooled features; None where there is no path.
        """
        where = self.pooled.where
        shape = len(where.feature), *where.windows.shape
        total = None
        for pooling, (rows, columns) in zip(self.pooled.poolings,
                                            self.weights):
            gradient = pooled[pooling.pool]
            if gradient is None:
                continue
            of_rois = some(gradient, pooling.rois).flatten(0, 1)
            part = (rows @ of_rois @ columns).view(-1, *shape)
            if pooling.windows != list(range(len(where.windows))):
                whole = part.new_zeros(len(where.windows), *shape)
                whole[pooling.windows] = part
                part = whole
            total = part if total is None else total + part
        if total is None:
            return where.feature.new_zeros(len(where.windows), *shape)
        return total


def some(values: Tensor, rows: list[int]) -> Tensor:
    """Return some rows, as a view if they follow each other."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return values[rows[0]:rows[0] + len(rows)]
    return values[rows]


@dataclass(frozen=True)
class PooledRoIs:
    """The RoIs of one pool.

    Args:
        pool (Pool): How they are pooled.
        detections (list[int]): The detection of each of n RoIs.
        rois (Tensor): The RoIs, shape (n, 5).
    """
    pool: Pool
    detections: list[int]
    rois: Tensor

    @cached_property
    def levels(self) -> list[int]:
        """The input that each is pooled from."""
        return self.pool.levels_of(self.rois)

    @cached_property
    def places(self) -> Tensor:
        """The regions that are pooled, shape (n, 5)."""
        return self.pool.places(self.rois)


def windows_of_rois(inputs: Sequence[Tensor],
                    pools: Sequence[PooledRoIs]) -> list[list[LevelWindows]]:
    """Make the windows from which the RoIs of all pools are pooled.

    Args:
        inputs (Sequence[Tensor]): What they are pooled from, each (1, C, H,
            W).
        pools (Sequence[PooledRoIs]): The pools.

    Returns:
        list[list[LevelWindows]]: All windows of some detections each, whose
        gradients keep to ``MEMORY_BUDGET``.
    """
    cells: dict[int, dict[int, Rectangle]] = {}  # by detection and level
    for each in pools:
        for detection, level, box in zip(each.detections, each.levels,
                                         each.places[:, 1:].tolist()):
            read = cells_read(each.pool.layer(level), box,
                              inputs[level].shape[-2:])
            of_detection = cells.setdefault(detection, {})
            of_detection[level] = bounds(of_detection.get(level, read), read)
    bytes_each = 4 * inputs[0].shape[1] * min(
        COMPACT**2, inputs[0].shape[-2:].numel())
    size = max(1, MEMORY_BUDGET // bytes_each)
    with_rois = list(cells)
    groups = []
    for start in range(0, len(with_rois), size):
        few = {detection: cells[detection]
               for detection in with_rois[start:start + size]}
        windows = list(windows_of(few, inputs))
        apart = all(len(levels) == 1 for levels in few.values())
        groups += [[where] for where in windows] if apart else [windows]
    return groups


def pooled_windows(pools: Sequence[PooledRoIs],
                   windows: Sequence[LevelWindows]) -> list[PooledWindows]:
    """Find how the RoIs of all pools are pooled from windows.

    Args:
        pools (Sequence[PooledRoIs]): The pools.
        windows (Sequence[LevelWindows]): All windows of some detections.
    """
    pooled = [PooledWindows(where, []) for where in windows]
    for number, each in enumerate(pools):
        place = {detection: index
                 for index, detection in enumerate(each.detections)}
        own = [[window for window, detection
                in enumerate(where.windows.detections)
                if detection in place and
                each.levels[place[detection]] == where.windows.level]
               for where in windows]
        found = [(where.windows, window) for where, numbers
                 in zip(windows, own) for window in numbers]
        if not found:
            continue
        all_rois = [place[some_windows.detections[window]]
                    for some_windows, window in found]
        rows_weights, columns_weights = pooling_weights(
            each.pool, some(each.places, all_rois), found)
        start = 0
        for target, numbers in zip(pooled, own):
            stop = start + len(numbers)
            if numbers:
                height, width = target.where.windows.shape
                target.poolings.append(Pooling(
                    number, numbers, all_rois[start:stop],
                    rows_weights[start:stop, :, :height],
                    columns_weights[start:stop, :, :width]))
            start = stop
    return pooled


#: Cells of a level: top, left, bottom, right; the last ones are outside.
Rectangle = tuple[int, int, int, int]


def cells_read(layer: Any, box: Sequence[float],
               grid: Sequence[int]) -> Rectangle:
    """Return the cells of a level that pooling a box (x1, y1, x2, y2), in
    input pixels, may read."""
    left, top, right, bottom = (
        math.floor(side * layer.spatial_scale) for side in box)
    height, width = grid
    first_row, first_column = (
        min(max(first - MARGIN, 0), length - 1)
        for first, length in ((top, height), (left, width)))
    last_row, last_column = (
        max(min(last + MARGIN + 1, length), first + 1) for last, length, first
        in ((bottom, height, first_row), (right, width, first_column)))
    return first_row, first_column, last_row, last_column


def bounds(first: Rectangle, second: Rectangle) -> Rectangle:
    """Return the smallest rectangle that holds two.

    >>> bounds((0, 1, 2, 3), (1, 0, 2, 4))
    (0, 0, 2, 4)
    """
    return (min(first[0], second[0]), min(first[1], second[1]),
            max(first[2], second[2]), max(first[3], second[3]))


def windows_of(cells: Mapping[int, Mapping[int, Rectangle]],
               inputs: Sequence[Tensor]) -> Iterator[LevelWindows]:
    """Make windows that hold given cells.

    All windows of a batch have the size of its largest. A level has one batch,
    or two, of compact windows and of long ones, if that saves half of the
    cells.

    Args:
        cells (Mapping): By detection and level, the cells.
        inputs (Sequence[Tensor]): The levels, each (1, C, H, W).
    """
    of_levels: dict[int, dict[int, Rectangle]] = {}
    for detection, levels in cells.items():
        for level, rectangle in levels.items():
            of_levels.setdefault(level, {})[detection] = rectangle
    for level, rectangles in sorted(of_levels.items()):
        feature = inputs[level].detach()[0]
        batches = [
            {detection: rectangle
             for detection, rectangle in rectangles.items()
             if (max(sides(rectangle)) > COMPACT) == is_long}
            for is_long in (False, True)
        ]
        if sum(map(batch_cells, batches)) > batch_cells(rectangles) / 2:
            batches = [rectangles]
        for batch in filter(None, batches):
            yield windows_holding(feature, level, batch)


def batch_cells(rectangles: Mapping[int, Rectangle]) -> int:
    """Count the cells of windows that hold some rectangles each."""
    height, width = window_shape(rectangles)
    return len(rectangles) * height * width


def window_shape(rectangles: Mapping[int, Rectangle]) -> Shape:
    """Return height and width of windows that hold each of some
    rectangles."""
    sizes = [sides(rectangle) for rectangle in rectangles.values()]
    return (max((height for height, _ in sizes), default=0),
            max((width for _, width in sizes), default=0))


def windows_holding(feature: Tensor, level: int,
                    rectangles: Mapping[int, Rectangle]) -> LevelWindows:
    """Return windows of a level (C, H, W) that hold a rectangle each."""
    grid = feature.shape[1], feature.shape[2]
    height, width = window_shape(rectangles)
    corners = tuple(
        (min(top, grid[0] - height), min(left, grid[1] - width))
        for top, left, _, _ in rectangles.values())
    return LevelWindows(feature, Windows(
        level, grid, tuple(rectangles), corners, (height, width),
        feature.device))


def sides(rectangle: Rectangle) -> Shape:
    """Return height and width.

    >>> sides((1, 2, 4, 3))
    (3, 1)
    """
    top, left, bottom, right = rectangle
    return bottom - top, right - left


def pooling_weights(pool: Pool, rois: Tensor,
                    windows: Sequence[tuple[Windows, int]]
                    ) -> tuple[Tensor, Tensor]:
    """Return how RoIAlign weights the cells of windows, along both axes.

    Each bin of an RoI is the mean of samples on a regular grid, and a sample
    the bilinear mean of four cells. Both are separable, so that a pooled
    feature is ``rows @ A @ columns.T``, and its gradient in the level the
    transposed (He et al., Mask R-CNN, ICCV 2017).

    Args:
        pool (Pool): The pool; its layers take means.
        rois (Tensor): Shape (n, 5), last dim (image, x1, y1, x2, y2) in input
            pixels.
        windows (Sequence[tuple]): For each RoI the windows, and which of them
            is its own.

    Returns:
        tuple: Weights of rows and of columns, each (n, bins, k), for as many
        cells k as the largest window has.
    """
    layers = [pool.layer(own.level) for own, _ in windows]
    layer = layers[0]
    # one copy to the device for all that is known of windows
    known = torch.tensor(
        [(roi_layer.spatial_scale, *own.corners[number], *own.grid)
         for roi_layer, (own, number) in zip(layers, windows)],
        device=rois.device, dtype=rois.dtype)[..., None, None]
    scale, lengths = known[:, 0], (known[:, 3], known[:, 4])
    offset = 0.5 if layer.aligned else 0.
    samples_at_most = most_samples(layers, rois)
    weights = []
    for axis in (0, 1):
        bins = layer.output_size[axis]
        size = max(own.shape[axis] for own, _ in windows)
        cells = known[:, 1 + axis] + torch.arange(size, device=rois.device)
        start, stop = (rois[:, side - axis, None, None] * scale - offset
                       for side in (2, 4))
        length = stop - start
        if not layer.aligned:
            length = length.clamp(min=1)
        bin_size = length / bins
        samples = (bin_size.ceil() if layer.sampling_ratio <= 0 else
                   torch.full_like(bin_size, layer.sampling_ratio))
        number = torch.arange(samples_at_most, device=rois.device)
        bin_number = torch.arange(bins, device=rois.device)[:, None]
        places = start + bin_number * bin_size + \
            (number + .5) * bin_size / samples.clamp(min=1)
        counted = (number < samples) & (places >= -1) & (
            places <= lengths[axis])  # (n, bins, samples)
        inner = places.clamp(min=0).minimum(lengths[axis] - 1)
        distances = inner[..., None] - cells[:, None]
        shares = (1 - distances.abs()).clamp(min=0) * counted[..., None]
        weights.append(shares.sum(dim=2) / samples.clamp(min=1))
    rows, columns = weights
    return rows, columns


def most_samples(layers: Sequence[Any], rois: Tensor) -> int:
    """Return how many samples a bin of some RoIs has along an axis, at most;
    one more where rounding may make it so.

    Args:
        layers (Sequence[nn.Module]): The RoIAlign layer of each.
        rois (Tensor): The RoIs, (n, 5), in input pixels.
    """
    if layers[0].sampling_ratio > 0:
        return int(layers[0].sampling_ratio)
    longest = max(max(x2 - x1, y2 - y1) * layer.spatial_scale for layer, (
        _, x1, y1, x2, y2) in zip(layers, rois.tolist()))
    return max(1, math.ceil(longest / min(layers[0].output_size)) + 1)

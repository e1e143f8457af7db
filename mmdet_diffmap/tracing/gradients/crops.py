# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Where on the levels regions of interest are pooled, and with which
weights."""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...maps.windows import Windows
from ..nested import flat_tensors
from ..trace import LevelWindows

MARGIN = 2  # cells around an RoI that bilinear sampling may read
#: Windows with longer sides are apart from the others of a level. An FPN pools
#: regions of 28 by 28 cells at most, or longer ones of that area.
COMPACT = 40
#: Bytes that the gradients of some detections in compact windows may take.
MEMORY_BUDGET = 2**27


@dataclass
class RoIStage:
    """One stage of a two-stage detector's second part.

    Args:
        extractor (nn.Module): Pools RoIs from the levels, each from one; has
            ``map_roi_levels`` and ``roi_layers``.
        shared_head (nn.Module): Runs on the pooled features.
        head (nn.Module): Runs on its result.
        inputs (list[Tensor]): The levels that the extractor got, each (1, C,
            H, W).
        rois (Tensor): The RoIs that it got, shape (K, 5), last dim (image,
            x1, y1, x2, y2) in input pixels.
        raw (list[int]): The raw maps that the head gave, by their place among
            those of all stages.
    """
    extractor: Any
    shared_head: nn.Module
    head: Any
    inputs: list[Tensor] = field(default_factory=list)
    rois: Tensor = field(default_factory=lambda: torch.zeros(0, 5))
    raw: list[int] = field(default_factory=list)

    def classify(self, pooled: Tensor) -> list[Tensor]:
        """Compute the raw maps of pooled features."""
        return flat_tensors(self.head.forward(self.shared_head(pooled)))

    def levels_of(self, rois: Tensor) -> list[int]:
        """List the level that each RoI is pooled from."""
        count = len(self.inputs)
        if count == 1:
            return [0] * len(rois)
        return self.extractor.map_roi_levels(rois, count).tolist()


@dataclass(frozen=True)
class Pooling:
    """How RoIs of one stage are pooled from windows.

    Args:
        stage (int): The stage.
        windows (list[int]): The window of each of m RoIs.
        rois (list[int]): Its place among the RoIs of the stage.
        rows (Tensor): Weights of the windows' rows, shape (m, bins, h).
        columns (Tensor): Weights of their columns, shape (m, bins, w).
    """
    stage: int
    windows: list[int]
    rois: list[int]
    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class PooledWindows:
    """Windows of a level, and the RoIs that are pooled from them.

    Args:
        where (LevelWindows): The windows.
        poolings (list[Pooling]): One for each stage that has such RoIs.
    """
    where: LevelWindows
    poolings: list[Pooling]

    def pooled_again(self, pooled: Sequence[Tensor]
                     ) -> list[tuple[Tensor, Tensor]]:
        """Pool the features.

        Args:
            pooled (Sequence[Tensor]): For each stage, what its RoIs were
                pooled to, (n, C, bins, bins).

        Returns:
            list: Pairs (m, C * bins * bins): what the windows are pooled to,
            and what they should be.
        """
        pairs = []
        for pooling in self.poolings:
            features = self.where.activations
            if len(features) > 1:
                features = some(features, pooling.windows)
            again = pooling.rows[:, None] @ features @ \
                pooling.columns[:, None].mT
            pairs.append((again.flatten(1),
                          some(pooled[pooling.stage],
                               pooling.rois).flatten(1)))
        return pairs

    def gradients(self, pooled: Sequence[Tensor | None]) -> Tensor:
        """Go back through the pooling.

        Args:
            pooled (Sequence[Tensor | None]): For each stage, the gradient of
                its pooled features; None where there is no path.

        Returns:
            Tensor: The gradient in the windows, (n, C, h, w).
        """
        windows = self.where.windows
        total = None
        for pooling in self.poolings:
            gradient = pooled[pooling.stage]
            if gradient is None:
                continue
            part = pooling.rows[:, None].mT @ some(gradient, pooling.rois) @ \
                pooling.columns[:, None]
            if pooling.windows != list(range(len(windows))):
                whole = part.new_zeros(len(windows), *part.shape[1:])
                whole[pooling.windows] = part
                part = whole
            total = part if total is None else total + part
        if total is None:
            return self.where.feature.new_zeros(
                len(windows), len(self.where.feature), *windows.shape)
        return total


def some(values: Tensor, rows: list[int]) -> Tensor:
    """Return some rows, the tensor itself if they are all."""
    return values if rows == list(range(len(values))) else values[rows]


def pooled_windows(stages: Sequence[RoIStage],
                   rows: Sequence[Mapping[int, int]],
                   rois: Sequence[Tensor]) -> list[list[PooledWindows]]:
    """Make the windows from which the RoIs of all stages are pooled.

    Args:
        stages (Sequence[RoIStage]): The stages.
        rows (Sequence[Mapping]): For each stage, the detections that have an
            RoI, in order.
        rois (Sequence[Tensor]): For each stage, these RoIs, each (n, 5).

    Returns:
        list[list[PooledWindows]]: Those of some detections each, whose
        gradients keep to ``MEMORY_BUDGET``.
    """
    inputs = stages[-1].inputs
    cells: dict[int, dict[int, Rectangle]] = {}  # by detection and level
    places: list[dict[tuple[int, int], int]] = []  # detection, level -> RoI
    counts = []
    for stage, detections, stage_rois in zip(stages, rows, rois):
        levels = stage.levels_of(stage_rois)
        boxes = stage_rois[:, 1:].tolist()
        places.append({})
        for roi, (detection, level, box) in enumerate(
                zip(detections, levels, boxes)):
            layer = stage.extractor.roi_layers[level]
            read = cells_read(layer, box, inputs[level].shape[-2:])
            of_detection = cells.setdefault(detection, {})
            of_detection[level] = bounds(of_detection.get(level, read), read)
            places[-1][detection, level] = roi
        counts.append({
            level: most_samples(stage.extractor.roi_layers[level], [
                box for box, other in zip(boxes, levels) if other == level
            ]) for level in set(levels)
        })
    bytes_each = 4 * inputs[0].shape[1] * min(
        COMPACT**2, inputs[0].shape[-2:].numel())
    size = max(1, MEMORY_BUDGET // bytes_each)
    with_rois = list(cells)
    groups = []
    for start in range(0, len(with_rois), size):
        group = []
        for where in windows_of({detection: cells[detection] for detection
                                 in with_rois[start:start + size]}, inputs):
            windows = where.windows
            poolings = []
            for number, (stage, stage_rois) in enumerate(zip(stages, rois)):
                own = [(window, places[number][detection, windows.level])
                       for window, detection in enumerate(windows.detections)
                       if (detection, windows.level) in places[number]]
                if own:
                    poolings.append(pooling_of(
                        number, stage, own, stage_rois, windows,
                        counts[number][windows.level]))
            group.append(PooledWindows(where, poolings))
        groups.append(group)
    return groups


def pooling_of(number: int, stage: RoIStage, own: list[tuple[int, int]],
               rois: Tensor, windows: Windows, samples: int) -> Pooling:
    """Return how RoIs of a stage are pooled from windows.

    Args:
        number (int): The number of the stage.
        stage (RoIStage): The stage.
        own (list): Window and RoI of each.
        rois (Tensor): The RoIs of the stage.
        windows (Windows): The windows.
        samples (int): See :func:`most_samples`.
    """
    numbers = [window for window, _ in own]
    own_rois = [roi for _, roi in own]
    layer = stage.extractor.roi_layers[windows.level]
    rows, columns = (
        pooling_weights(layer, some(rois, own_rois),
                        some(windows.cells[axis], numbers), axis,
                        windows.grid[axis], samples) for axis in (0, 1))
    return Pooling(number, numbers, own_rois, rows, columns)


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

    All windows of a batch have the size of its largest, so there are two for
    each level: of compact windows and of long ones.

    Args:
        cells (Mapping): By detection and level, the cells.
        inputs (Sequence[Tensor]): The levels, each (1, C, H, W).
    """
    batches: dict[tuple[int, bool], dict[int, Rectangle]] = {}
    for detection, levels in cells.items():
        for level, rectangle in levels.items():
            is_long = max(sides(rectangle)) > COMPACT
            batches.setdefault((level, is_long), {})[detection] = rectangle
    for (level, _), rectangles in sorted(batches.items()):
        feature = inputs[level].detach()[0]
        grid = feature.shape[1], feature.shape[2]
        height, width = (max(side) for side in zip(
            *map(sides, rectangles.values())))
        corners = tuple(
            (min(top, grid[0] - height), min(left, grid[1] - width))
            for top, left, _, _ in rectangles.values())
        yield LevelWindows(feature, Windows(
            level, grid, tuple(rectangles), corners, (height, width),
            feature.device))


def sides(rectangle: Rectangle) -> tuple[int, int]:
    """Return height and width.

    >>> sides((1, 2, 4, 3))
    (3, 1)
    """
    top, left, bottom, right = rectangle
    return bottom - top, right - left


def pooling_weights(layer: Any, rois: Tensor, cells: Tensor, axis: int,
                    length: int, most_samples: int) -> Tensor:
    """Return how RoIAlign weights the cells of a level, along one axis.

    Each bin of an RoI is the mean of samples on a regular grid, and a sample
    the bilinear mean of four cells. Both are separable, so that a pooled
    feature is ``rows @ A @ columns.T``, and its gradient in the level the
    transposed (He et al., Mask R-CNN, ICCV 2017).

    Args:
        layer (nn.Module): An RoIAlign layer that takes means.
        rois (Tensor): Shape (n, 5), last dim (image, x1, y1, x2, y2) in input
            pixels.
        cells (Tensor): The cells that are wanted for each, shape (n, k).
        axis (int): 0 for rows, 1 for columns.
        length (int): Cells of the level along the axis.
        most_samples (int): See :func:`most_samples`.

    Returns:
        Tensor: Shape (n, bins, k).
    """
    bins = layer.output_size[axis]
    offset = 0.5 if layer.aligned else 0.
    start, stop = (rois[:, side - axis, None, None] * layer.spatial_scale -
                   offset for side in (2, 4))
    size = stop - start
    if not layer.aligned:
        size = size.clamp(min=1)
    bin_size = size / bins
    samples = (bin_size.ceil() if layer.sampling_ratio <= 0 else
               torch.full_like(bin_size, layer.sampling_ratio))
    number = torch.arange(most_samples, device=rois.device)
    bin_number = torch.arange(bins, device=rois.device)[:, None]
    places = start + bin_number * bin_size + \
        (number + .5) * bin_size / samples.clamp(min=1)  # (n, bins, samples)
    counted = (number < samples) & (places >= -1) & (places <= length)
    distances = places.clamp(0, length - 1)[..., None] - \
        cells[:, None, None, :]
    weights = (1 - distances.abs()).clamp(min=0) * counted[..., None]
    return weights.sum(dim=2) / samples.clamp(min=1)


def most_samples(layer: Any, boxes: Sequence[Sequence[float]]) -> int:
    """Return how many samples a bin of some RoIs has along an axis, at most;
    one more where rounding may make it so.

    Args:
        layer (nn.Module): An RoIAlign layer.
        boxes (Sequence): The RoIs, each (x1, y1, x2, y2) in input pixels.
    """
    if layer.sampling_ratio > 0:
        return int(layer.sampling_ratio)
    longest = max((max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes),
                  default=0)
    bins = min(layer.output_size)
    return max(1, math.ceil(longest * layer.spatial_scale / bins) + 1)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What heat maps of every method have in common."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .image_frame import ImageFrame, Shape


@dataclass(frozen=True)
class GridMap:
    """A map on a level's grid, given where it may differ from zero.

    Args:
        values (Tensor): The map in a window of the grid, shape (h, w).
        grid (tuple): Height and width of the grid.
        corner (tuple): Row and column of the window's first cell.
    """
    values: Tensor
    grid: Shape
    corner: Shape = (0, 0)

    def whole(self) -> Tensor:
        """Return the map on the whole grid."""
        if tuple(self.values.shape) == self.grid:
            return self.values
        whole = self.values.new_zeros(self.grid)
        (top, left), (height, width) = self.corner, self.values.shape
        whole[top:top + height, left:left + width] = self.values
        return whole

    def maximum(self, other: GridMap) -> GridMap:
        """Return the elementwise maximum of two maps, not negative, on one
        grid."""
        if (self.corner, self.values.shape) == (other.corner,
                                                other.values.shape):
            return GridMap(
                torch.maximum(self.values, other.values), self.grid,
                self.corner)
        return GridMap(torch.maximum(self.whole(), other.whole()), self.grid)


LevelMaps = Mapping[int, GridMap]  # by feature level
GridMaps = Sequence[LevelMaps]  # of each detection


def min_max_normalize(maps: Tensor) -> Tensor:
    """Scale each map to [0, 1]; a flat map becomes zeros.

    Args:
        maps (Tensor): Shape (..., H, W).

    Returns:
        Tensor: The same shape.
    """
    if maps.numel() == 0:
        return maps.clone()
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    return (maps - low) / span.where(span > 0, torch.ones_like(span))


def normalize_levels(levels: LevelMaps) -> dict[int, GridMap]:
    """Scale the maps of one output to [0, 1] by their joint smallest and
    largest value; flat ones become zeros."""
    if not levels:
        return {}
    wholes = [level_map.whole() for level_map in levels.values()]
    flat = torch.cat([whole.flatten() for whole in wholes])
    normalized = min_max_normalize(flat[None]).flatten()
    parts = normalized.split([whole.numel() for whole in wholes])
    return {
        level: GridMap(part.view_as(whole), level_map.grid)
        for (level, level_map), whole, part in zip(levels.items(), wholes,
                                                   parts)
    }


def image_heatmaps(detections: GridMaps, frame: ImageFrame,
                   device: torch.device,
                   dtype: torch.dtype = torch.float32) -> Tensor:
    """Heat maps at the original image's size.

    A detection's levels are joined by the elementwise maximum, as the paper
    joins outputs (Eq. 3); the joint map is min-max normalised. Only the
    pixels that a map reaches are computed.

    Args:
        detections (Sequence): For each of N detections, its map, not
            negative, on every feature level that it depends on.
        frame (ImageFrame): The frame of the image.
        device (torch.device): Of the result.
        dtype (torch.dtype): Of the result. With ``float16`` the maps take
            half the memory and are off by at most 2^-12.

    Returns:
        Tensor: Shape (N, H, W), in [0, 1].

    Raises:
        FloatingPointError: If a map is not finite.
    """
    heatmaps = torch.zeros(
        (len(detections), *frame.image_shape), dtype=dtype, device=device)
    spans = [torch.zeros((), device=device)]
    for heatmap, levels in zip(heatmaps, detections):
        joined, rows, columns = join_levels(levels, frame)
        if joined is None:
            spans.append(spans[0])
            continue
        # what is not reached is zero, and nothing is less
        whole = joined.shape == heatmap.shape
        low = joined.amin() if whole else joined.new_zeros(())
        high = joined.amax()
        span = high - low
        spans.append(span)
        # what is left of equal values when they are enlarged is rounding
        shown = span > 16 * torch.finfo(joined.dtype).eps * high
        heatmap[rows, columns] = \
            (joined - low) / span.where(shown, span.new_full((), torch.inf))
    finite = torch.stack([span.isfinite() for span in spans[1:] or spans])
    if not finite.all():
        raise FloatingPointError(
            f'the heat map of detection {finite.tolist().index(False)} is '
            'not finite: the detector\'s features or gradients overflow')
    return heatmaps


def join_levels(levels: LevelMaps,
                frame: ImageFrame) -> tuple[Tensor | None, slice, slice]:
    """Return the elementwise maximum of the levels' maps in the image.

    Returns:
        tuple: The maximum where some level reaches, None if nowhere; its rows
        and its columns in the image.
    """
    parts: list[tuple[Tensor, slice, slice]] = []
    for level_map in levels.values():
        part, place = frame.part_to_image(level_map.values, level_map.corner,
                                          level_map.grid)
        if part.numel():
            parts.append((part, *place))
    if not parts:
        return None, slice(0), slice(0)
    if len(parts) == 1:
        return parts[0]
    rows = bounds([part_rows for _, part_rows, _ in parts])
    columns = bounds([part_columns for *_, part_columns in parts])
    joined = parts[0][0].new_zeros(rows.stop - rows.start,
                                   columns.stop - columns.start)
    for part, part_rows, part_columns in parts:
        view = joined[part_rows.start - rows.start:part_rows.stop - rows.start,
                      part_columns.start - columns.start:part_columns.stop -
                      columns.start]
        torch.maximum(view, part, out=view)
    return joined, rows, columns


def bounds(slices: Sequence[slice]) -> slice:
    """Return the smallest slice that holds all of several."""
    return slice(
        min(part.start for part in slices),
        max(part.stop for part in slices))

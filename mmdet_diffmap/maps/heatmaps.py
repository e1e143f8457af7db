# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What heat maps of every method have in common."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .image_frame import ImageFrame, Shape
from .windows import Windows

#: Bytes that maps of the image's size may take while they are made.
BUDGET = 2**28


@dataclass(frozen=True)
class GridMap:
    """The map of one detection on a level's grid, given where it may differ
    from zero.

    Args:
        values (Tensor): The map in a window of the grid, shape (h, w).
        grid (tuple): Height and width of the grid.
        corner (tuple): Row and column of the window's first cell.
    """
    values: Tensor
    grid: Shape
    corner: Shape = (0, 0)


@dataclass(frozen=True)
class GridMaps:
    """Maps of several detections on the grid of one level.

    Args:
        values (Tensor): The maps in their windows, outside of which they are
            zero, as they are outside of the level; shape (n, h, w), not
            negative.
        windows (Windows): Where they lie, and whose they are.
    """
    values: Tensor
    windows: Windows

    @classmethod
    def of_whole_level(cls, values: Tensor, level: int = 0,
                       detections: Sequence[int] | None = None) -> GridMaps:
        """Return maps (n, H, W) on a whole level, by default of the first n
        detections."""
        height, width = values.shape[-2:]
        if detections is None:
            detections = range(len(values))
        return cls(values, Windows.whole_level(
            level, (height, width), detections, values.device))

    def take(self, numbers: Sequence[int]) -> GridMaps:
        """Return some of the maps."""
        if len(numbers) == len(self.windows):
            return self
        return GridMaps(self.values[list(numbers)], self.windows.take(numbers))

    def spread(self) -> GridMaps:
        """Return the maps on the whole level."""
        return GridMaps.of_whole_level(
            self.windows.spread(self.values), self.windows.level,
            self.windows.detections)

    def each(self) -> Iterator[tuple[int, GridMap]]:
        """List each detection with its map, cut to the level."""
        (height, width), grid = self.windows.shape, self.windows.grid
        for detection, values, (top, left) in zip(
                self.windows.detections, self.values, self.windows.corners):
            rows = slice(max(-top, 0), min(grid[0] - top, height))
            columns = slice(max(-left, 0), min(grid[1] - left, width))
            yield detection, GridMap(values[rows, columns], grid,
                                     (max(top, 0), max(left, 0)))


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


def normalize_levels(levels: Sequence[GridMaps]) -> list[GridMaps]:
    """Scale the maps of one output to [0, 1], those of each detection by the
    smallest and largest value that they have on any level; flat ones become
    zeros."""
    if not levels:
        return []
    count = 1 + max(max(maps.windows.detections, default=0)
                    for maps in levels)
    low = levels[0].values.new_full((count, ), torch.inf)
    high = torch.zeros_like(low)
    places = []
    for maps in levels:
        place = torch.tensor(maps.windows.detections, device=low.device)
        smallest = maps.values.amin(dim=(1, 2))
        if not maps.windows.are_whole:  # it is zero outside of the window
            smallest = torch.zeros_like(smallest)
        low.scatter_reduce_(0, place, smallest, 'amin')
        high.scatter_reduce_(0, place, maps.values.amax(dim=(1, 2)), 'amax')
        places.append(place)
    span = high - low
    span = span.where(span > 0, torch.ones_like(span))
    return [
        GridMaps((maps.values - low[place, None, None]) /
                 span[place, None, None], maps.windows)
        for maps, place in zip(levels, places)
    ]


class JointMaps:
    """The elementwise maximum of maps that are added one after the other, on
    their grids: the paper's way to join outputs (Eq. 3)."""

    def __init__(self) -> None:
        self.values: dict[Windows, Tensor] = {}

    def add(self, maps: GridMaps) -> None:
        """Take the maximum with some more maps."""
        values = self.values.get(maps.windows)
        self.values[maps.windows] = maps.values if values is None else \
            torch.maximum(values, maps.values)

    def maps(self) -> list[GridMaps]:
        """Return the joint maps; a detection has at most one on a level."""
        levels: dict[int, list[GridMaps]] = {}
        for windows, values in self.values.items():
            levels.setdefault(windows.level,
                              []).append(GridMaps(values, windows))
        return [maps for of_level in levels.values()
                for maps in join_windows(of_level)]


def join_windows(of_level: list[GridMaps]) -> list[GridMaps]:
    """Join the maps of one level: those that lie in several windows of a
    detection, and whole ones into one batch."""
    detections = [detection for maps in of_level
                  for detection in maps.windows.detections]
    distinct = sorted(set(detections))
    if len(distinct) < len(detections):
        grid = of_level[0].windows.grid
        joined = of_level[0].values.new_zeros(len(distinct), *grid)
        for maps in of_level:
            places = [distinct.index(detection)
                      for detection in maps.windows.detections]
            joined[places] = torch.maximum(joined[places],
                                           maps.spread().values)
        return [GridMaps.of_whole_level(joined, of_level[0].windows.level,
                                        distinct)]
    whole = [maps for maps in of_level if maps.windows.are_whole]
    if len(whole) < 2:
        return of_level
    return [
        GridMaps.of_whole_level(
            torch.cat([maps.values for maps in whole]),
            whole[0].windows.level,
            [detection for maps in whole
             for detection in maps.windows.detections]),
        *(maps for maps in of_level if not maps.windows.are_whole)
    ]


def image_heatmaps(maps: Sequence[GridMaps], count: int, frame: ImageFrame,
                   device: torch.device,
                   dtype: torch.dtype = torch.float32) -> Tensor:
    """Make heat maps of the original image's size.

    A detection's levels are joined by the elementwise maximum, as the paper
    joins outputs (Eq. 3); the joint map is min-max normalised. Only the
    pixels that windows reach are computed.

    Args:
        maps (Sequence[GridMaps]): The detections' maps on the feature levels
            that they depend on, not negative; a detection has at most one
            on a level.
        count (int): The number N of detections.
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
        (count, *frame.image_shape), dtype=dtype, device=device)
    finite = [torch.ones(0, dtype=torch.bool, device=device)]
    everything = range(count)
    # what is rounded to half precision is made somewhere else
    for chunk in chunks(everything, 4 * math.prod(frame.image_shape)) \
            if dtype == torch.float16 else [everything]:
        some = heatmaps[chunk.start:chunk.stop]
        joined = some.float() if dtype == torch.float16 else some
        for level_maps in maps:
            enlarge(level_maps, frame, joined, chunk)
        finite.append(normalize_image_maps(joined))
        if joined is not some:
            some.copy_(joined)
    is_finite = torch.cat(finite)
    if not is_finite.all():
        raise FloatingPointError(
            f'the heat map of detection {is_finite.tolist().index(False)} is '
            'not finite: the detector\'s features or gradients overflow')
    return heatmaps


def signed_heatmaps(speak_for: Sequence[GridMaps],
                    speak_against: Sequence[GridMaps], count: int,
                    frame: ImageFrame, device: torch.device) -> Tensor:
    """Make signed maps of the original image's size: what speaks for
    something less what speaks against it.

    Both are joined as :func:`image_heatmaps` joins them. Each signed map is
    divided by its largest absolute value, so that zero stays where it is.

    Args:
        speak_for, speak_against (Sequence[GridMaps]): See
            :func:`image_heatmaps`.
        count (int): The number N of detections.
        frame (ImageFrame): The frame of the image.
        device (torch.device): Of the result.

    Returns:
        Tensor: Shape (N, H, W), in [-1, 1].

    Raises:
        FloatingPointError: If a map is not finite.
    """
    both = torch.zeros((2, count, *frame.image_shape), device=device)
    for joined, maps in zip(both, (speak_for, speak_against)):
        for level_maps in maps:
            enlarge(level_maps, frame, joined, range(count))
    signed = both[0].sub_(both[1])
    if not signed.isfinite().all():
        raise FloatingPointError('a signed map is not finite: the detector\'s '
                                 'features or gradients overflow')
    if not signed.numel():
        return signed
    largest = signed.abs().amax(dim=(1, 2), keepdim=True)
    return signed.div_(largest.where(largest > 0, torch.ones_like(largest)))


def chunks(numbers: range, memory: int) -> Iterator[range]:
    """Divide numbers, each of which takes so many bytes, so that a part keeps
    to ``BUDGET``."""
    size = max(1, BUDGET // memory)
    for start in numbers[::size]:
        yield numbers[start:start + size]


def enlarge(maps: GridMaps, frame: ImageFrame, joined: Tensor,
            detections: range) -> None:
    """Enlarge maps to the image, and join them with others.

    Args:
        maps (GridMaps): Of detections at most one each.
        frame (ImageFrame): The frame of the image.
        joined (Tensor): The maps (n, H, W) of the image, not negative, of n
            detections: get the maximum.
        detections (range): Those n.
    """
    own = [number for number, detection in enumerate(maps.windows.detections)
           if detection in detections]
    height, width = frame.reach(maps.windows)
    # a float and the place of each pixel, and what is between
    for chunk in chunks(range(len(own)), 16 * max(1, height * width)):
        part = maps.take(own[chunk.start:chunk.stop])
        places = [detection - detections.start
                  for detection in part.windows.detections]
        parts = frame.windows_to_image(part.values, part.windows)
        if parts.values.shape[1:] == joined.shape[1:]:
            maximum_of_whole(joined, places, parts.values)
        else:
            pixels = parts.pixels(places, joined.shape[1:])
            joined.view(-1).scatter_reduce_(
                0, pixels.flatten(), parts.values.flatten(), 'amax')


def maximum_of_whole(joined: Tensor, places: list[int],
                     values: Tensor) -> None:
    """Take the maximum of some maps of several and others, in place."""
    start = places[0]
    if places == list(range(start, start + len(places))):
        some = joined[start:start + len(places)]
        torch.maximum(some, values, out=some)
    else:
        joined[places] = torch.maximum(joined[places], values)


def normalize_image_maps(maps: Tensor) -> Tensor:
    """Scale maps (n, H, W), not negative, to [0, 1] in place, and return for
    each whether it was finite."""
    if maps.numel() == 0:
        return maps.new_ones(len(maps), dtype=torch.bool)
    low = maps.amin(dim=(1, 2), keepdim=True)
    high = maps.amax(dim=(1, 2), keepdim=True)
    span = high - low
    # what is left of equal values when they are enlarged is rounding
    shown = span > 16 * torch.finfo(maps.dtype).eps * high
    maps.sub_(low).div_(span.where(shown, torch.full_like(span, torch.inf)))
    return span.isfinite().view(-1)

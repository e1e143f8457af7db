# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""From the grid of a feature map to the pixels of the original image."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from .windows import Windows

Shape = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ImageFrame:
    """Where the original image lies in the network's input.

    The image is resized to ``content_shape``; all around it is padding, most
    often to the right and below only.

    Args:
        input_shape (tuple): Height and width of the padded input.
        content_shape (tuple): Height and width of the image inside it.
        image_shape (tuple): Height and width of the original image.
        corner (tuple): Row and column of the image's first pixel.
    """
    input_shape: Shape
    content_shape: Shape
    image_shape: Shape
    corner: Shape = (0, 0)

    @classmethod
    def of_metainfo(cls, metainfo: Mapping[str, Any],
                    input_shape: Sequence[int]) -> ImageFrame:
        """Read the frame from what a test pipeline noted.

        Args:
            metainfo (Mapping): ``ori_shape``, height and width of the image;
                ``scale_factor``, along x and y; ``border``, first and last
                row and column of the image in the input, or ``pad_param``,
                rows and columns of padding above, below, left and right of
                it. ``img_shape`` is not read: a ``Pad`` in the pipeline
                enlarges it.
            input_shape (Sequence[int]): Height and width of the input.
        """
        height, width = metainfo['ori_shape'][:2]
        scale_w, scale_h = metainfo.get('scale_factor', (1., 1.))[:2]
        content = round(height * scale_h), round(width * scale_w)
        # CenterNet and CornerNet pad on all sides, as do letter boxes. Half a
        # pixel (half_pad_param) is noted of what is padded by whole ones.
        top, _, left, _ = metainfo.get(
            'border', metainfo.get('pad_param', (0, 0, 0, 0)))
        rows, columns = input_shape
        return cls((rows, columns), content, (height, width),
                   (int(top), int(left)))

    def metainfo_of_input(self) -> dict[str, Any]:
        """Return what a pipeline would note if the whole input were the image:
        a detector that is told so gives boxes in pixels of the input."""
        height, width = self.input_shape
        return dict(
            ori_shape=self.input_shape,
            scale_factor=(1., 1.),
            border=(0, height, 0, width),
            pad_param=(0, 0, 0, 0))

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels for one original pixel, along x and along y."""
        return (self.content_shape[1] / self.image_shape[1],
                self.content_shape[0] / self.image_shape[0])

    def to_input(self, boxes: Tensor) -> Tensor:
        """Boxes (N, 4), last dim (x1, y1, x2, y2), from pixels of the original
        image to pixels of the input."""
        top, left = self.corner
        return boxes * boxes.new_tensor(self.scale * 2) + boxes.new_tensor(
            (left, top) * 2)

    def to_content(self, maps: Tensor) -> Tensor:
        """Return maps (N, H, W) of the original image, resized (bilinear) to
        the image as it lies in the input, shape (N, h, w)."""
        if tuple(maps.shape[-2:]) == self.content_shape:
            return maps
        return F.interpolate(
            maps[None], size=self.content_shape, mode='bilinear')[0]

    def content_to_input(self, pixels: Tensor) -> Tensor:
        """Where pixels of the image lie in the input: indices into the
        flattened pixels of the one and of the other."""
        width = self.content_shape[1]
        row = pixels // width + self.corner[0]
        return row * self.input_shape[1] + pixels % width + self.corner[1]

    @property
    def content(self) -> tuple[slice, slice]:
        """Rows and columns of the input that the image takes."""
        (top, left), (height, width) = self.corner, self.content_shape
        return slice(top, top + height), slice(left, left + width)

    def seen(self, grid: Shape) -> tuple[Tensor, Tensor]:
        """Which rows and which columns of a grid over the padded input some
        pixel of the image sees; bool, shapes (h, ) and (w, )."""
        return self._axis(0, grid[0]).seen, self._axis(1, grid[1]).seen

    def _axis(self, axis: int, cells: int) -> AxisWeights:
        """Return the weights along one axis."""
        # those of a grid of pixels are too large to be kept
        weights_of = axis_weights if cells < self.input_shape[axis] \
            else axis_weights.__wrapped__
        return weights_of(self.input_shape[axis], self.content_shape[axis],
                          self.image_shape[axis], self.corner[axis], cells)

    def to_image(self, maps: Tensor) -> Tensor:
        """Enlarge maps from a grid over the padded input.

        The grid is resized (bilinear, ``align_corners=False``) to the input,
        cut to the image inside it, and resized to the original image. Both
        steps are linear and separable, so that each axis is one small matrix
        and no map at the input's size is made.

        Args:
            maps (Tensor): Shape (..., h, w).

        Returns:
            Tensor: Shape (..., H, W), of the original image.
        """
        rows, columns = (
            self._axis(axis, maps.shape[axis - 2]).on(maps.device, maps.dtype)
            for axis in (0, 1))
        return rows @ maps @ columns.T

    def windows_to_image(self, values: Tensor,
                         windows: Windows) -> ImageParts:
        """Enlarge maps that are zero outside of windows of the grid.

        Args:
            values (Tensor): The maps in their windows, zero where those reach
                over the level's border; shape (n, h, w).
            windows (Windows): Where they lie on the grid.

        Returns:
            ImageParts: The part of the image that each of them reaches.
        """
        if windows.are_whole:
            return ImageParts(self.to_image(values), [0] * len(windows),
                              [0] * len(windows))
        matrices, firsts = [], []
        for axis in (0, 1):
            first, matrix = self._axis(axis, windows.grid[axis]).of_cells(
                [corner[axis] for corner in windows.corners],
                windows.cells_inside[axis], values.dtype)
            firsts.append(first)
            matrices.append(matrix)
        rows, columns = matrices
        return ImageParts(rows @ values @ columns.mT, *firsts)

    def reach(self, windows: Windows) -> Shape:
        """Return the size, height and width, of the largest part of the image
        that one of some windows reaches."""
        if windows.are_whole:
            return self.image_shape
        height, width = (
            self._axis(axis, windows.grid[axis]).pixels_of(
                [corner[axis] for corner in windows.corners],
                windows.shape[axis])[1] for axis in (0, 1))
        return height, width


@dataclass(frozen=True)
class ImageParts:
    """Parts of images, all of one size.

    Args:
        values (Tensor): The parts, shape (n, h, w).
        first_rows (list[int]): The row of each part's first pixel in its
            image.
        first_columns (list[int]): Its column.
    """
    values: Tensor
    first_rows: list[int]
    first_columns: list[int]

    def pixels(self, places: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Return the place of each pixel in flattened images.

        Args:
            places (Sequence[int]): The image in which each part lies.
            shape (Sequence[int]): Height and width of the images.

        Returns:
            Tensor: Shape (n, h, w), of indices.
        """
        height, width = shape
        rows, columns = self.values.shape[1:]
        device = self.values.device
        first = torch.tensor(
            [(place * height + row) * width + column for place, row, column in
             zip(places, self.first_rows, self.first_columns)], device=device)
        offsets = torch.arange(rows, device=device)[:, None] * width + \
            torch.arange(columns, device=device)
        return first[:, None, None] + offsets


class AxisWeights:
    """How pixels of the image are weighted means of grid cells, along one
    axis.

    Args:
        weights (Tensor): Shape (pixels, cells), on the CPU.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        counted = weights != 0
        # the pixels that see a cell stand together, and move on with the cell
        self.seen = counted.any(dim=0)
        pixels, counted = len(weights), counted.int()
        first, last = counted.argmax(dim=0), counted.flip(0).argmax(dim=0)
        self.first = first.where(self.seen, pixels).tolist()
        self.last = (pixels - last).where(self.seen, 0).tolist()
        self._copies: dict[tuple, Tensor] = {}

    def reached(self, first: int, last: int) -> slice:
        """Return the pixels that see cells ``first`` to ``last - 1``."""
        begin = min(self.first[first:last], default=len(self.weights))
        end = max(self.last[first:last], default=0)
        return slice(min(begin, end), end)

    def pixels_of(self, corners: Sequence[int],
                  count: int) -> tuple[list[int], int]:
        """Return the first pixel that each of some ranges of cells is enlarged
        to, and how many, the same for all.

        Args:
            corners (Sequence[int]): The first cell of each range; it may lie
                outside.
            count (int): The cells of a range.
        """
        reached = [self.reached(max(corner, 0), max(corner + count, 0))
                   for corner in corners]
        size = max((part.stop - part.start for part in reached), default=0)
        # the last ranges begin earlier: what that adds is zero
        return [min(part.start, len(self.weights) - size)
                for part in reached], size

    def of_cells(self, corners: Sequence[int], cells: Tensor,
                 dtype: torch.dtype) -> tuple[list[int], Tensor]:
        """Return the weights of ranges of cells, for as many pixels each.

        Args:
            corners (Sequence[int]): The first cell of each range; it may lie
                outside.
            cells (Tensor): The cells of the ranges, shape (n, k), all inside.
            dtype (torch.dtype): Of the weights.

        Returns:
            tuple: The first pixel of each range, and the weights, shape (n,
            pixels, k).
        """
        count = cells.shape[1]
        first, size = self.pixels_of(corners, count)
        if len(set(corners)) == 1:  # one matrix for all
            first_cell, start = int(corners[0]), first[0]
            if first_cell >= 0 and first_cell + count <= self.seen.numel():
                return first, self.on(cells.device, dtype)[
                    None, start:start + size, first_cell:first_cell + count]
        pixels = torch.tensor(first, device=cells.device)[:, None] + \
            torch.arange(size, device=cells.device)
        weights = self.on(cells.device, dtype)
        return first, weights[pixels[:, :, None], cells[:, None, :]]

    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return the weights on a device."""
        key = device, dtype
        if key not in self._copies:
            self._copies[key] = self.weights.to(device, dtype)
        return self._copies[key]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def axis_weights(input_length: int, content: int, pixels: int, first: int,
                 cells: int) -> AxisWeights:
    """Return the weights of one axis.

    Args:
        input_length (int): Pixels of the padded input.
        content (int): Pixels of the image inside it.
        pixels (int): Pixels of the original image.
        first (int): The image's first pixel in the input.
        cells (int): Cells of the grid.
    """
    weights = torch.eye(cells, dtype=torch.double)[None]  # (1, cells, cells)
    weights = F.interpolate(
        weights, size=covered_length(input_length, cells), mode='linear')
    weights = weights[..., first:first + content]
    weights = F.interpolate(weights, size=pixels, mode='linear')
    return AxisWeights(weights[0].T.contiguous())


def covered_length(length: int, cells: int) -> int:
    """Input pixels that the cells of a grid cover along one axis.

    Strided layers round up: a stride of 32 lays 42 cells over 1333 pixels,
    and they reach to pixel 1344. Strides are powers of two; where none fits,
    the cells are taken to fill the length.
    """
    stride = 1 << ((length + cells - 1) // cells - 1).bit_length()
    return cells * stride if -(-length // stride) == cells else length

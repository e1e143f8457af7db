# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Windows of a level's grid, many at a time."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .image_frame import Shape


@dataclass(frozen=True)
class Windows:
    """Rectangles of one size on the grid of a level, each for a detection.

    A window may reach over the border of the level.

    Args:
        level (int): The level.
        grid (tuple): Height and width of its grid.
        detections (tuple[int]): The detection of each of n windows, none
            twice.
        corners (tuple): Row and column of each window's first cell.
        shape (tuple): Height and width of the windows.
        device (torch.device): Of the values in the windows.
    """
    level: int
    grid: Shape
    detections: tuple[int, ...]
    corners: tuple[Shape, ...]
    shape: Shape
    device: torch.device

    @classmethod
    def whole_level(cls, level: int, grid: Shape, detections: Sequence[int],
                    device: torch.device) -> Windows:
        """Return windows that are the whole level each."""
        return cls(level, grid, tuple(detections),
                   ((0, 0), ) * len(detections), grid, device)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.detections)

    def take(self, numbers: Sequence[int]) -> Windows:
        """Return some of the windows."""
        return replace(
            self,
            detections=tuple(self.detections[number] for number in numbers),
            corners=tuple(self.corners[number] for number in numbers))

    @cached_property
    def are_whole(self) -> bool:
        """Whether each window is the whole level."""
        return self.shape == self.grid and not any(map(any, self.corners))

    @cached_property
    def reach_over(self) -> bool:
        """Whether a window reaches over the border of the level."""
        return any(
            first < 0 or first + size > length for corner in self.corners
            for first, size, length in zip(corner, self.shape, self.grid))

    @cached_property
    def cells(self) -> tuple[Tensor, Tensor]:
        """The rows (n, h) and columns (n, w) of the windows' cells; those
        outside of the level are negative or too large."""
        corners = torch.tensor(self.corners, device=self.device).view(-1, 2)
        rows, columns = (
            corners[:, axis, None] + torch.arange(size, device=self.device)
            for axis, size in enumerate(self.shape))
        return rows, columns

    @cached_property
    def cells_inside(self) -> tuple[Tensor, Tensor]:
        """The same, each cell outside replaced by the nearest one inside."""
        if not self.reach_over:
            return self.cells
        rows, columns = (
            cells.clamp(0, length - 1)
            for cells, length in zip(self.cells, self.grid))
        return rows, columns

    @cached_property
    def inside(self) -> Tensor:
        """Which cells lie on the level, shape (n, h, w), bool."""
        rows, columns = (
            (cells >= 0) & (cells < length)
            for cells, length in zip(self.cells, self.grid))
        return rows[:, :, None] & columns[:, None, :]

    def cut(self, maps: Tensor) -> Tensor:
        """Cut the windows out of a level.

        Args:
            maps (Tensor): Shape (C, H, W).

        Returns:
            Tensor: Shape (n, C, h, w), zero outside of the level; (1, C, H,
            W) if each window is the whole level.
        """
        if self.are_whole:
            return maps[None]
        rows, columns = self.cells_inside
        parts = maps[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
        if self.reach_over:
            parts = parts * self.inside[:, None]
        return parts

    def spread(self, values: Tensor) -> Tensor:
        """Put values on the whole level.

        Args:
            values (Tensor): Shape (n, ..., h, w).

        Returns:
            Tensor: Shape (n, ..., H, W), zero outside of the windows.
        """
        if self.are_whole:
            return values
        rows, columns = self.cells_inside
        if self.reach_over:  # what is added to the cells inside is zero
            inside = self.inside.view(len(self), *(1, ) * (values.dim() - 3),
                                      *self.shape)
            values = values * inside
        whole = values.new_zeros(*values.shape[:-2], *self.grid)
        numbers = torch.arange(len(self), device=self.device)
        whole.movedim((-2, -1), (1, 2)).index_put_(
            (numbers[:, None, None], rows[:, :, None], columns[:, None, :]),
            values.movedim((-2, -1), (1, 2)), accumulate=True)
        return whole

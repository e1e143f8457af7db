# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of convolutional heads, from small squares of the levels."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..modes import evaluation_mode
from ..nested import flat_tensors
from ..recording import recording
from ..trace import OUTPUTS, LevelGradient, OutputGradient
from .agreement import agree
from .dense import DenseGradients, again
from .group_norm import FrozenStatistics
from .jacobian import SparseJacobian
from .receptive_field import ReceptiveField, forget, unpadded, zero_outside

CHUNK = 32  # windows in one run of the head


@dataclass(frozen=True)
class Window:
    """The square of a level that one detection depends on, around its
    location. It may reach over the level's border.

    Args:
        detection (int): Index of the detection.
        level (int): The level.
        row (int): Row of the location.
        column (int): Column of the location.
    """
    detection: int
    level: int
    row: int
    column: int


@dataclass(frozen=True)
class WindowGradients:
    """Gradients of convolutional heads, from windows of the levels.

    A detection comes from one location of one level, and the head's output
    there sees a small square of the level. The head runs again on the squares
    of all detections of a level as one batch, and one backward pass for each
    column serves them all.

    Every run is checked: at each location the head must give what it gave for
    the whole level. A head that does not, works on more than the square, and
    takes the dense way from then on.

    Args:
        head (nn.Module): Maps the levels to raw maps.
        inputs (list[Tensor]): The levels, each (1, C, H, W).
        cut (list[Tensor]): The raw maps from which the outputs were computed,
            leaves of the graph.
        field (ReceptiveField): Of the head.
        statistics (FrozenStatistics, optional): Of the head's GroupNorm
            layers, if they are held constant.
    """
    head: nn.Module
    inputs: list[Tensor]
    cut: list[Tensor]
    field: ReceptiveField
    statistics: FrozenStatistics | None = None

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        jacobian = SparseJacobian.of(outputs, self.cut, columns)
        windows: dict[int, list[Window]] = {}
        elsewhere = []
        for detection in range(len(outputs)):
            locations = self.locations(
                jacobian.raw_elements(detection, columns))
            if len(locations) > 1:
                elsewhere.append(detection)
            elif locations:
                window = Window(detection, *locations.pop())
                windows.setdefault(window.level, []).append(window)
            else:
                for column in columns:
                    yield OutputGradient(detection, OUTPUTS[column], [])
        for level, here in windows.items():
            for start in range(0, len(here), CHUNK):
                chunk = here[start:start + CHUNK]
                batch, raw = self.run(level, chunk)
                if self.agrees(chunk, raw):
                    yield from self.differentiate(chunk, batch, raw, jacobian,
                                                  columns)
                else:
                    forget(self.head)
                    elsewhere += [window.detection for window in chunk]
                del batch, raw  # their graph, before the next one
        if elsewhere:
            yield from self.dense(outputs, columns, elsewhere)

    def locations(
            self, elements: set[tuple[int, int]]) -> set[tuple[int, int, int]]:
        """Return level, row and column of elements of the raw maps."""
        locations = set()
        for number, index in elements:
            height, width = self.cut[number].shape[2:]
            row, column = divmod(index % (height * width), width)
            locations.add((self.field.levels[number], row, column))
        return locations

    def run(self, level: int,
            windows: list[Window]) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the head on windows of one level, as a batch.

        Returns:
            tuple: The windows, a leaf of the graph, (n, C, h, w), zero
            outside of the level; and the raw maps that depend on them, at the
            windows' middle, each (n, C).
        """
        with ExitStack() as stack:
            stack.enter_context(recording())
            stack.enter_context(evaluation_mode(self.head))
            batch, inside = self.cut_out(level, windows)
            if inside is not None:
                stack.enter_context(zero_outside(self.head, inside))
            if self.field.shrinks:
                stack.enter_context(unpadded(self.head))
            if self.statistics:
                stack.enter_context(self.statistics.replay())
            slots = [batch.new_zeros(0, whole.shape[1], *batch.shape[2:])
                     for whole in self.inputs]
            slots[level] = batch
            raw = flat_tensors(self.head.forward(tuple(slots)))
            return batch, {
                number: raw_map[..., raw_map.shape[2] // 2,
                                raw_map.shape[3] // 2]
                for number, raw_map in enumerate(raw)
                if self.field.levels[number] == level
            }

    def cut_out(self, level: int,
                windows: list[Window]) -> tuple[Tensor, Tensor | None]:
        """Cut windows out of a level.

        Returns:
            tuple: The windows as a batch (n, C, side, side), a leaf of the
            graph; and where they are inside of the level (1) and outside (0),
            (n, 1, side, side), None if nowhere outside.
        """
        whole = self.inputs[level].detach()
        side = 2 * self.field.radius + 1
        batch = whole.new_zeros(len(windows), whole.shape[1], side, side)
        inside = whole.new_zeros(len(windows), 1, side, side)
        reach_over = False
        for index, window in enumerate(windows):
            rows, columns, cells = self.overlap_with_level(window)
            batch[index, :, rows, columns] = whole[0, :, cells[0], cells[1]]
            inside[index, :, rows, columns] = 1
            reach_over |= (rows.stop - rows.start < side
                           or columns.stop - columns.start < side)
        return batch.requires_grad_(), inside if reach_over else None

    def overlap_with_level(
            self,
            window: Window) -> tuple[slice, slice, tuple[slice, slice]]:
        """Return where a window and its level overlap: rows and columns of
        the window, and those of the level."""
        radius = self.field.radius
        height, width = self.inputs[window.level].shape[2:]
        rows, level_rows = overlap(window.row, radius, height)
        columns, level_columns = overlap(window.column, radius, width)
        return rows, columns, (level_rows, level_columns)

    def agrees(self, windows: list[Window], raw: dict[int, Tensor]) -> bool:
        """Whether windows give the same raw maps at the detections'
        locations as whole levels did."""
        rows = [window.row for window in windows]
        columns = [window.column for window in windows]
        return agree([(raw_map, self.cut[number][0, :, rows, columns].T)
                      for number, raw_map in raw.items()])

    def place(self, number: int, window: int, index: int) -> int:
        """Return the flat index, in the raw maps (n, C) of a run, of an
        element of a raw map.

        Args:
            number (int): The raw map.
            window (int): The row of the run.
            index (int): The element's flat index in the raw map.
        """
        _, channels, height, width = self.cut[number].shape
        return window * channels + index // (height * width)

    def differentiate(self, windows: list[Window], batch: Tensor,
                      raw: dict[int, Tensor], jacobian: SparseJacobian,
                      columns: Sequence[int]) -> Iterator[OutputGradient]:
        """Go back through the run, once for each column."""
        level = self.inputs[windows[0].level].detach()[0]
        for column in columns:
            starts, cotangents = [], []
            for number, raw_map in raw.items():
                places = {
                    window.detection: partial(self.place, number, index)
                    for index, window in enumerate(windows)
                }
                if jacobian.reaches(number, column, places):
                    starts.append(raw_map)
                    cotangents.append(
                        jacobian.cotangent(number, raw_map, column, places))
            gradient = None
            if starts:
                with recording():
                    (gradient, ) = torch.autograd.grad(
                        starts, batch, cotangents, retain_graph=True)
            for index, window in enumerate(windows):
                levels = []
                if gradient is not None:
                    rows, cols, (top, left) = self.overlap_with_level(window)
                    levels.append(
                        LevelGradient(window.level, level,
                                      gradient[index, :, rows, cols],
                                      top.start, left.start))
                yield OutputGradient(window.detection, OUTPUTS[column], levels)

    def dense(self, outputs: Tensor, columns: Sequence[int],
              detections: list[int]) -> Iterator[OutputGradient]:
        """Compute the gradients of some detections from whole levels."""
        with ExitStack() as stack:
            stack.enter_context(recording())
            stack.enter_context(evaluation_mode(self.head))
            if self.statistics:
                stack.enter_context(self.statistics.replay())
            leaves = [level.detach().requires_grad_() for level in self.inputs]
            raw = flat_tensors(self.head.forward(tuple(leaves)))
        yield from again(
            DenseGradients(self.head, leaves, raw, self.cut), outputs,
            columns, detections)


def overlap(place: int, radius: int, length: int) -> tuple[slice, slice]:
    """Return where a window and its level overlap along one axis, in cells of
    the window and of the level.

    Args:
        place (int): The window's middle on the level.
        radius (int): Cells of the window on each side of it.
        length (int): The level's size.

    >>> overlap(1, 3, 20)
    (slice(2, 7, None), slice(0, 5, None))
    """
    first = max(0, place - radius)
    last = min(length, place + radius + 1)
    offset = radius - place
    return slice(first + offset, last + offset), slice(first, last)

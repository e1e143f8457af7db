# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of convolutional heads, from small squares of the levels."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...maps.windows import Windows
from ..level_gradients import LevelGradients, LevelWindows
from ..modes import evaluation_mode
from ..nested import flat_tensors
from ..recording import recording
from ..trace import OutputGradients, Tolerance, column_name
from .agreement import agree
from .dense import DenseGradients, again
from .group_norm import FrozenStatistics, Watch
from .jacobian import Cotangents, RawPart, SparseJacobian, alike
from .products import vector_products
from .receptive_field import ReceptiveField, forget, unpadded, zero_outside

#: Bytes that a run of the head on windows may take, and how many times what
#: it gets the values inside of a head are.
MEMORY_BUDGET = 2**28
HEAD_SIZE = 16


class Location(NamedTuple):
    """Where a detection comes from.

    Args:
        level (int): The level.
        row (int): Row of the level's grid.
        column (int): Column.
    """
    level: int
    row: int
    column: int


@dataclass(frozen=True)
class WindowGradients:
    """Gradients of convolutional heads, from windows of the levels.

    A detection comes from one location of one level, and the head's output
    there sees a small square of the level. The head runs again on the squares
    of all detections, as one batch for each level, and one backward pass for
    each column serves them all.

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

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        jacobian = SparseJacobian.of(outputs, self.cut, columns)
        levels, elsewhere = self.places(jacobian, columns)
        for some in self.chunks(levels):
            run = WindowRun.of(self, some)
            if run.agrees():
                yield from run.differentiate(jacobian, columns)
            else:
                forget(self.head)
                elsewhere += run.detections
            del run  # its graph, before the next one
        if elsewhere:
            yield from self.dense(outputs, columns, elsewhere)

    def places(
        self, jacobian: SparseJacobian, columns: Sequence[int]
    ) -> tuple[dict[int, dict[int, Location]], list[int]]:
        """Return where detections come from, by level and detection; and
        those that come from several places."""
        levels: dict[int, dict[int, Location]] = {}
        elsewhere = []
        for detection in range(jacobian.detections):
            locations = self.locations(
                jacobian.raw_elements(detection, columns))
            if len(locations) > 1:
                elsewhere.append(detection)
            elif locations:
                location = locations.pop()
                levels.setdefault(location.level, {})[detection] = location
        return levels, elsewhere

    def locations(self, elements: set[tuple[int, int]]) -> set[Location]:
        """Return where elements of the raw maps lie."""
        locations = set()
        for number, index in elements:
            height, width = self.cut[number].shape[2:]
            row, column = divmod(index % (height * width), width)
            locations.add(Location(self.field.levels[number], row, column))
        return locations

    def chunks(
        self, levels: dict[int, dict[int, Location]]
    ) -> Iterator[dict[int, dict[int, Location]]]:
        """Divide the detections of all levels so that a run of the head keeps
        to ``MEMORY_BUDGET``."""
        square = (2 * self.field.radius + 1)**2
        waiting = [(level, detection, location)
                   for level, of_level in levels.items()
                   for detection, location in of_level.items()]
        chunk: dict[int, dict[int, Location]] = {}
        memory = 0
        for level, detection, location in waiting:
            needed = HEAD_SIZE * square * self.inputs[level].shape[1] * \
                self.inputs[level].element_size()
            if chunk and memory + needed > MEMORY_BUDGET:
                yield chunk
                chunk, memory = {}, 0
            chunk.setdefault(level, {})[detection] = location
            memory += needed
        if chunk:
            yield chunk

    def dense(self, outputs: Tensor, columns: Sequence[int],
              detections: list[int]) -> Iterator[OutputGradients]:
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


@dataclass(frozen=True)
class WindowRun:
    """The head run again on the windows of some detections.

    Args:
        gradients (WindowGradients): Whose head it is.
        locations (dict): By level and detection, where it comes from.
        where (dict[int, LevelWindows]): By level, the windows around these
            places.
        leaves (dict[int, Tensor]): By level, the features in them, (n, C,
            side, side), leaves of the graph.
        lengths (dict[int, int]): By level, the length of the batch that the
            head got: n, or more, so that no two levels have the same.
        raw (dict[int, Tensor]): The raw maps at the windows' middles, each
            (n, C).
    """
    gradients: WindowGradients
    locations: dict[int, dict[int, Location]]
    where: dict[int, LevelWindows]
    leaves: dict[int, Tensor]
    lengths: dict[int, int]
    raw: dict[int, Tensor]

    @classmethod
    def of(cls, gradients: WindowGradients,
           locations: dict[int, dict[int, Location]],
           watch: Watch | None = None) -> WindowRun:
        """Run the head on the windows of all levels at once.

        Args:
            gradients (WindowGradients): Whose head it is.
            locations (dict): By level and detection.
            watch (Callable, optional): See :meth:`FrozenStatistics.replay`.
        """
        inputs, field = gradients.inputs, gradients.field
        side = 2 * field.radius + 1
        where = {
            level: windows_around(inputs[level].detach()[0], level, of_level,
                                  field.radius)
            for level, of_level in locations.items()
        }
        inside: dict[int, Tensor] = {}
        lengths: dict[int, int] = {}
        leaves = {}
        with ExitStack() as stack:
            stack.enter_context(recording())
            stack.enter_context(evaluation_mode(gradients.head))
            fewest = 0 if field.takes_none else 1
            batches = [whole.new_zeros(fewest, whole.shape[1], side, side)
                       for whole in inputs]
            for level, level_windows in where.items():
                leaf = level_windows.activations.detach().requires_grad_()
                leaves[level] = leaf
                batch = of_other_length(leaf, [fewest, *lengths.values()])
                lengths[level] = len(batch)
                if level_windows.windows.reach_over:
                    mask = of_length(level_windows.windows.inside[:, None],
                                     len(batch)).to(leaf)
                    inside[len(batch)] = mask
                    batch = batch * mask  # no gradient outside of the level
                batches[level] = batch
            if inside:
                stack.enter_context(zero_outside(gradients.head, inside))
            if field.shrinks:
                stack.enter_context(unpadded(gradients.head))
            if gradients.statistics:
                stack.enter_context(gradients.statistics.replay(watch))
            maps = flat_tensors(gradients.head.forward(tuple(batches)))
            raw = {
                number: raw_map[:len(where[level].windows), :,
                                raw_map.shape[2] // 2, raw_map.shape[3] // 2]
                for number, (raw_map, level) in enumerate(
                    zip(maps, field.levels)) if level in where
            }
        return cls(gradients, locations, where, leaves, lengths, raw)

    @property
    def detections(self) -> list[int]:
        """Those of all levels."""
        return [detection for of_level in self.locations.values()
                for detection in of_level]

    def agrees(self) -> bool:
        """Whether windows give the same raw maps at the detections' places as
        whole levels did."""
        pairs = []
        levels = self.gradients.field.levels
        for level, level_windows in self.where.items():
            radius = self.gradients.field.radius
            rows, columns = (cells[:, radius]
                             for cells in level_windows.windows.cells)
            pairs += [
                (raw_map, self.gradients.cut[number][0, :, rows, columns].T)
                for number, raw_map in self.raw.items()
                if levels[number] == level
            ]
        return agree(pairs)

    def differentiate(self, jacobian: SparseJacobian,
                      columns: Sequence[int]) -> Iterator[OutputGradients]:
        """Go back through the run, once for each column."""
        for some, stacked in alike(self.cotangents(jacobian, columns)):
            reached = self.levels_of(stacked)
            gradients = vector_products(
                [self.raw[number] for number in stacked],
                [self.leaves[level] for level in reached],
                list(stacked.values()))
            for place, column in enumerate(some):
                yield OutputGradients(column_name(column), [
                    LevelGradients(gradient[place], self.where[level])
                    for level, gradient in zip(reached, gradients)
                    if gradient is not None
                ])

    def cotangents(self, jacobian: SparseJacobian,
                   columns: Sequence[int]) -> dict[int, Cotangents]:
        """Return ``∂Y/∂R`` of the run's raw maps, by column."""
        return jacobian.cotangents(columns, {
            number: RawPart(raw_map.shape, self.places(number))
            for number, raw_map in self.raw.items()
        })

    def levels_of(self, numbers: Iterable[int]) -> list[int]:
        """List the levels on which some raw maps depend."""
        levels = self.gradients.field.levels
        return sorted({levels[number] for number in numbers})

    def places(self, number: int) -> dict[int, Callable[[int], int]]:
        """Return, for each detection, the flat index in the raw map (n, C) of
        this run of an element of a whole raw map."""
        level = self.gradients.field.levels[number]
        _, channels, height, width = self.gradients.cut[number].shape

        def place(window: int, index: int) -> int:
            return window * channels + index // (height * width)

        return {
            detection: partial(place, window)
            for window, detection in enumerate(self.locations[level])
        }


def windows_around(feature: Tensor, level: int,
                   locations: dict[int, Location],
                   radius: int) -> LevelWindows:
    """Return the squares of a level (C, H, W) that some detections see."""
    height, width = feature.shape[-2:]
    side = 2 * radius + 1
    corners = tuple((location.row - radius, location.column - radius)
                    for location in locations.values())
    return LevelWindows(feature, Windows(
        level, (height, width), tuple(locations), corners, (side, side),
        feature.device))


def of_other_length(batch: Tensor, lengths: Collection[int]) -> Tensor:
    """Repeat the last entry of a batch until its length is none of some: by
    its length, a layer's input is known to be of a level."""
    length = len(batch)
    while length in lengths:
        length += 1
    return of_length(batch, length)


def of_length(batch: Tensor, length: int) -> Tensor:
    """Repeat the last entry of a batch up to a length."""
    if length == len(batch):
        return batch
    return torch.cat([batch, *[batch[-1:]] * (length - len(batch))])

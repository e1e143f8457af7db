# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of heads on regions of interest."""
from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor

from ..level_gradients import LevelGradients, LevelWindows
from ..recording import recording
from ..trace import OutputGradients, Tolerance, column_name
from .agreement import agree
from .crops import (
    PooledRoIs,
    PooledWindows,
    pooled_windows,
    windows_of_rois,
)
from .dense import DenseGradients, again
from .jacobian import RawPart, SparseJacobian, alike
from .products import vector_products
from .stages import Pool, RefusedError, RoIStage, StageRun

#: Bytes that a run of the head may take, and how many times what it gets the
#: values inside of a head are.
MEMORY_BUDGET = 2**28
HEAD_SIZE = 16


@dataclass(frozen=True)
class RoIGradients:
    """Gradients of the heads that run on pooled regions of interest.

    The outputs for an RoI depend on its own pooled features only. So each
    stage runs again on the RoIs of the detections alone, and one backward pass
    for each column serves them all. Pooling is linear, and the way back
    through it two small products for each detection. Where several stages
    refine a box or vote on its score, all of them take part.

    What a stage gets beside pooled features is shared by all RoIs of a run:
    then each detection has a run of its own.

    Every run is checked: the head must give for each RoI what it gave before,
    and the products must pool what the head got. Where they do not, the
    detections take the dense way.

    Args:
        stages (list[RoIStage]): The stages, after a run.
        cut (list[Tensor]): The raw maps of all stages, from which the outputs
            were computed, leaves of the graph.
    """
    stages: list[RoIStage]
    cut: list[Tensor]

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The number of each input among those of all stages, by its
        identity: most stages get the same."""
        numbers: dict[int, int] = {}
        for stage in self.stages:
            for each in stage.inputs:
                numbers.setdefault(id(each), len(numbers))
        return numbers

    @cached_property
    def inputs(self) -> list[Tensor]:
        """What the stages get, as maps (1, C, H, W)."""
        inputs = {id(each): each for stage in self.stages
                  for each in stage.inputs}
        return [as_maps(inputs[each]) for each in self.numbers]

    def pools_of(self, stage: RoIStage) -> list[Pool]:
        """List the pools of a stage, whose levels are ``inputs``."""
        return [
            replace(pool, levels=[self.numbers[id(stage.inputs[level])]
                                  for level in pool.levels])
            for pool in stage.pools if pool is not None
        ]

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        jacobian = SparseJacobian.of(outputs, self.cut, columns)
        elsewhere = []
        rois: dict[int, list[int | None]] = {}
        for detection in range(len(outputs)):
            elements = jacobian.raw_elements(detection, columns)
            own = self.rois_of(elements)
            if own is None:
                elsewhere.append(detection)
            elif elements:
                rois[detection] = own
        waiting = list(self.chunks(rois))
        while waiting:
            some = waiting.pop(0)
            try:
                run = RoIRun.of(self, some)
            except RefusedError:
                elsewhere += some
                continue
            if run.direct and len(some) > 1:
                waiting[:0] = [{detection: own}
                               for detection, own in some.items()]
            elif run.agrees():
                yield from run.differentiate(jacobian, columns)
            else:
                elsewhere += some
            del run  # its graph, before the next one
        if elsewhere:
            yield from self.dense(outputs, columns, elsewhere)

    def chunks(
        self, rois: dict[int, list[int | None]]
    ) -> Iterator[dict[int, list[int | None]]]:
        """Divide detections so that a run keeps to ``MEMORY_BUDGET``."""
        if not rois:
            return
        pooled = sum(pool.values for stage in self.stages
                     for pool in self.pools_of(stage))
        size = max(1, MEMORY_BUDGET // (4 * HEAD_SIZE * max(1, pooled)))
        detections = list(rois)
        for start in range(0, len(detections), size):
            yield {detection: rois[detection]
                   for detection in detections[start:start + size]}

    def rois_of(self,
                elements: set[tuple[int, int]]) -> list[int | None] | None:
        """Return the RoI in each stage on which elements of the raw maps
        depend, None in stages without; None if there are several in a
        stage."""
        of_stages: list[int | None] = []
        for stage in self.stages:
            rois = set()
            for number, index in elements:
                if number in stage.raw:
                    raw = self.cut[number]
                    if len(raw) != len(stage.rois):
                        return None
                    rois.add(index // raw[0].numel())
            if len(rois) > 1:
                return None
            of_stages.append(rois.pop() if rois else None)
        return of_stages

    def dense(self, outputs: Tensor, columns: Sequence[int],
              detections: list[int]) -> Iterator[OutputGradients]:
        """Compute the gradients of some detections from all that the stages
        get and all RoIs."""
        with recording():
            leaves = [each.detach().requires_grad_() for each in self.inputs]
            raw: list[Tensor] = []
            for stage in self.stages:
                raw += stage.on_all([
                    leaves[self.numbers[id(each)]].view_as(each)
                    for each in stage.inputs
                ])
        yield from again(
            DenseGradients(self.stages[-1].module, leaves, raw, self.cut),
            outputs, columns, detections)


def as_maps(tensor: Tensor) -> Tensor:
    """Return a tensor as a map (1, C, H, W)."""
    if tensor.dim() == 4 and len(tensor) == 1:
        return tensor
    return tensor.reshape(1, 1, 1, -1)


@dataclass(frozen=True)
class RoIRun:
    """The stages run again on the RoIs of some detections.

    Args:
        gradients (RoIGradients): Whose stages they are.
        rows (list[dict[int, int]]): For each stage, the RoI of each detection
            that has one, in the order of the run.
        leaves (list[Tensor]): For each pool, the pooled features, (n, C,
            bins, bins), leaves of the graph.
        raw (dict[int, Tensor]): The raw maps.
        direct (dict[int, list[Tensor]]): By input, leaves on which the raw
            maps depend in another way than by pooling.
        windows (list[list[PooledWindows]]): The windows of the levels from
            which they were pooled; those of a detection are in one list.
    """
    gradients: RoIGradients
    rows: list[dict[int, int]]
    leaves: list[Tensor]
    raw: dict[int, Tensor]
    direct: dict[int, list[Tensor]]
    windows: list[list[PooledWindows]]

    @classmethod
    def of(cls, gradients: RoIGradients,
           detections: dict[int, list[int | None]]) -> RoIRun:
        """Run on detections, given their RoI in each stage.

        Raises:
            RefusedError: If a stage does not run on some of its RoIs.
        """
        rows: list[dict[int, int]] = [{
            detection: roi
            for detection, of_stages in detections.items()
            if (roi := of_stages[number]) is not None
        } for number in range(len(gradients.stages))]
        windows = windows_of_rois(gradients.inputs,
                                  pooled_rois(gradients, rows))
        # in the order of the windows, so that parts of a run are views
        order = dict.fromkeys([
            *(detection for group in windows for where in group
              for detection in where.windows.detections), *detections])
        rows = [{detection: stage_rows[detection] for detection in order
                 if detection in stage_rows} for stage_rows in rows]
        leaves: list[Tensor] = []
        raw: dict[int, Tensor] = {}
        direct: dict[int, list[Tensor]] = {}
        for stage, stage_rows in zip(gradients.stages, rows):
            if not stage_rows:
                continue
            run: StageRun = stage.on(stage.rois[list(stage_rows.values())])
            leaves += run.leaves
            raw.update(zip(stage.raw, run.raw))
            for number, leaf in run.direct.items():
                direct.setdefault(gradients.numbers[id(
                    stage.inputs[number])], []).append(leaf)
        pooled_from = iter(pooled_windows(
            pooled_rois(gradients, rows),
            [where for group in windows for where in group]))
        return cls(gradients, rows, leaves, raw, direct, [
            [next(pooled_from) for _ in group] for group in windows
        ])

    def agrees(self) -> bool:
        """Whether the raw maps, and pooled features, are what they were."""
        raw = []
        for stage, stage_rows in zip(self.gradients.stages, self.rows):
            rows = list(stage_rows.values())
            for number in stage.raw if rows else ():
                before = self.gradients.cut[number][rows]
                if number not in self.raw or \
                        before.shape != self.raw[number].shape:
                    return False
                raw.append((self.raw[number].reshape(len(rows), -1),
                            before.reshape(len(rows), -1)))
        return agree(raw, self.pooled_again())

    def pooled_again(self) -> list[tuple[Tensor, Tensor]]:
        """Pool by the products; return pairs of what they give, and of what
        the stages got."""
        return [pair for group in self.windows for windows in group
                for pair in windows.pooled_again(self.leaves)]

    def differentiate(self, jacobian: SparseJacobian,
                      columns: Sequence[int]) -> Iterator[OutputGradients]:
        """Go back through the run, once for each column."""
        parts = {}
        for stage, stage_rows in zip(self.gradients.stages, self.rows):
            for number in stage.raw if stage_rows else ():
                raw = self.raw[number]
                each = raw[0].numel()
                parts[number] = RawPart(raw.shape, {
                    detection: partial(operator.add, (row - roi) * each)
                    for row, (detection, roi) in enumerate(stage_rows.items())
                })
        direct = [(number, leaf) for number, leaves in self.direct.items()
                  for leaf in leaves]
        pooled: dict[str, list[Tensor | None]] = {}
        not_pooled: dict[str, dict[int, Tensor]] = {}
        for some, stacked in alike(jacobian.cotangents(columns, parts)):
            products = vector_products(
                [self.raw[number] for number in stacked],
                [*self.leaves, *(leaf for _, leaf in direct)],
                list(stacked.values()))
            for place, column in enumerate(some):
                gradients = [None if gradient is None else gradient[place]
                             for gradient in products]
                output = column_name(column)
                pooled[output] = gradients[:len(self.leaves)]
                not_pooled[output] = sums_by_input(
                    [number for number, _ in direct],
                    gradients[len(self.leaves):])
        yield from self.through_pooling(pooled, not_pooled)

    def through_pooling(
        self,
        pooled: Mapping[str, Sequence[Tensor | None]],
        not_pooled: Mapping[str, Mapping[int, Tensor]] | None = None
    ) -> Iterator[OutputGradients]:
        """Go back through the pooling.

        Args:
            pooled (Mapping): By output, the gradient of the pooled features of
                each pool; None where there is no path.
            not_pooled (Mapping, optional): By output, what reaches inputs in
                another way, if the run is that of a single detection.
        """
        for group in self.windows or [[]]:
            # features in windows are shared by the outputs, and then dropped
            where = [LevelWindows(windows.where.feature,
                                  windows.where.windows) for windows in group]
            ways = [windows.way_back() for windows in group]
            for output, of_pools in pooled.items():
                levels = [
                    LevelGradients(way.gradients(of_pools), shared)
                    for way, shared in zip(ways, where)
                ]
                if not_pooled and not_pooled.get(output):
                    levels = self.with_others(levels, not_pooled[output])
                yield OutputGradients(output, levels)

    def with_others(self, levels: list[LevelGradients],
                    not_pooled: Mapping[int, Tensor]) -> list[LevelGradients]:
        """Add what reaches inputs in another way than by pooling."""
        (detection, ) = {detection for stage_rows in self.rows
                         for detection in stage_rows}
        by_input = {part.windows.level: part for part in levels}
        for number, gradient in not_pooled.items():
            if number in by_input:
                gradient = gradient + by_input[number].spread().gradients
            by_input[number] = LevelGradients(
                gradient, LevelWindows.whole_level(
                    number, self.gradients.inputs[number].detach()[0],
                    [detection]))
        return list(by_input.values())


def sums_by_input(numbers: Sequence[int], gradients: Sequence[Tensor | None]
                  ) -> dict[int, Tensor]:
    """Add the gradients of leaves that stand for the same input, each in a
    stage of its own.

    Args:
        numbers (Sequence[int]): The input of each leaf.
        gradients (Sequence[Tensor | None]): Of each leaf; None where there is
            no path.

    Returns:
        dict: By input, the sum, as a map (1, C, H, W).

    >>> import torch
    >>> sums = sums_by_input([3, 5, 3], [torch.ones(2), None, torch.ones(2)])
    >>> {number: total.tolist() for number, total in sums.items()}
    {3: [[[[2.0, 2.0]]]]}
    """
    sums: dict[int, Tensor] = {}
    for number, gradient in zip(numbers, gradients):
        if gradient is not None:
            sums[number] = sums[number] + gradient if number in sums \
                else gradient
    return {number: as_maps(total) for number, total in sums.items()}


def pooled_rois(gradients: RoIGradients,
                rows: Sequence[Mapping[int, int]]) -> list[PooledRoIs]:
    """List the pools of all stages that have RoIs, in the order of a run.

    Args:
        gradients (RoIGradients): Whose stages they are.
        rows (Sequence[Mapping]): For each stage, the RoI of each detection.
    """
    pools = []
    for stage, stage_rows in zip(gradients.stages, rows):
        if stage_rows:
            rois = stage.rois[list(stage_rows.values())]
            pools += [PooledRoIs(pool, list(stage_rows), rois)
                      for pool in gradients.pools_of(stage)]
    return pools

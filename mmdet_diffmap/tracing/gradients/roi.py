# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of heads on regions of interest."""
from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..level_gradients import LevelGradients, LevelWindows
from ..modes import evaluation_mode
from ..recording import recording
from ..trace import OutputGradients, Tolerance, column_name
from .agreement import agree
from .crops import (
    PooledWindows,
    RoIStage,
    pooled_windows,
    windows_of_rois,
)
from .dense import DenseGradients, again
from .jacobian import RawPart, SparseJacobian, alike
from .products import vector_products

#: Bytes that a run of the head may take, and how many times what it gets the
#: values inside of a head are.
MEMORY_BUDGET = 2**28
HEAD_SIZE = 16


@dataclass(frozen=True)
class RoIGradients:
    """Gradients of the heads that run on pooled regions of interest.

    The outputs for an RoI depend on its own pooled features only. So the head
    runs again on the RoIs of the detections alone, and one backward pass for
    each column serves them all. Pooling is linear, and the way back through
    it two small products for each detection. Where several stages refine a
    box and vote on its score, all of them take part.

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

    @property
    def inputs(self) -> list[Tensor]:
        return self.stages[-1].inputs

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
        for some in self.chunks(rois):
            run = RoIRun.of(self, some)
            if run.agrees():
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
        pooled = sum(
            stage.inputs[0].shape[1] * stage.extractor.roi_layers[0].
            output_size[0] * stage.extractor.roi_layers[0].output_size[1]
            for stage in self.stages)
        size = max(1, MEMORY_BUDGET // (4 * HEAD_SIZE * pooled))
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
        """Compute the gradients of some detections from whole levels and all
        RoIs."""
        with recording():
            leaves = [level.detach().requires_grad_() for level in self.inputs]
            raw: list[Tensor] = []
            for stage in self.stages:
                with evaluation_mode(stage.head), \
                        evaluation_mode(stage.shared_head):
                    raw += stage.classify(
                        stage.extractor(tuple(leaves), stage.rois))
        yield from again(
            DenseGradients(self.stages[-1].head, leaves, raw, self.cut),
            outputs, columns, detections)


@dataclass(frozen=True)
class RoIRun:
    """The stages run again on the RoIs of some detections.

    Args:
        gradients (RoIGradients): Whose stages they are.
        rows (list[dict[int, int]]): For each stage, the RoI of each detection
            that has one, in the order of the run.
        leaves (list[Tensor]): For each stage, the pooled features, (n, C,
            bins, bins), leaves of the graph.
        raw (dict[int, Tensor]): The raw maps.
        windows (list[list[PooledWindows]]): The windows of the levels from
            which they were pooled; those of a detection are in one list.
    """
    gradients: RoIGradients
    rows: list[dict[int, int]]
    leaves: list[Tensor]
    raw: dict[int, Tensor]
    windows: list[list[PooledWindows]]

    @classmethod
    def of(cls, gradients: RoIGradients,
           detections: dict[int, list[int | None]]) -> RoIRun:
        """Run on detections, given their RoI in each stage."""
        rows: list[dict[int, int]] = [{
            detection: roi
            for detection, of_stages in detections.items()
            if (roi := of_stages[number]) is not None
        } for number in range(len(gradients.stages))]
        stages = gradients.stages
        windows = windows_of_rois(stages, rows, [
            stage.rois[list(stage_rows.values())]
            for stage, stage_rows in zip(stages, rows)
        ])
        # in the order of the windows, so that parts of a run are views
        order = dict.fromkeys(detection for group in windows
                              for where in group
                              for detection in where.windows.detections)
        rows = [{detection: stage_rows[detection] for detection in order
                 if detection in stage_rows} for stage_rows in rows]
        leaves, rois = [], []
        raw: dict[int, Tensor] = {}
        for stage, stage_rows in zip(stages, rows):
            rois.append(stage.rois[list(stage_rows.values())])
            with torch.no_grad():
                pooled = stage.extractor(tuple(stage.inputs), rois[-1])
            with recording(), evaluation_mode(stage.head), \
                    evaluation_mode(stage.shared_head):
                leaves.append(pooled.clone().requires_grad_())
                if stage_rows:
                    raw.update(zip(stage.raw, stage.classify(leaves[-1])))
        pooled_from = iter(pooled_windows(
            stages, rows, rois, [where for group in windows
                                 for where in group]))
        return cls(gradients, rows, leaves, raw, [
            [next(pooled_from) for _ in group] for group in windows
        ])

    def agrees(self) -> bool:
        """Whether the raw maps, and pooled features, are what they were."""
        pairs = []
        for stage, stage_rows in zip(self.gradients.stages, self.rows):
            rows = list(stage_rows.values())
            for number in stage.raw if rows else ():
                before = self.gradients.cut[number][rows]
                if before.shape != self.raw[number].shape:
                    return False
                pairs.append((self.raw[number].reshape(len(rows), -1),
                              before.reshape(len(rows), -1)))
        for group in self.windows:
            for windows in group:
                pairs += windows.pooled_again(self.leaves)
        return agree(pairs)

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
        gradients: dict[str, list[Tensor | None]] = {}
        for some, stacked in alike(jacobian.cotangents(columns, parts)):
            pooled = vector_products(
                [self.raw[number] for number in stacked], self.leaves,
                list(stacked.values()))
            for place, column in enumerate(some):
                gradients[column_name(column)] = [
                    None if gradient is None else gradient[place]
                    for gradient in pooled
                ]
        yield from self.through_pooling(gradients)

    def through_pooling(
        self, pooled: Mapping[str, Sequence[Tensor | None]]
    ) -> Iterator[OutputGradients]:
        """Go back through the pooling.

        Args:
            pooled (Mapping): By output, the gradient of the pooled features of
                each stage; None where there is no path.
        """
        for group in self.windows:
            # features in windows are shared by the outputs, and then dropped
            where = [LevelWindows(windows.where.feature,
                                  windows.where.windows) for windows in group]
            ways = [windows.way_back() for windows in group]
            for output, of_stages in pooled.items():
                yield OutputGradients(output, [
                    LevelGradients(way.gradients(of_stages), shared)
                    for way, shared in zip(ways, where)
                ])

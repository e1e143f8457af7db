# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of heads on regions of interest."""
from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..modes import evaluation_mode
from ..recording import recording
from ..trace import OUTPUTS, LevelGradient, OutputGradient
from .agreement import agree
from .crops import Crop, RoIStage, crop_batches, levels_of, pool
from .dense import DenseGradients, again
from .jacobian import SparseJacobian

CHUNK = 32  # detections in one run of the head


@dataclass(frozen=True)
class RoIGradients:
    """Gradients of the heads that run on pooled regions of interest.

    The outputs for an RoI depend on its own pooled features only. So the head
    runs again on the RoIs of the detections alone, pooled from crops of the
    levels, and one backward pass for each column serves them all. Where
    several stages refine a box and vote on its score, all of them take part.

    Every run is checked: the head must give for each RoI what it gave before.
    Where it does not, the detections take the dense way.

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

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
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
            else:
                for column in columns:
                    yield OutputGradient(detection, OUTPUTS[column], [])
        with_rois = list(rois)
        for start in range(0, len(with_rois), CHUNK):
            chunk = with_rois[start:start + CHUNK]
            run = RoIRun.of(self, {i: rois[i] for i in chunk})
            if run.agrees():
                yield from run.differentiate(jacobian, columns)
            else:
                elsewhere += chunk
            del run  # its graph, before the next one
        if elsewhere:
            yield from self.dense(outputs, columns, elsewhere)

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
              detections: list[int]) -> Iterator[OutputGradient]:
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
        batches (list[list[Crop]]): Crops of one level and size.
        leaves (list[Tensor]): Their features, each (n, C, h, w), leaves of
            the graph.
        raw (dict[int, Tensor]): The raw maps.
    """
    gradients: RoIGradients
    rows: list[dict[int, int]]
    batches: list[list[Crop]]
    leaves: list[Tensor]
    raw: dict[int, Tensor]

    @classmethod
    def of(cls, gradients: RoIGradients,
           detections: dict[int, list[int | None]]) -> RoIRun:
        """Run on detections, given their RoI in each stage."""
        stages = gradients.stages
        rows: list[dict[int, int]] = [{
            detection: roi
            for detection, of_stages in detections.items()
            if (roi := of_stages[number]) is not None
        } for number in range(len(stages))]
        rois = [
            stage.rois[list(stage_rows.values())]
            for stage, stage_rows in zip(stages, rows)
        ]
        levels = [levels_of(*each) for each in zip(stages, rois)]
        batches = crop_batches(stages, rows, rois, levels)
        with recording():
            leaves = [
                torch.cat([
                    gradients.inputs[crop.level][..., crop.top:crop.bottom,
                                                 crop.left:crop.right]
                    for crop in batch
                ]).detach().requires_grad_() for batch in batches
            ]
        raw: dict[int, Tensor] = {}
        for stage, stage_rows, stage_rois, stage_levels in zip(
                stages, rows, rois, levels):
            if not stage_rows:
                continue
            with recording(), evaluation_mode(stage.head), \
                    evaluation_mode(stage.shared_head):
                pooled = pool(stage, list(stage_rows), stage_rois,
                              stage_levels, batches, leaves)
                raw.update(zip(stage.raw, stage.classify(pooled)))
        return cls(gradients, rows, batches, leaves, raw)

    def agrees(self) -> bool:
        """Whether the raw maps are what they were."""
        pairs = []
        for stage, stage_rows in zip(self.gradients.stages, self.rows):
            rows = list(stage_rows.values())
            for number in stage.raw if rows else ():
                before = self.gradients.cut[number][rows]
                if before.shape != self.raw[number].shape:
                    return False
                pairs.append((self.raw[number].reshape(len(rows), -1),
                              before.reshape(len(rows), -1)))
        return agree(pairs)

    def differentiate(self, jacobian: SparseJacobian,
                      columns: Sequence[int]) -> Iterator[OutputGradient]:
        """Go back through the run, once for each column."""
        for column in columns:
            starts, cotangents = [], []
            for stage, stage_rows in zip(self.gradients.stages, self.rows):
                for number in stage.raw if stage_rows else ():
                    raw = self.raw[number]
                    each = raw[0].numel()
                    places = {
                        detection: partial(operator.add, (row - roi) * each)
                        for row, (detection, roi) in enumerate(
                            stage_rows.items())
                    }
                    if jacobian.reaches(number, column, places):
                        starts.append(raw)
                        cotangents.append(
                            jacobian.cotangent(number, raw, column, places))
            of_crops: Sequence[Tensor | None] = [None] * len(self.leaves)
            if starts:
                with recording():
                    of_crops = torch.autograd.grad(
                        starts,
                        self.leaves,
                        cotangents,
                        retain_graph=True,
                        allow_unused=True)
            yield from self.split(of_crops, OUTPUTS[column])

    def split(self, of_crops: Sequence[Tensor | None],
              output: str) -> Iterator[OutputGradient]:
        """Split the gradients of all crops by detection.

        Args:
            of_crops (Sequence[Tensor | None]): The gradient of each batch of
                crops; None where there is no path.
            output (str): The output of which they are.
        """
        inputs = self.gradients.inputs
        parts: dict[int, list[LevelGradient]] = {}
        for batch, gradient in zip(self.batches, of_crops):
            for index, crop in enumerate(batch):
                levels = parts.setdefault(crop.detection, [])
                if gradient is not None:
                    levels.append(
                        LevelGradient(crop.level,
                                      inputs[crop.level].detach()[0],
                                      gradient[index], crop.top, crop.left))
        for detection, levels in parts.items():
            yield OutputGradient(detection, output, levels)

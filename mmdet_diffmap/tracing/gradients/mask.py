# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of predicted masks."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..recording import recording
from ..trace import MASK, OutputGradients, Tolerance
from .agreement import agree
from .roi import RoIGradients, RoIRun
from .stages import RoIStage
from .whole import WholeGradients


@dataclass(frozen=True)
class MaskGradients:
    """Gradients of the output ``mask``: the mean logit inside the predicted
    mask, on the grid of the mask head.

    The mask branch runs on the detections' boxes, which are constants. Where
    no cell's probability reaches the threshold, there is no mask, and no
    gradient. Where the products of :class:`RoIGradients` do not pool what the
    branch got, gradients go back through its own pooling.

    Args:
        stage (RoIStage): The mask branch, with the levels that it gets.
        threshold (float): Probability from which on a cell is inside.
        labels (Tensor): The classes of the detections, shape (N, ).
    """
    stage: RoIStage
    threshold: float
    labels: Tensor

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        boxes = outputs.detach()[:, 1:5]
        stage = replace(
            self.stage, rois=torch.cat([boxes[:, :1] * 0, boxes], 1), raw=[0])
        gradients = RoIGradients([stage], [])
        rois: dict[int, list[int | None]] = {
            detection: [detection] for detection in range(len(boxes))
        }
        for some in gradients.chunks(rois):
            run = RoIRun.of(gradients, some)
            if not agree([], run.pooled_again()):
                yield from self.dense(stage, list(some))
                continue
            with recording():
                values = self.mean_logits(run.raw[0], list(some))
                pooled = torch.autograd.grad(values.sum(), run.leaves)
            yield from run.through_pooling({MASK: pooled})

    def dense(self, stage: RoIStage,
              detections: list[int]) -> Iterator[OutputGradients]:
        """Compute the gradients of some detections' masks from whole levels.

        Args:
            stage (RoIStage): The mask branch, on all boxes.
            detections (list[int]): Which.
        """
        with recording():
            leaves = [each.detach().requires_grad_() for each in stage.inputs]
            logits = stage.on_all(leaves)[0][detections]
            values = self.mean_logits(logits, detections)[:, None]
        for gradients in WholeGradients(leaves)(values, [0]):
            yield OutputGradients(MASK, [
                level.renumbered(detections) for level in gradients.levels
            ])

    def mean_logits(self, logits: Tensor, detections: list[int]) -> Tensor:
        """Take the mean logit inside of each predicted mask.

        Args:
            logits (Tensor): Shape (n, classes, h, w), or (n, 1, h, w) of a
                head that does not tell classes apart.
            detections (list[int]): The n detections.

        Returns:
            Tensor: The outputs (n, ); a constant where there is no mask.
        """
        if logits.shape[1] > 1:
            rows = torch.arange(len(logits), device=logits.device)
            logits = logits[rows, self.labels[detections]]
        logits = logits.flatten(1)
        inside = logits >= math.log(self.threshold / (1 - self.threshold))
        count = inside.sum(dim=1)
        return (logits * inside).sum(dim=1) / count.clamp(min=1)

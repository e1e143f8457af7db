# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of predicted masks."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..recording import recording
from ..trace import MASK, OutputGradient
from .crops import RoIStage
from .roi import CHUNK, RoIGradients, RoIRun


@dataclass(frozen=True)
class MaskGradients:
    """Gradients of the output ``mask``: the mean logit inside the predicted
    mask, on the grid of the mask head.

    The mask branch runs on the detections' boxes, which are constants. Where
    no cell's probability is above the threshold, there is no mask, and no
    gradient.

    Args:
        stage (RoIStage): The mask branch, with the levels that it gets.
        threshold (float): Probability above which a cell is inside.
        labels (Tensor): The classes of the detections, shape (N, ).
    """
    stage: RoIStage
    threshold: float
    labels: Tensor

    def __call__(self, outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
        boxes = outputs.detach()[:, 1:5]
        stage = replace(
            self.stage, rois=torch.cat([boxes[:, :1] * 0, boxes], 1), raw=[0])
        gradients = RoIGradients([stage], [])
        for start in range(0, len(boxes), CHUNK):
            chunk = range(start, min(start + CHUNK, len(boxes)))
            run = RoIRun.of(gradients,
                            {detection: [detection] for detection in chunk})
            with recording():
                values, exists = self.mean_logits(run.raw[0], chunk)
                of_crops = torch.autograd.grad(values.sum(), run.leaves)
            for gradient in run.split(of_crops, MASK):
                yield gradient if exists[gradient.detection - start] else \
                    replace(gradient, levels=[])

    def mean_logits(self, logits: Tensor,
                    detections: range) -> tuple[Tensor, list[bool]]:
        """Take the mean logit inside of each predicted mask.

        Args:
            logits (Tensor): Shape (n, classes, h, w), or (n, 1, h, w) of a
                head that does not tell classes apart.
            detections (range): The n detections.

        Returns:
            tuple: The outputs (n, ), and whether each detection has a mask.
        """
        if logits.shape[1] > 1:
            rows = torch.arange(len(logits), device=logits.device)
            logits = logits[rows, self.labels[list(detections)]]
        logits = logits.flatten(1)
        inside = logits > math.log(self.threshold / (1 - self.threshold))
        count = inside.sum(dim=1)
        return ((logits * inside).sum(dim=1) / count.clamp(min=1),
                (count > 0).tolist())

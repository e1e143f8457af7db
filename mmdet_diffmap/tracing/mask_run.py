# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The output ``mask`` of any detector that makes masks."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from .gradients import WholeGradients
from .heads import WholeRun, constant_boxes
from .mask_values import MaskValues
from .predicting import predict, predicting
from .recording import recording
from .segments import MEAN_LOGITS
from .target_layer import TargetLayer
from .trace import MASK, GradientSource, OutputGradients, Tolerance


@dataclass(frozen=True)
class MaskRun:
    """A second run of the whole detector, with its masks, and one backward
    pass for each mask that is explained.

    It runs when the first gradient is asked for.

    Args:
        model (BaseDetector): The detector.
        target (TargetLayer): The layer.
        preprocess (Callable): Gives the network's input (1, 3, H, W) and its
            data sample.
        detections (InstanceData): Those of the first run.
    """
    model: Any
    target: TargetLayer
    preprocess: Callable[[], tuple[Tensor, DetDataSample]]
    detections: InstanceData

    def of(self, rows: Tensor) -> GradientSource:
        """Return the gradients of some detections' masks.

        Args:
            rows (Tensor): Which detections of the first run, shape (n, ).
        """

        def source(outputs: Tensor, columns: Sequence[int],
                   tolerance: Tolerance | None) -> Iterator[OutputGradients]:
            leaves, values = self.ran
            with recording():
                outputs = values[rows][:, None]
            for gradients in WholeGradients(leaves)(outputs, [0]):
                yield replace(gradients, output=MASK)

        return source

    @cached_property
    def ran(self) -> tuple[list[Tensor], Tensor]:
        """The target layer's maps, and the output of each detection with a
        graph to them, shape (N, )."""
        run = WholeRun(self.model)
        values = MaskValues()
        inputs, sample = self.preprocess()
        with predicting(self.model, masks=True) as recorder, \
                self.target.capture(recorder) as captured, \
                run.hooks(recorder), constant_boxes(self.model), \
                values.listening():
            (predictions, ) = predict(self.model, inputs, [sample], values)
            if not self.same(predictions):
                raise ValueError(
                    'the output mask is that of final detections alone, as '
                    'the detector gives them each time that it runs')
            if MEAN_LOGITS in predictions:
                return captured.leaves, predictions[MEAN_LOGITS]
            real = values.of(predictions.masks)
            if real is None and len(predictions):
                raise ValueError(
                    f'{type(self.model).__name__} makes its masks in a way '
                    'that cannot be followed back to real numbers, so that '
                    'the output mask is not known')
            return captured.leaves, predictions.scores.detach() \
                if real is None else real.mean_logits(predictions.masks)

    def same(self, predictions: InstanceData) -> bool:
        """Whether predictions are the detections of the first run."""
        return len(predictions) == len(self.detections) and all(
            torch.allclose(predictions[name].detach(), self.detections[name])
            for name in ('scores', 'labels'))

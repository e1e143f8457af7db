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

from .heads import PooledRun, WholeRun, constant_boxes
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

    It runs when the first gradient is asked for. RoIs of which the first run
    has found that they are coupled are cut off where they are pooled.

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
            source_of_all, values = self.ran
            with recording():
                outputs = values[rows][:, None]
            for gradients in source_of_all(outputs, [0], tolerance):
                yield replace(gradients, output=MASK)

        return source

    @cached_property
    def ran(self) -> tuple[GradientSource, Tensor]:
        """The gradients of what is made of the masks, and the output of each
        detection, shape (N, )."""
        run = PooledRun.of(self.model, 'exact', None) or WholeRun(self.model)
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
            source = run.source(captured)
            if MEAN_LOGITS in predictions:
                return source, predictions[MEAN_LOGITS]
            real = values.of(predictions.masks)
            if real is None and len(predictions):
                raise ValueError(
                    f'{type(self.model).__name__} makes its masks in a way '
                    'that cannot be followed back to real numbers, so that '
                    'the output mask is not known')
            return source, predictions.scores.detach() \
                if real is None else real.mean_logits(predictions.masks)

    def same(self, predictions: InstanceData) -> bool:
        """Whether predictions are the detections of the first run."""
        return len(predictions) == len(self.detections) and all(
            torch.allclose(predictions[name].detach(), self.detections[name])
            for name in ('scores', 'labels'))

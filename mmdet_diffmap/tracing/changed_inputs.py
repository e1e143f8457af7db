# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector, run on changed copies of one image's input."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..maps.image_frame import ImageFrame
from .candidates import Candidates, recorded_candidates
from .heads import box_head
from .nested import flat_tensors
from .predicting import plain_detections, predict, predicting
from .prompts import is_chunked


@dataclass(frozen=True)
class ChangedInputs:
    """Runs a detector on changed copies (B, 3, H, W) of an image's input.

    Args:
        model (BaseDetector): The detector.
        sample (DetDataSample): The image's data sample, without predictions.
        frame (ImageFrame): Where the image lies in the input.
    """
    model: Any
    sample: DetDataSample
    frame: ImageFrame

    def detections(self, images: Tensor) -> list[InstanceData]:
        """Return the final detections of each input, in pixels of the
        original image.

        Raises:
            FloatingPointError: If the head gives NaN.
        """
        if is_chunked(self.model) and len(images) > 1:
            return [detections for image in images
                    for detections in self.detections(image[None])]
        samples = [self.sample.clone() for _ in images]
        with predicting(self.model), no_nan_from(box_head(self.model)):
            return list(map(plain_detections,
                            predict(self.model, images, samples)))

    def candidates(self, images: Tensor) -> list[Candidates]:
        """Return what the detector predicts for each input before its final
        filtering, in input pixels; the final detections where that is not
        known."""
        if is_chunked(self.model) and len(images) > 1:
            return [candidates for image in images
                    for candidates in self.candidates(image[None])]
        sample = self.sample.clone()
        # not without rescaling: some heads clip boxes to the image even then
        sample.set_metainfo(self.frame.metainfo_of_input())
        samples = [sample.clone() for _ in images]
        with predicting(self.model), \
                recorded_candidates(box_head(self.model)) as recorded:
            final = predict(self.model, images, samples)
        if len(recorded) != len(final):
            recorded = [None] * len(final)
        return [candidates or final_candidates(predictions)
                for candidates, predictions in zip(recorded, final)]


@contextmanager
def no_nan_from(head: nn.Module | None) -> Iterator[None]:
    """Make NaN in a head's raw maps an error in this context: mmdet's
    post-processing takes it for a low score.

    Raises:
        FloatingPointError: At the end, if there was any.
    """
    has_nan: list[Tensor] = []

    def look(module: nn.Module, args: tuple, output: Any) -> None:
        has_nan.extend(raw.isnan().any() for raw in flat_tensors(output))

    if head is None:
        yield
        return
    hook = head.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()
    if has_nan and torch.stack(has_nan).any():
        raise FloatingPointError(f'{type(head).__name__} gives NaN')


def final_candidates(predictions: InstanceData) -> Candidates:
    """Put final detections in the place of candidates."""
    return Candidates(
        get_box_tensor(predictions.bboxes), predictions.scores,
        predictions.labels)

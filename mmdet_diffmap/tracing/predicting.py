# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What all runs of a detector have in common."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import mask2bbox
from mmengine.structures import InstanceData
from torch import Tensor

from .candidates import NUMBERS
from .heads import without_masks
from .mask_values import MaskValues
from .modes import evaluation_mode
from .recording import Recorder
from .segments import Segments
from .turns import one_at_a_time


@contextmanager
def predicting(model: BaseDetector, masks: bool = False) -> Iterator[Recorder]:
    """Let a detector predict in this context: in evaluation mode, while no
    other thread does, and without gradients.

    Args:
        model (BaseDetector): The detector.
        masks (bool): Whether masks are made also where nothing else depends on
            them.

    Yields:
        Recorder: Switches gradients on.
    """
    with one_at_a_time(), Recorder().run() as recorder, \
            evaluation_mode(model), \
            nullcontext() if masks else without_masks(model):
        yield recorder


def predict(model: Any,
            inputs: Tensor,
            samples: list[DetDataSample],
            values: MaskValues | None = None,
            **options: Any) -> list[InstanceData]:
    """Return what a detector predicts for each image: mmdet's own
    ``pred_instances``, or the segments of a panoptic one.

    Boxes that are all zero, of detectors that give masks alone, become boxes
    around the masks.

    Args:
        model (BaseDetector): The detector.
        inputs (Tensor): What the network gets, shape (B, 3, H, W).
        samples (list[DetDataSample]): B of them; they get the predictions.
        values (MaskValues, optional): Listens to masks.
        **options: Of the detector's ``predict``.

    Raises:
        ValueError: If there are neither instances nor segments.
    """
    with Segments(values).listening(model) as segments:
        samples = model.predict(inputs, samples, **options)
    if all('pred_instances' in sample for sample in samples):
        return [with_boxes(sample.pred_instances) for sample in samples]
    if len(segments.images) != len(samples):
        raise ValueError(f'{type(model).__name__} predicts neither instances '
                         'nor panoptic segments of a known kind')
    return segments.images


def with_boxes(predictions: InstanceData) -> InstanceData:
    """Return predictions with boxes around their masks where all boxes are
    zero."""
    if 'masks' not in predictions or get_box_tensor(
            predictions.bboxes).any():
        return predictions
    predictions.bboxes = mask2bbox(predictions.masks).to(predictions.bboxes)
    return predictions


def has_own_boxes(predictions: InstanceData) -> bool:
    """Whether the boxes of predictions are more than what masks take up."""
    boxes = get_box_tensor(predictions.bboxes)
    if not len(predictions) or 'masks' not in predictions or \
            boxes.requires_grad:
        return True
    return not torch.equal(boxes, mask2bbox(predictions.masks).to(boxes))


def plain_detections(predictions: InstanceData) -> InstanceData:
    """Return boxes, scores and labels of mmdet's predictions, masks where
    there are any, and which candidates they were if that was noted, without a
    graph."""
    detections = InstanceData(
        bboxes=predictions.bboxes.detach(),
        scores=predictions.scores.detach(),
        labels=predictions.labels)
    for name in 'masks', NUMBERS:
        if name in predictions:
            detections.set_field(predictions.get(name), name)
    return detections

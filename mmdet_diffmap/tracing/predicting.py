# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What all runs of a detector have in common."""
from collections.abc import Iterator
from contextlib import contextmanager

from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData

from .candidates import NUMBERS
from .heads import without_masks
from .modes import evaluation_mode
from .recording import Recorder
from .turns import one_at_a_time


@contextmanager
def predicting(model: BaseDetector) -> Iterator[Recorder]:
    """Let a detector predict in this context: boxes alone, in evaluation
    mode, while no other thread does, and without gradients.

    Yields:
        Recorder: Switches gradients on.
    """
    with one_at_a_time(), Recorder().run() as recorder, \
            evaluation_mode(model), without_masks(model):
        yield recorder


def plain_detections(predictions: InstanceData) -> InstanceData:
    """Return boxes, scores and labels of mmdet's predictions, and which
    candidates they were if that was noted, without a graph."""
    detections = InstanceData(
        bboxes=predictions.bboxes.detach(),
        scores=predictions.scores.detach(),
        labels=predictions.labels)
    if NUMBERS in predictions:
        detections.set_field(predictions.get(NUMBERS), NUMBERS)
    return detections

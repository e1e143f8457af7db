# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which errors of a detector another one mends, and which it makes."""
from __future__ import annotations

import torch
from torchvision.ops import box_iou

from .kinds import DEFAULT_THRESHOLDS, Kind, Thresholds
from .records import DetectorRecord, ErrorRecord


def is_mended(error: ErrorRecord, other: DetectorRecord,
              thresholds: Thresholds = DEFAULT_THRESHOLDS) -> bool:
    """Tell whether another detector does not make an error.

    A missed object is mended if the other detector finds it. Any other error
    is if the other detector has no wrong detection of that class there (their
    IoU is that of the foreground at least), and finds the object if no
    detection of the first one does. What the two errors are called does not
    count.

    Args:
        error (ErrorRecord): The error.
        other (DetectorRecord): What the other detector did in the image.
        thresholds (Thresholds): Where two boxes are in one place.
    """
    errors = other.errors
    if error.object >= 0 and error.reason and \
            errors.found_by[error.object] < 0:
        return False
    if error.box is None or error.kind == Kind.MISSED.value:
        return True
    detections = errors.detections
    wrong = torch.tensor([kind not in (Kind.CORRECT, Kind.IGNORED)
                          for kind in errors.kinds], dtype=torch.bool)
    there = box_iou(
        torch.tensor([error.box], dtype=torch.double),
        detections.bboxes.double())[0] >= thresholds.foreground
    same = detections.labels == error.found_label
    return not bool((wrong & there & same).any())

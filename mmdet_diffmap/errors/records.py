# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the journal says of a detector's errors in an image."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.structures import InstanceData

from ..evaluation.ground_truth import GroundTruth
from ..evaluation.objects import rounded
from ..tracing.filtering import Fate
from .find import DetectorError, ExplainedErrors
from .kinds import ImageErrors, Kind

Box = Sequence[float]


@dataclass(frozen=True)
class ErrorRecord:
    """An error, ready for JSON. Boxes are (x1, y1, x2, y2) in pixels of the
    original image, rounded to hundredths.

    Args:
        kind (str): A value of :class:`Kind`.
        reason (str): Why no detection finds the object, a value of
            :class:`Mechanism`; empty where one does, or there is none.
        detection (int): Its number among the image's detections, the best
            first; -1 of a missed object.
        object (int): The annotated object; -1 of background.
        true_label (int): Its class; -1 of background.
        found_label (int): The class of the detection, or of the candidate
            that came nearest to a missed object; -1 without.
        score (float, optional): The score of the same.
        iou (float): Of the same with the object.
        fate (str): What became of the same; empty without.
        box (Sequence[float], optional): The same.
        truth (Sequence[float], optional): The annotated box.
        rival_score (float, optional): Of what it is compared with; see
            :class:`~mmdet_diffmap.errors.find.DetectorError`.
        rival_box (Sequence[float], optional): That.
    """
    kind: str
    reason: str
    detection: int
    object: int
    true_label: int
    found_label: int
    score: float | None
    iou: float
    fate: str
    box: Box | None
    truth: Box | None
    rival_score: float | None
    rival_box: Box | None

    @classmethod
    def of_error(cls, error: DetectorError,
                 explained: ExplainedErrors) -> ErrorRecord:
        """Write an error down."""
        everything = explained.candidates.trace.detections
        truth = explained.errors.truth
        candidate, rival, about = error.candidate, error.rival, error.object
        there = candidate >= 0
        return cls(
            kind=error.kind.value,
            reason=error.miss.mechanism.value if error.miss else '',
            detection=error.detection,
            object=about,
            true_label=int(truth.labels[about]) if about >= 0 else -1,
            found_label=int(everything.labels[candidate]) if there else -1,
            score=float(everything.scores[candidate]) if there else None,
            iou=error.iou,
            fate=name_of(Fate(int(
                explained.candidates.filtering.fates[candidate])))
            if there else '',
            box=rounded(everything.bboxes[candidate]) if there else None,
            truth=rounded(truth.bboxes[about]) if about >= 0 else None,
            rival_score=float(everything.scores[rival])
            if rival >= 0 else None,
            rival_box=rounded(everything.bboxes[rival])
            if rival >= 0 else None)


def name_of(fate: Fate) -> str:
    """Return the name of a fate as people write it.

    >>> name_of(Fate.BELOW_THRESHOLD)
    'below threshold'
    """
    return fate.name.lower().replace('_', ' ')


@dataclass(frozen=True)
class DetectorRecord:
    """What a detector did in an image.

    Args:
        errors (ImageErrors): The kinds of its detections, and which objects
            they find.
        records (list[ErrorRecord]): Its errors.
    """
    errors: ImageErrors
    records: list[ErrorRecord]

    @classmethod
    def of_explained(cls, explained: ExplainedErrors) -> DetectorRecord:
        """Write down what was found out."""
        return cls(explained.errors, [
            ErrorRecord.of_error(error, explained) for error in explained])

    def as_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        errors, detections = self.errors, self.errors.detections
        return dict(
            detections=dict(
                bboxes=detections.bboxes.tolist(),
                scores=detections.scores.tolist(),
                labels=detections.labels.tolist(),
                kinds=[kind.value for kind in errors.kinds],
                objects=errors.objects.tolist(),
                ious=errors.ious.tolist()),
            objects=dict(
                bboxes=errors.truth.bboxes.tolist(),
                labels=errors.truth.labels.tolist(),
                found_by=errors.found_by.tolist(),
                nearly_found_by=errors.nearly_found_by.tolist()),
            errors=[asdict(record) for record in self.records])

    @classmethod
    def of_json(cls, entry: dict[str, Any]) -> DetectorRecord:
        """Read what :meth:`as_json` gave."""
        detections, objects = entry['detections'], entry['objects']
        truth = GroundTruth.of_instances([
            dict(bbox=box, bbox_label=label) for box, label in zip(
                objects['bboxes'], objects['labels'])])
        errors = ImageErrors(
            InstanceData(
                bboxes=torch.tensor(detections['bboxes']).view(-1, 4),
                scores=torch.tensor(detections['scores']),
                labels=whole_numbers(detections['labels'])),
            truth, [Kind(kind) for kind in detections['kinds']],
            whole_numbers(detections['objects']),
            torch.tensor(detections['ious']),
            whole_numbers(objects['found_by']),
            whole_numbers(objects['nearly_found_by']))
        return cls(errors, [ErrorRecord(**record)
                            for record in entry['errors']])


def whole_numbers(values: list[int]) -> torch.Tensor:
    """Return numbers as int64, also if there are none."""
    return torch.tensor(values, dtype=torch.long)


@dataclass(frozen=True)
class ImageRecord:
    """What detectors did in an image.

    Args:
        image_id (int | str): Its id in the data set.
        path (str): Where it was read.
        detectors (list[DetectorRecord]): What the detector did, and what the
            one that it is compared with.
    """
    image_id: int | str
    path: str
    detectors: list[DetectorRecord]

    @classmethod
    def of_entry(cls, entry: dict[str, Any]) -> ImageRecord:
        """Read an entry of the journal."""
        return cls(entry['image_id'], entry['path'], [
            DetectorRecord.of_json(detector)
            for detector in entry['detectors']])

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is wrong about a detector's predictions for an image, and why."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torchvision.ops import box_iou

from ..evaluation.ground_truth import GroundTruth
from ..tracing.candidates import NUMBERS
from ..tracing.detector import DetectorAdapter
from ..tracing.filtering import CandidateTrace
from .kinds import (
    DEFAULT_THRESHOLDS,
    ERRORS,
    ImageErrors,
    Kind,
    Thresholds,
    image_errors,
)
from .misses import Miss, MissFinder


@dataclass(frozen=True)
class DetectorError:
    """A wrong detection, or a missed object.

    Args:
        kind (Kind): Which of ``ERRORS``.
        detection (int): Its number among the detections of
            :class:`ImageErrors`; -1 of a missed object.
        object (int): The annotated object that it is about; -1 of background.
        candidate (int): The candidate that the detection was, or that came
            nearest to the missed object; -1 if there is none.
        iou (float): Of the candidate and the object; 0 without.
        rival (int): The candidate that is to be compared with this one: the
            right detection that a duplicate doubles, or that is nearest to a
            box on the background; what suppressed it, or whose class was
            chosen, of a missed object. -1 if there is none.
        miss (Miss, optional): Why no detection finds the object, unless one
            does.
    """
    kind: Kind
    detection: int
    object: int
    candidate: int
    iou: float
    rival: int = -1
    miss: Miss | None = None


@dataclass(frozen=True)
class ExplainedErrors:
    """The errors of an image, with all candidates behind them.

    Args:
        errors (ImageErrors): The kinds of detections and objects.
        misses (dict[int, Miss]): For each annotated object that no detection
            finds, why.
        candidates (CandidateTrace): All that the head proposed. What is
            selected from its trace can be explained like detections.
        numbers (Tensor): Which candidate each detection was, int64, shape
            (N, ).
    """
    errors: ImageErrors
    misses: dict[int, Miss]
    candidates: CandidateTrace
    numbers: Tensor

    def __iter__(self) -> Iterator[DetectorError]:
        """List all errors: wrong detections, the best first, and missed
        objects."""
        errors = self.errors
        for number, kind in enumerate(errors.kinds):
            if kind in ERRORS:
                about = int(errors.objects[number])
                yield DetectorError(
                    kind, number, about, int(self.numbers[number]),
                    float(errors.ious[number]), self._rival(number, kind),
                    self.misses.get(about))
        for about in errors.of_kind(Kind.MISSED):
            miss = self.misses[about]
            iou = 0.
            if miss.candidate >= 0:
                box = self.candidates.trace.detections.bboxes[miss.candidate]
                iou = float(box_iou(
                    box[None].cpu(), errors.truth.bboxes[[about]]))
            yield DetectorError(Kind.MISSED, -1, about, miss.candidate, iou,
                                miss.rival, miss)

    def _rival(self, number: int, kind: Kind) -> int:
        """Return the candidate of the right detection that a wrong one is
        compared with; -1 if there is none."""
        errors = self.errors
        if kind is Kind.DUPLICATE:
            doubled = errors.found_by[errors.objects[number]]
            return int(self.numbers[doubled])
        right = errors.of_kind(Kind.CORRECT)
        if kind is not Kind.BACKGROUND or not right:
            return -1
        boxes = errors.detections.bboxes
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        distances = (middles[right] - middles[number]).norm(dim=1)
        # another object of its class comes first
        distances[errors.detections.labels[right] !=
                  errors.detections.labels[number]] += distances.max() + 1
        return int(self.numbers[right[int(distances.argmin())]])


def find_errors(adapter: DetectorAdapter,
                data: dict,
                instances: Sequence[dict],
                index: int = 0,
                score_thr: float = 0.3,
                thresholds: Thresholds = DEFAULT_THRESHOLDS
                ) -> ExplainedErrors:
    """Compare what a detector predicts for an image with its annotations.

    Args:
        adapter (DetectorAdapter): The detector; with a target layer, its
            candidates can be explained.
        data (dict): A batch; see :meth:`DetectorAdapter.trace`.
        instances (Sequence[dict]): What is annotated, in the form of mmdet's
            data sets: ``bbox`` (x1, y1, x2, y2) in pixels of the original
            image, ``bbox_label``, and ``ignore_flag`` of crowds.
        index (int): Which image of the batch.
        score_thr (float): Detections with a larger score count.
        thresholds (Thresholds): Where kinds of errors part.

    Raises:
        UnknownFilteringError: If the detector's candidates are not known; see
            :meth:`DetectorAdapter.trace_candidates`.
        ValueError: If an object is annotated whose class the detector lacks.

    Example:
        Explain why objects of a scene were missed::

            explained = find_errors(DetectorAdapter(model), data, instances)
            for number, miss in explained.misses.items():
                print(number, miss.mechanism.value)
            candidates = [miss.candidate for miss in explained.misses.values()
                          if miss.candidate >= 0]
            maps = ODAM().weigh(
                explained.candidates.trace.select(candidates)).maps
    """
    truth = GroundTruth.of_instances(instances)
    crowds = GroundTruth.of_instances([
        dict(instance, ignore_flag=0) for instance in instances
        if instance.get('ignore_flag')])
    check_labels(adapter, truth)
    candidates = adapter.trace_candidates(data, index)
    everything = candidates.trace.detections.cpu()
    filtering = candidates.filtering
    above = filtering.scores > score_thr
    numbers = filtering.detections[above]
    final = everything[numbers]
    final.set_field(filtering.scores[above], 'scores')
    final.set_field(numbers, NUMBERS)
    errors = image_errors(final, truth, crowds, thresholds)
    finder = MissFinder(errors, everything, filtering, candidates.trace.frame,
                        score_thr, thresholds)
    unfound = (errors.found_by < 0).nonzero()[:, 0].tolist()
    return ExplainedErrors(
        errors, {number: finder(number) for number in unfound}, candidates,
        errors.detections[NUMBERS])


def check_labels(adapter: DetectorAdapter, truth: GroundTruth) -> None:
    """Raise a ValueError if an object is annotated whose class a detector
    lacks, as far as it says which classes it has."""
    meta = getattr(adapter.model, 'dataset_meta', None) or {}
    classes = meta.get('classes')
    if classes is None or not len(truth):
        return
    largest = int(truth.labels.max())
    if largest >= len(classes) or int(truth.labels.min()) < 0:
        raise ValueError(
            f'an object of class {largest} is annotated, and the detector '
            f'knows {len(classes)} classes, 0 to {len(classes) - 1}: give '
            'annotations of its own classes')

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is wrong about a detector's predictions for an image, and why."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..tracing.detector import DetectorAdapter
from ..tracing.filtering import CandidateTrace
from .error_kinds import (
    DEFAULT_THRESHOLDS,
    ImageErrors,
    Thresholds,
    image_errors,
)
from .ground_truth import GroundTruth
from .misses import Miss, MissFinder


@dataclass(frozen=True)
class ExplainedErrors:
    """The errors of an image, with all candidates behind them.

    Args:
        errors (ImageErrors): The kinds of detections and objects.
        misses (dict[int, Miss]): For each annotated object that no detection
            finds, why.
        candidates (CandidateTrace): All that the head proposed. What is
            selected from its trace can be explained like detections.
    """
    errors: ImageErrors
    misses: dict[int, Miss]
    candidates: CandidateTrace


def find_errors(adapter: DetectorAdapter,
                data: dict,
                instances: Sequence[dict],
                index: int = 0,
                score_thr: float = 0.3,
                thresholds: Thresholds = DEFAULT_THRESHOLDS
                ) -> ExplainedErrors:
    """Compare what a detector predicts for an image with its annotations.

    Args:
        adapter (DetectorAdapter): The detector, with a target layer.
        data (dict): A batch; see :meth:`DetectorAdapter.trace`.
        instances (Sequence[dict]): What is annotated, in the form of mmdet's
            data sets: ``bbox`` (x1, y1, x2, y2) in pixels of the original
            image, ``bbox_label``, and ``ignore_flag`` of crowds.
        index (int): Which image of the batch.
        score_thr (float): Detections with a larger score count.
        thresholds (Thresholds): Where kinds of errors part.

    Raises:
        NotImplementedError: If the detector's candidates are not known; see
            :meth:`DetectorAdapter.trace_candidates`.
        ValueError: If an object is annotated whose class the detector lacks.

    Example:
        Explain why objects of a scene were missed::

            found = find_errors(DetectorAdapter(model), data, instances)
            for number, miss in found.misses.items():
                print(number, miss.mechanism.value)
            candidates = [miss.candidate for miss in found.misses.values()
                          if miss.candidate >= 0]
            heatmaps = ODAM()(found.candidates.trace.select(candidates))
    """
    truth = GroundTruth.of_instances(instances)
    crowds = GroundTruth.of_instances([
        dict(instance, ignore_flag=0) for instance in instances
        if instance.get('ignore_flag')])
    check_labels(adapter, truth)
    candidates = adapter.trace_candidates(data, index)
    everything, filtering = candidates.trace.detections, candidates.filtering
    detections = everything[filtering.detections]
    errors = image_errors(detections[detections.scores > score_thr], truth,
                          crowds, thresholds)
    finder = MissFinder(errors, everything, filtering, candidates.trace.frame,
                        score_thr, thresholds)
    unfound = (errors.found_by < 0).nonzero()[:, 0].tolist()
    return ExplainedErrors(
        errors, {number: finder(number) for number in unfound}, candidates)


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

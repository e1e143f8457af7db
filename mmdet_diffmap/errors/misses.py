# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Why a detector misses an object."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from ..maps.image_frame import ImageFrame
from ..tracing.candidates import NUMBERS
from ..tracing.filtering import Fate, Filtering
from .kinds import DEFAULT_THRESHOLDS, ImageErrors, Thresholds


class Mechanism(Enum):
    """By which part of a detector an object is missed."""
    NO_PROPOSAL = 'no proposal there'
    MOVED_AWAY = 'moved away by the regressor'
    NO_BOX = 'no box there'
    OTHER_CLASS = 'taken for another class'
    BACKGROUND = 'taken for background'
    WORSE_BOX = 'a worse box scores higher'
    NEIGHBOUR = 'suppressed by a neighbour'
    SHARED = 'its box finds a neighbour'
    CUT = 'cut by the maximum number'


@dataclass(frozen=True)
class Miss:
    """Why an object is missed.

    Args:
        mechanism (Mechanism): What went wrong.
        candidate (int): The candidate that came nearest to finding it; -1 if
            there is none. Of those at the object, the best of its class, else
            the best; of all others of its class, that which overlaps it most.
        rival (int): The candidate that suppressed this one, or the class of
            which was chosen in its place; -1 if there is none.
    """
    mechanism: Mechanism
    candidate: int
    rival: int = -1


@dataclass(frozen=True)
class MissFinder:
    """Finds out why the objects of an image are missed.

    The mechanisms are those of Miller et al., "What's in the Black Box? The
    False Negative Mechanisms Inside Object Detectors" (RA-L 2022, Algorithm
    1), in the order in which a detector works backwards. Where a candidate is
    at the object (its IoU is large enough), it has the object's class and a
    score above the threshold (then what left it out is to blame), or another
    class has such a score, or none has, so that the object was taken for
    background. Where no candidate is there, a proposal was, and was moved
    away, or none was.

    They call what non-maximum suppression leaves out badly calibrated. Here
    it is told apart: a worse box of the object itself scores higher; or it is
    a neighbour's box that suppresses it, the box itself that finds a
    neighbour, or the maximum number. Heads that begin at points or queries
    have no proposals, since a grid of points, or a set of queries, is there
    for every object alike. So only *no box there* is known of them.

    Args:
        errors (ImageErrors): Of the detections with scores above the
            threshold.
        candidates (InstanceData): All candidates, ``bboxes`` (P, 4) in pixels
            of the original image, ``scores`` and ``labels`` (P, ), on the CPU.
        filtering (Filtering): What became of them.
        frame (ImageFrame): Where the image lies in the network's input.
        score_thr (float): Detections with no larger score do not count.
        thresholds (Thresholds): Where a box is at an object.
    """
    errors: ImageErrors
    candidates: InstanceData
    filtering: Filtering
    frame: ImageFrame
    score_thr: float = 0.3
    thresholds: Thresholds = DEFAULT_THRESHOLDS

    def __call__(self, number: int) -> Miss:
        """Find out why a missed object is.

        Args:
            number (int): Which of the annotated objects.
        """
        truth = self.errors.truth
        label = truth.labels[number]
        ious = box_iou(truth.bboxes[[number]].to(self.candidates.bboxes),
                       self.candidates.bboxes)[0].nan_to_num(0)
        own = self.candidates.labels == label
        there = ious >= self.thresholds.foreground
        if not there.any():
            nearest = best(ious, own & (ious > 0))
            return Miss(self._without_box(number), nearest)
        scores = self.candidates.scores
        high = there & (scores > self.score_thr)
        nearest = best(scores, there & own)
        if (high & own).any():
            return self._left_out(nearest, number)
        rival = best(scores, high)
        if nearest < 0:
            nearest = best(scores, there)
        if rival >= 0:
            return Miss(Mechanism.OTHER_CLASS, nearest, rival)
        return Miss(Mechanism.BACKGROUND, nearest)

    def _without_box(self, number: int) -> Mechanism:
        """Return why no candidate is at an object."""
        proposals = self.filtering.proposals
        if proposals is None:
            return Mechanism.NO_BOX
        box = self.frame.to_input(self.errors.truth.bboxes[[number]])
        ious = box_iou(box.to(proposals), proposals).nan_to_num(0)
        return Mechanism.MOVED_AWAY if len(proposals) and \
            ious.max() >= self.thresholds.foreground else \
            Mechanism.NO_PROPOSAL

    def _left_out(self, candidate: int, number: int) -> Miss:
        """Return why a candidate of the right class, place and score does not
        find an object."""
        fate = self.filtering.fates[candidate]
        if fate == Fate.BELOW_THRESHOLD:  # the detector's own is higher
            return Miss(Mechanism.BACKGROUND, candidate)
        if fate == Fate.CUT:
            return Miss(Mechanism.CUT, candidate)
        if fate == Fate.KEPT:
            return Miss(self._kept(candidate), candidate)
        suppressor = int(self.filtering.suppressors[candidate])
        if suppressor < 0:
            return Miss(Mechanism.WORSE_BOX, candidate)
        labels = self.candidates.labels
        same = bool(labels[suppressor] == labels[candidate])
        if self._nearest_object(suppressor, same) != number:
            return Miss(Mechanism.NEIGHBOUR, candidate, suppressor)
        return Miss(Mechanism.WORSE_BOX if same else Mechanism.OTHER_CLASS,
                    candidate, suppressor)

    def _kept(self, candidate: int) -> Mechanism:
        """Return why a final detection does not find its object."""
        filtering = self.filtering
        score = filtering.scores[filtering.detections == candidate].max()
        if score <= self.score_thr:  # Soft-NMS lowered it
            return Mechanism.WORSE_BOX
        counted = self.errors.detections.get(NUMBERS)
        if counted is not None and not (counted == candidate).any():
            return Mechanism.CUT  # from those that are compared
        return Mechanism.SHARED

    def _nearest_object(self, candidate: int, same: bool) -> int:
        """Return the object, of its class alone or of any, that a candidate
        overlaps most."""
        truth = self.errors.truth
        ious = box_iou(
            self.candidates.bboxes[[candidate]].to(truth.bboxes),
            truth.bboxes)[0].nan_to_num(0)
        own = truth.labels == self.candidates.labels[candidate]
        return best(ious, own if same else torch.ones_like(own))


def best(values: Tensor, among: Tensor) -> int:
    """Return the place of the largest of some values, or -1 of none."""
    if not among.any():
        return -1
    return int(torch.where(among, values, -torch.inf).argmax())

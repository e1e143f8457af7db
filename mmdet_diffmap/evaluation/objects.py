# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which detections are right, and how well they are found again."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from ..tracing.trace import Trace
from .curves import DIGITS
from .ground_truth import GroundTruth
from .protocol import Protocol


def match_objects(detections: InstanceData, truth: GroundTruth,
                  score_thr: float,
                  iou_thr: float) -> tuple[list[int], list[int]]:
    """The detections that are right, best first, and what they found.

    In descending order of scores, each detection with a larger score than
    ``score_thr`` takes, of the annotated objects of its class that no other
    has taken, the one that overlaps most with it, if the IoU is larger than
    ``iou_thr``.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4) in pixels of the original
            image, ``scores`` (N, ), ``labels`` (N, ).
        truth (GroundTruth): The annotated objects.
        score_thr, iou_thr (float): See above.

    Returns:
        tuple: Indices of the detections, and of their objects.
    """
    scores = detections.scores.cpu()
    overlap = box_iou(detections.bboxes.cpu().float(), truth.bboxes)
    overlap *= detections.labels.cpu()[:, None] == truth.labels
    found: list[int] = []
    objects: list[int] = []
    order = scores.sort(descending=True, stable=True).indices
    for index in order[scores[order] > score_thr].tolist():
        if not len(truth):
            break
        best = int(overlap[index].argmax())
        if overlap[index, best] > iou_thr:
            overlap[:, best] = 0  # taken
            found.append(index)
            objects.append(best)
    return found, objects


def found_scores(objects: InstanceData, images: Sequence[InstanceData],
                 iou_thr: float) -> Tensor:
    """How well objects are found again in each of several images: the highest
    score of the detections of their class that overlap with their own box by
    more than ``iou_thr``.

    Args:
        objects (InstanceData): ``bboxes`` (N, 4) and ``labels`` (N, ).
        images (Sequence[InstanceData]): For each of B images, the detections:
            ``bboxes`` (P, 4), ``scores`` (P, ) and ``labels`` (P, ), in the
            same frame.
        iou_thr (float): See above.

    Returns:
        Tensor: Shape (B, N); 0 for an object that is not found.
    """
    # all images at once: for a fast detector, many small steps would count
    bboxes = torch.cat([one.bboxes for one in images])
    labels = torch.cat([one.labels for one in images])
    scores = torch.cat([one.scores for one in images])
    same = (objects.labels == labels[:, None]) & (
        box_iou(bboxes, objects.bboxes) > iou_thr)
    found = torch.where(same, scores[:, None], scores.new_zeros(()))
    image = torch.repeat_interleave(
        torch.tensor([len(one) for one in images])).to(scores.device)
    best = found.new_zeros(len(images), len(objects))
    return best.scatter_reduce_(0, image[:, None].expand_as(found), found,
                                'amax')


class ObjectChoice:
    """Chooses the objects of an image among its detections, the same for
    every run of the detector.

    Args:
        truth (GroundTruth): The annotated objects.
        protocol (Protocol): Says which detections are objects.

    Attributes:
        own (list[int]): Of each object, the annotated one that it found.
        scores (np.ndarray): How well each is found on the untouched image.
    """

    def __init__(self, truth: GroundTruth, protocol: Protocol) -> None:
        self.truth = truth
        self.protocol = protocol
        self.own: list[int] = []
        self.scores = np.zeros(0)
        self._keep: Tensor | None = None
        self._objects: InstanceData | None = None

    def __call__(self, trace: Trace) -> Trace:
        """The trace of the objects.

        Raises:
            FloatingPointError: If scores are not finite.
            RuntimeError: If another run of the detector finds others.
        """
        if self._keep is None:
            every = trace.detections
            if not every.scores.isfinite().all():
                raise FloatingPointError('the detector\'s scores are not '
                                         'finite')
            keep, self.own = match_objects(every, self.truth,
                                           self.protocol.score_thr,
                                           self.protocol.iou_thr)
            self._keep = torch.tensor(
                keep, dtype=torch.long, device=every.scores.device)
            self.scores = as_array(
                found_scores(every[self._keep], [every],
                             self.protocol.iou_thr)[0])
        chosen = trace.select(self._keep)
        self._objects = known = self._objects or chosen.detections
        found = chosen.detections
        if not torch.equal(known.labels, found.labels) or \
                not torch.allclose(known.bboxes, found.bboxes, atol=1):
            raise RuntimeError('two runs of the detector find different '
                               'objects in one image')
        return chosen

    def areas(self, trace: Trace) -> list[float]:
        """The areas of the objects' annotated boxes in pixels of the
        input."""
        bboxes = trace.frame.to_input(self.truth.bboxes[self.own])
        return (bboxes[:, 2:] - bboxes[:, :2]).double().prod(dim=1).tolist()

    def described(self, trace: Trace) -> list[dict[str, Any]]:
        """Each object for JSON; boxes in pixels of the original image,
        ``area`` in pixels of the input."""
        detections = trace.detections.cpu()
        return [
            dict(
                label=int(detections.labels[i]),
                score=round(float(detections.scores[i]), DIGITS),
                bbox=rounded(detections.bboxes[i]),
                truth=rounded(self.truth.bboxes[own]),
                area=round(area, 2))
            for i, (own, area) in enumerate(zip(self.own, self.areas(trace)))
        ]


def as_array(scores: Tensor) -> np.ndarray:
    return scores.double().cpu().numpy()


def rounded(bbox: Tensor) -> list[float]:
    """A box in hundredths of pixels."""
    return [round(value, 2) for value in bbox.tolist()]

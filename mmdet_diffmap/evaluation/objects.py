# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which detections are right, and how well they are found again."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from ..maps.image_frame import ImageFrame
from ..tracing.trace import NetworkInput, Trace
from .curves import DIGITS
from .ground_truth import GroundTruth
from .protocol import Protocol


def match_objects(detections: InstanceData, truth: GroundTruth,
                  score_thr: float,
                  iou_thr: float) -> tuple[list[int], list[int]]:
    """Match detections with annotated objects: which are right, best first,
    and what they found.

    In descending order of scores, each detection with a larger score than
    ``score_thr`` takes, of the annotated objects of its class that no other
    has taken, the one that overlaps most with it, if the IoU is larger than
    ``iou_thr``.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4), last dim (x1, y1, x2,
            y2), in pixels of the original image, ``scores`` (N, ),
            ``labels`` (N, ).
        truth (GroundTruth): The annotated objects.
        score_thr, iou_thr (float): See above.

    Returns:
        tuple: Indices of the detections, and of their objects.
    """
    scores = detections.scores.cpu()
    overlap = box_iou(detections.bboxes.cpu().float(), truth.bboxes)  # (N, M)
    overlap *= detections.labels.cpu()[:, None] == truth.labels
    right: list[int] = []
    objects: list[int] = []
    order = scores.sort(descending=True, stable=True).indices
    for index in order[scores[order] > score_thr].tolist():
        if not len(truth):
            break
        best = int(overlap[index].argmax())
        if overlap[index, best] > iou_thr:
            overlap[:, best] = 0  # taken
            right.append(index)
            objects.append(best)
    return right, objects


def matched_scores(objects: InstanceData, images: Sequence[InstanceData],
                   iou_thr: float) -> Tensor:
    """Compute how well objects are found again in each of several images: the
    highest score of the detections of their class that overlap with their own
    box by more than ``iou_thr``.

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
    bboxes = torch.cat([detections.bboxes for detections in images])
    labels = torch.cat([detections.labels for detections in images])
    scores = torch.cat([detections.scores for detections in images])
    same = (objects.labels == labels[:, None]) & (
        box_iou(bboxes, objects.bboxes) > iou_thr)  # (all P, N)
    scores = torch.where(same, scores[:, None], scores.new_zeros(()))
    image = torch.repeat_interleave(
        torch.tensor([len(detections) for detections in images]))
    best = scores.new_zeros(len(images), len(objects))
    return best.scatter_reduce_(
        0, image.to(scores.device)[:, None].expand_as(scores), scores, 'amax')


@dataclass(frozen=True)
class ObjectRecord:
    """What the journal says of an object.

    Args:
        label (int): The class of the detection.
        score (float): Its score.
        bbox (list[float]): Its box (x1, y1, x2, y2), in pixels of the
            original image.
        truth (list[float]): The annotated box, in the same frame.
        area (float): Of the annotated box, in pixels of the input.
    """
    label: int
    score: float
    bbox: list[float]
    truth: list[float]
    area: float


@dataclass(frozen=True)
class ImageObjects:
    """The objects of an image, and where they were found; without the graph
    of the run that found them.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4), last dim (x1, y1, x2,
            y2), in pixels of the original image, ``scores`` (N, ) and
            ``labels`` (N, ).
        truth (GroundTruth): All annotated objects of the image.
        own (list[int]): Of each object, the annotated one that it found.
        scores (np.ndarray): How well each is found on the untouched image,
            shape (N, ).
        frame (ImageFrame): Where the image lies in the network's input.
        input (NetworkInput): The network's input.
    """
    detections: InstanceData
    truth: GroundTruth
    own: list[int]
    scores: np.ndarray
    frame: ImageFrame
    input: NetworkInput

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.own)

    def areas(self) -> list[float]:
        """Compute the areas of the objects' annotated boxes in pixels of the
        input."""
        bboxes = self.frame.to_input(self.truth.bboxes[self.own])
        return (bboxes[:, 2:] - bboxes[:, :2]).double().prod(dim=1).tolist()

    def records(self) -> list[ObjectRecord]:
        """Return what the journal says of each object."""
        detections = self.detections.cpu()
        return [
            ObjectRecord(
                label=int(detections.labels[i]),
                score=round(float(detections.scores[i]), DIGITS),
                bbox=rounded(detections.bboxes[i]),
                truth=rounded(self.truth.bboxes[own]),
                area=round(area, 2))
            for i, (own, area) in enumerate(zip(self.own, self.areas()))
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the records, ready for JSON."""
        return [asdict(record) for record in self.records()]


class ObjectChoice:
    """Chooses the objects of an image among its detections, the same for
    every run of the detector.

    Args:
        truth (GroundTruth): The annotated objects.
        protocol (Protocol): Says which detections are objects.
    """

    def __init__(self, truth: GroundTruth, protocol: Protocol) -> None:
        self.truth = truth
        self.protocol = protocol
        self._own: list[int] = []
        self._scores = np.zeros(0)
        self._keep: Tensor | None = None
        self._objects: InstanceData | None = None

    def __call__(self, trace: Trace) -> Trace:
        """Select the objects of a trace.

        Raises:
            FloatingPointError: If scores are not finite.
            RuntimeError: If another run of the detector finds others.
        """
        if self._keep is None:
            self._keep = self._choose(trace.detections)
        selected = trace.select(self._keep)
        if self._objects is None:
            self._objects = selected.detections
        if not same_objects(self._objects, selected.detections):
            raise RuntimeError('two runs of the detector find different '
                               'objects in one image')
        return selected

    def objects_of(self, trace: Trace) -> ImageObjects:
        """Return the objects of a trace that this choice selected."""
        return ImageObjects(trace.detections, self.truth, self._own,
                            self._scores, trace.frame, trace.input)

    def _choose(self, detections: InstanceData) -> Tensor:
        """Return the indices of the detections that are objects."""
        if not detections.scores.isfinite().all():
            raise FloatingPointError('the detector\'s scores are not finite')
        keep, self._own = match_objects(detections, self.truth,
                                        self.protocol.score_thr,
                                        self.protocol.iou_thr)
        indices = torch.tensor(
            keep, dtype=torch.long, device=detections.scores.device)
        (scores, ) = matched_scores(detections[indices], [detections],
                                    self.protocol.iou_thr)
        self._scores = as_array(scores)
        return indices


def same_objects(objects: InstanceData, others: InstanceData) -> bool:
    """Whether classes are equal, and boxes up to a pixel."""
    return torch.equal(objects.labels, others.labels) and \
        torch.allclose(objects.bboxes, others.bboxes, atol=1)


def as_array(scores: Tensor) -> np.ndarray:
    """Return scores as an array in double precision."""
    return scores.double().cpu().numpy()


def rounded(bbox: Tensor) -> list[float]:
    """Return a box in hundredths of pixels."""
    return [round(value, 2) for value in bbox.tolist()]

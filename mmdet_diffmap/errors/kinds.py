# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which detections of an image are wrong, and which objects were missed."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from ..evaluation.ground_truth import GroundTruth


class Kind(Enum):
    """What a detection is, or an annotated object that no detection is."""
    CORRECT = 'correct'
    WRONG_CLASS = 'wrong class'
    BADLY_PLACED = 'badly placed'
    BOTH = 'wrong class, badly placed'
    DUPLICATE = 'duplicate'
    BACKGROUND = 'background'
    MISSED = 'missed'
    IGNORED = 'ignored'  # in a crowd: neither right nor wrong


#: The kinds that are errors, in the order of TIDE.
ERRORS = (Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.BOTH, Kind.DUPLICATE,
          Kind.BACKGROUND, Kind.MISSED)


@dataclass(frozen=True)
class Thresholds:
    """Where kinds part (TIDE, Bolya et al., ECCV 2020, section 2.2).

    Args:
        foreground (float): The IoU from which a detection is at an object.
        background (float): The IoU up to which it is at none.

    Raises:
        ValueError: Unless 0 <= background < foreground <= 1.
    """
    foreground: float = 0.5
    background: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.background < self.foreground <= 1:
            raise ValueError(
                'thresholds must be 0 <= background < foreground <= 1, not '
                f'{self.background} and {self.foreground}')


#: Those of the paper.
DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class ImageErrors:
    """The kinds of an image's N detections and M annotated objects.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4), ``scores`` and
            ``labels`` (N, ).
        truth (GroundTruth): The annotated objects.
        kinds (list[Kind]): Of each detection.
        objects (Tensor): Which object each detection is about: that which it
            finds, doubles, or would find with another class or place; int64,
            shape (N, ), -1 where there is none.
        ious (Tensor): The IoU with that object, shape (N, ).
        found_by (Tensor): Which detection finds each object, int64, shape
            (M, ); -1 where none does.
        nearly_found_by (Tensor): Of each object that none finds, the best
            detection that has only the wrong class or a bad place, int64,
            shape (M, ); -1 where there is none. The object is missed.
    """
    detections: InstanceData
    truth: GroundTruth
    kinds: list[Kind]
    objects: Tensor
    ious: Tensor
    found_by: Tensor
    nearly_found_by: Tensor

    @property
    def missed(self) -> Tensor:
        """The missed objects, int64."""
        return ((self.found_by < 0) & (self.nearly_found_by < 0)
                ).nonzero()[:, 0]

    def of_kind(self, kind: Kind) -> list[int]:
        """List the detections of a kind, or the missed objects."""
        if kind is Kind.MISSED:
            return self.missed.tolist()
        return [number for number, own in enumerate(self.kinds)
                if own is kind]


def image_errors(detections: InstanceData,
                 truth: GroundTruth,
                 crowds: GroundTruth | None = None,
                 thresholds: Thresholds = DEFAULT_THRESHOLDS,
                 max_detections: int = 100) -> ImageErrors:
    """Tell the kinds of an image's detections and objects, as TIDE does
    (Bolya et al., ECCV 2020, section 2.2).

    The best detection comes first, and finds the object of its class that
    overlaps it most, of those that none has found. Of what finds nothing, the
    first of these holds: it is *badly placed* (overlaps an object of its class
    between the thresholds), has the *wrong class* (overlaps one of another
    class enough), is a *duplicate* (overlaps a found object of its class
    enough), *background* (overlaps none), or *both* badly placed and of the
    wrong class. An object is *missed* if no detection finds it, nor would with
    another class, or another place, alone.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4), last dim (x1, y1, x2,
            y2) in pixels of the original image, ``scores`` and ``labels``
            (N, ).
        truth (GroundTruth): The annotated objects.
        crowds (GroundTruth, optional): What is annotated to be ignored:
            detections of its class that lie in it, and find nothing, are
            neither right nor wrong.
        thresholds (Thresholds): Where kinds part.
        max_detections (int): So many of the best detections count, and the
            others are left out.

    Example:
        >>> truth = GroundTruth.of_instances([
        ...     dict(bbox=[0, 0, 10, 10], bbox_label=1),
        ...     dict(bbox=[30, 0, 40, 10], bbox_label=1)])
        >>> detections = InstanceData(
        ...     bboxes=torch.tensor([[0., 0., 10., 9.], [0., 0., 10., 4.]]),
        ...     scores=torch.tensor([.9, .8]), labels=torch.tensor([1, 1]))
        >>> errors = image_errors(detections, truth)
        >>> [kind.value for kind in errors.kinds], errors.missed.tolist()
        (['correct', 'badly placed'], [1])
    """
    detections = detections.cpu()
    order = torch.sort(detections.scores, descending=True, stable=True).indices
    detections = detections[order[:max_detections]]
    ious = box_iou(detections.bboxes.double(), truth.bboxes.double())
    ious = ious.nan_to_num(0)  # of two boxes without an area
    same = detections.labels[:, None] == truth.labels
    found_by = match(ious * same, thresholds.foreground)
    count = len(detections)
    finds = torch.full((count, ), -1)
    finds[found_by[found_by >= 0]] = (found_by >= 0).nonzero()[:, 0]
    in_crowd = lies_in_crowd(detections, crowds, thresholds.foreground)
    kinds, objects = [], torch.full((count, ), -1)
    nearly = torch.full((len(truth), ), -1)
    for number in range(count):
        if finds[number] >= 0:
            kind, about = Kind.CORRECT, int(finds[number])
        elif in_crowd[number]:
            kind, about = Kind.IGNORED, -1
        else:
            kind, about = kind_of(ious[number], same[number], found_by >= 0,
                                  thresholds)
        kinds.append(kind)
        objects[number] = about
        if kind in (Kind.WRONG_CLASS, Kind.BADLY_PLACED) and \
                found_by[about] < 0 and nearly[about] < 0:
            nearly[about] = number
    overlaps = torch.zeros(count, dtype=ious.dtype)
    at_object = objects >= 0
    overlaps[at_object] = ious[at_object, objects[at_object]]
    return ImageErrors(detections, truth, kinds, objects, overlaps, found_by,
                       nearly)


def match(ious: Tensor, foreground: float) -> Tensor:
    """Give each object to the best detection that may have it.

    Args:
        ious (Tensor): Of detections, the best first, and objects of their
            class, (N, M), 0 elsewhere.
        foreground (float): The IoU that is asked for.

    Returns:
        Tensor: By which detection each object is found, int64, shape (M, ).
    """
    found_by = torch.full((ious.shape[1], ), -1)
    if not ious.shape[1]:
        return found_by
    free = ious.clone()
    for number, row in enumerate(free):
        overlap, about = row.max(dim=0)
        if overlap >= foreground:
            found_by[about] = number
            free[:, about] = 0
    return found_by


def kind_of(ious: Tensor, same: Tensor, found: Tensor,
            thresholds: Thresholds) -> tuple[Kind, int]:
    """Return the kind of a detection that finds nothing, and which object it
    is about; see :func:`image_errors`.

    Args:
        ious (Tensor): With each object, (M, ).
        same (Tensor): Whether they are of its class, bool (M, ).
        found (Tensor): Whether they are found, bool (M, ).
        thresholds (Thresholds): Where kinds part.
    """
    if not len(ious):
        return Kind.BACKGROUND, -1
    (own, own_at), (other, other_at), (doubled, doubled_at), (any_iou, at) = (
        (float(values.max()), int(values.argmax())) for values in (
            ious * same, ious * ~same, ious * (same & found), ious))
    if own > 0 and thresholds.background <= own <= thresholds.foreground:
        return Kind.BADLY_PLACED, own_at
    if other >= thresholds.foreground:
        return Kind.WRONG_CLASS, other_at
    if doubled >= thresholds.foreground:
        return Kind.DUPLICATE, doubled_at
    if any_iou <= thresholds.background:
        return Kind.BACKGROUND, -1
    return Kind.BOTH, at


def lies_in_crowd(detections: InstanceData, crowds: GroundTruth | None,
                  foreground: float) -> Tensor:
    """Tell whether each detection lies in a crowd of its class by a share of
    its own area at least, as COCO counts it; bool, shape (N, )."""
    if crowds is None or not len(crowds):
        return torch.zeros(len(detections), dtype=torch.bool)
    boxes = detections.bboxes.double()
    low = torch.maximum(boxes[:, None, :2], crowds.bboxes.double()[:, :2])
    high = torch.minimum(boxes[:, None, 2:], crowds.bboxes.double()[:, 2:])
    inside = (high - low).clamp(min=0).prod(dim=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    same = detections.labels[:, None] == crowds.labels
    areas = areas[:, None]
    return ((inside >= foreground * areas) & (areas > 0) & same).any(dim=1)

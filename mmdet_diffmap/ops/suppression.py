# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Non-maximum suppression in place of mmcv's."""
import torch
import torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Return the indices of the boxes that non-maximum suppression keeps.

    Args:
        boxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ), of any floating-point type: heads may
            give boxes in single precision only.
        iou_threshold (float): A box is dropped when its IoU with a better
            one is larger.
        offset (int): 0, or 1 for boxes whose last pixel is included.

    Returns:
        Tensor: int64, shape (num_kept, ), best score first.

    >>> boxes = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.]])
    >>> nms(boxes, torch.tensor([0.5, 0.9]), iou_threshold=0.5, offset=0)
    tensor([1])
    """
    if offset:  # a width of x2 - x1 + 1 is the width of a box one wider
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    dtype = torch.promote_types(boxes.dtype, scores.dtype)
    return torchvision.ops.nms(
        boxes.to(dtype), scores.to(dtype), iou_threshold)


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float,
            sigma: float, min_score: float, method: int,
            offset: int) -> Tensor:
    """Suppress softly (Soft-NMS; Bodla et al., ICCV 2017): a box lowers the
    scores of those that it overlaps.

    Args:
        boxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ).
        dets (Tensor): Gets the boxes that are kept and their new scores,
            best first, shape (N, 5).
        iou_threshold (float): From which IoU on, for methods 0 and 1.
        sigma (float): Of method 2.
        min_score (float): A box is dropped below it.
        method (int): The factor of an overlap: 0 nothing remains, 1 one
            minus the IoU, 2 ``exp(-IoU² / sigma)``.
        offset (int): See :func:`nms`.

    Returns:
        Tensor: int64, indices of the boxes that are kept, shape (num_kept, ).
    """
    scores = scores.clone()
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    areas = sides.prod(dim=1)
    waiting = torch.ones_like(scores, dtype=torch.bool)
    kept: list[int] = []
    while waiting.any():
        best = int(scores.masked_fill(~waiting, -torch.inf).argmax())
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        waiting[best] = False
        inside = (torch.minimum(boxes[best, 2:], boxes[:, 2:]) - torch.maximum(
            boxes[best, :2], boxes[:, :2]) + offset).clamp(min=0).prod(dim=1)
        iou = inside / (areas[best] + areas - inside)
        if method == 0:
            factor = (iou < iou_threshold).to(iou)
        elif method == 1:
            factor = torch.where(iou >= iou_threshold, 1 - iou, 1)
        else:
            factor = torch.exp(-iou**2 / sigma)
        scores = torch.where(waiting, scores * factor, scores)
        waiting &= scores >= min_score
    return torch.tensor(kept, dtype=torch.int64)

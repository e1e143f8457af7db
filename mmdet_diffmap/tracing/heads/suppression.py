# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Non-maximum suppression with a way back, and a short one."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmcv.ops.nms import NMSop
from torch import Tensor

from ..gradients.value_of import ValueOf

#: Of how many boxes on mmcv suppresses class by class, unless told otherwise,
#: and the settings of plain suppression.
SPLIT = 10000
SETTINGS = {'iou_threshold', 'offset', 'score_threshold', 'max_num'}


def suppress_batch(original: Callable, boxes: Tensor, scores: Tensor,
                   idxs: Tensor, nms_cfg: dict | None, *args: Any,
                   **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Do as mmcv's ``batched_nms``, of which plain suppression is a choice of
    rows on the way back. Of many boxes, mmcv writes the scores of one class
    after the other into one tensor, and would go back through all of these
    steps."""
    if not nms_cfg or nms_cfg.get('type', 'nms') != 'nms':
        return original(boxes, scores, idxs, nms_cfg, *args, **kwargs)
    settings = {name: value for name, value in nms_cfg.items()
                if name not in ('type', 'split_thr')}
    with torch.no_grad():
        if len(boxes) >= nms_cfg.get('split_thr', SPLIT) and \
                not (args or kwargs) and set(settings) <= SETTINGS:
            kept = kept_of_classes(boxes, scores, idxs, **settings)
        else:
            _, kept = original(boxes, scores, idxs, nms_cfg, *args, **kwargs)
    return torch.cat([boxes[kept], scores[kept, None]], dim=-1), kept


def kept_of_classes(boxes: Tensor,
                    scores: Tensor,
                    idxs: Tensor,
                    iou_threshold: float,
                    offset: int = 0,
                    score_threshold: float = 0,
                    max_num: int = -1) -> Tensor:
    """Return which boxes are left when each class is suppressed alone, the
    best first: those of mmcv's ``batched_nms``, which looks for the boxes of
    each class among all, and so takes as long as classes times boxes.

    Args:
        boxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2).
        scores (Tensor): Shape (N, ).
        idxs (Tensor): The class of each, shape (N, ).
        iou_threshold, offset, score_threshold, max_num: As mmcv's ``nms``
            takes them.

    Returns:
        Tensor: Rows of ``boxes``, int64.
    """
    # mmcv moves classes apart, which rounds the corners
    apart = boxes + (idxs.to(boxes) * (boxes.max() + 1))[:, None]
    order = idxs.sort(stable=True).indices
    counts = torch.unique(idxs, return_counts=True)[1].tolist()
    kept = torch.cat([
        rows[NMSop.apply(own, own_scores, iou_threshold, offset,
                         score_threshold, -1)]
        for rows, own, own_scores in zip(
            order.split(counts), apart[order].split(counts),
            scores[order].split(counts))
    ]).sort().values
    kept = kept[scores[kept].sort(descending=True).indices]
    return kept[:max_num] if max_num > 0 else kept


class SoftNMS:
    """mmcv's ``soft_nms`` (Bodla et al., ICCV 2017), whose scores keep their
    graph: a kept box's score is its own times a factor for each better box
    that it overlaps.

    Args:
        original (Callable): mmcv's function.
    """

    def __init__(self, original: Callable) -> None:
        self.original = original

    def __call__(self,
                 boxes: Tensor,
                 scores: Tensor,
                 iou_threshold: float = 0.3,
                 sigma: float = 0.5,
                 min_score: float = 1e-3,
                 method: str = 'linear',
                 offset: int = 0) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            dets, kept = self.original(boxes, scores, iou_threshold, sigma,
                                       min_score, method, offset)
        boxes = boxes[kept]
        low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        inside = (high - low + offset).clamp(min=0).prod(dim=2)
        areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
        iou = inside / (areas[:, None] + areas - inside)
        if method == 'gaussian':
            factors = torch.exp(-iou**2 / sigma)
        elif method == 'linear':
            factors = torch.where(iou >= iou_threshold, 1 - iou, 1)
        else:  # what it would lower is gone
            factors = torch.ones_like(iou)
        # each is lowered by those before it
        above = torch.ones_like(factors, dtype=torch.bool).tril(-1)
        lowered = scores[kept] * torch.where(above, factors, 1).prod(dim=1)
        return torch.cat([boxes, ValueOf.apply(lowered, dets[:, 4])[:, None]],
                         dim=1), kept

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Pooling regions of interest from crops of the levels."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..nested import flat_tensors

MARGIN = 2  # cells around an RoI that bilinear sampling may read
STEP = 8  # heights and widths of crops are multiples of it


@dataclass
class RoIStage:
    """One stage of a two-stage detector's second part.

    Args:
        extractor (nn.Module): Pools RoIs from the levels, each from one; has
            ``map_roi_levels`` and ``roi_layers``.
        shared_head (nn.Module): Runs on the pooled features.
        head (nn.Module): Runs on its result.
        inputs (list[Tensor]): The levels that the extractor got, each (1, C,
            H, W).
        rois (Tensor): The RoIs that it got, shape (K, 5), last dim (image,
            x1, y1, x2, y2) in input pixels.
        raw (list[int]): The raw maps that the head gave, by their place among
            those of all stages.
    """
    extractor: Any
    shared_head: nn.Module
    head: Any
    inputs: list[Tensor] = field(default_factory=list)
    rois: Tensor = field(default_factory=lambda: torch.zeros(0, 5))
    raw: list[int] = field(default_factory=list)

    def classify(self, pooled: Tensor) -> list[Tensor]:
        """Compute the raw maps of pooled features."""
        return flat_tensors(self.head.forward(self.shared_head(pooled)))


@dataclass
class Crop:
    """The part of a level in which RoIs of one detection lie.

    Args:
        detection (int): Index of the detection.
        level (int): The level.
        top, left, bottom, right (int): Cells; the last row and column are
            outside.
    """
    detection: int
    level: int
    top: int
    left: int
    bottom: int
    right: int


def levels_of(stage: RoIStage, rois: Tensor) -> list[int]:
    """List the level that each RoI is pooled from."""
    count = len(stage.inputs)
    if count == 1:
        return [0] * len(rois)
    return stage.extractor.map_roi_levels(rois, count).tolist()


def crop_batches(stages: list[RoIStage], rows: list[dict[int, int]],
                 rois: list[Tensor],
                 levels: list[list[int]]) -> list[list[Crop]]:
    """Make the crops in which the RoIs of all stages lie.

    Args:
        stages (list[RoIStage]): The stages.
        rows (list[dict[int, int]]): For each stage, the RoI of each detection
            that has one.
        rois (list[Tensor]): For each stage, these RoIs, each (n, 5).
        levels (list[list[int]]): For each stage, the level of each of them.

    Returns:
        list[list[Crop]]: Batches of one level and size.
    """
    crops: dict[tuple[int, int], Crop] = {}
    for stage, stage_rows, stage_rois, stage_levels in zip(
            stages, rows, rois, levels):
        for detection, box, level in zip(stage_rows,
                                         stage_rois[:, 1:].tolist(),
                                         stage_levels):
            scale = stage.extractor.roi_layers[level].spatial_scale
            left, top, right, bottom = (
                math.floor(side * scale) for side in box)
            crop = crops.setdefault(
                (detection, level),
                Crop(detection, level, top, left, bottom, right))
            crop.top = min(crop.top, top)
            crop.left = min(crop.left, left)
            crop.bottom = max(crop.bottom, bottom)
            crop.right = max(crop.right, right)
    batches: dict[tuple[int, int, int], list[Crop]] = {}
    for crop in crops.values():
        height, width = stages[-1].inputs[crop.level].shape[-2:]
        crop.top, crop.bottom = widened(crop.top, crop.bottom, height)
        crop.left, crop.right = widened(crop.left, crop.right, width)
        size = crop.bottom - crop.top, crop.right - crop.left
        batches.setdefault((crop.level, *size), []).append(crop)
    return list(batches.values())


def widened(first: int, last: int, length: int) -> tuple[int, int]:
    """Widen a range of cells by what bilinear sampling may read around it, to
    a multiple of ``STEP`` or the whole length.

    Args:
        first (int): The first cell.
        last (int): The last cell, inside.
        length (int): The number of cells of the level.

    Returns:
        tuple: The first cell, and the one after the last.

    >>> widened(40, 60, 100)
    (38, 70)
    """
    size = last - first + 1 + 2 * MARGIN
    size = min(-(-size // STEP) * STEP, length)
    start = max(0, min(first - MARGIN, length - size))
    return start, start + size


def pool(stage: RoIStage, detections: list[int], rois: Tensor,
         levels: list[int], batches: list[list[Crop]],
         leaves: list[Tensor]) -> Tensor:
    """Pool RoIs of a stage from crops.

    Args:
        stage (RoIStage): The stage.
        detections (list[int]): The detection of each RoI.
        rois (Tensor): The RoIs, (n, 5), last dim (image, x1, y1, x2, y2) in
            input pixels.
        levels (list[int]): The level of each.
        batches (list[list[Crop]]): See :func:`crop_batches`.
        leaves (list[Tensor]): The features of each batch of crops.

    Returns:
        Tensor: The pooled features, (n, C, h, w).
    """
    row = {
        (detection, level): index
        for index, (detection, level) in enumerate(zip(detections, levels))
    }
    pooled, order = [], []
    for batch, leaf in zip(batches, leaves):
        here = [(index, crop, row[crop.detection, crop.level])
                for index, crop in enumerate(batch)
                if (crop.detection, crop.level) in row]
        if not here:
            continue
        layer = stage.extractor.roi_layers[batch[0].level]
        images = rois.new_tensor([[index] for index, _, _ in here])
        corners = rois.new_tensor(
            [[crop.left, crop.top] * 2 for _, crop, _ in here])
        boxes = rois[[place for _, _, place in here], 1:]
        boxes = boxes - corners / layer.spatial_scale
        pooled.append(layer(leaf, torch.cat([images, boxes], dim=1)))
        order += [place for _, _, place in here]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return torch.cat(pooled)[inverse]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is annotated of an image."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor


@dataclass(frozen=True)
class GroundTruth:
    """The annotated objects of an image, those that are not to be ignored.

    Args:
        bboxes (Tensor): Shape (M, 4), last dim (x1, y1, x2, y2), in pixels of
            the original image.
        labels (Tensor): Shape (M, ).
        masks (list): For each, what the data set gives: polygons, RLE, or
            None.
        parts (list): For each, what tells it from the others, in the same
            form.
    """
    bboxes: Tensor
    labels: Tensor
    masks: list[Any]
    parts: list[Any]

    @classmethod
    def of_instances(cls, instances: Sequence[dict]) -> GroundTruth:
        """From the ``instances`` of mmdet's data sets."""
        known = [one for one in instances if not one.get('ignore_flag')]
        return cls(
            torch.tensor([one['bbox'] for one in known],
                         dtype=torch.float).view(-1, 4),
            torch.tensor([one['bbox_label'] for one in known],
                         dtype=torch.long),
            [one.get('mask') for one in known],
            [one.get('part') for one in known])

    def __len__(self) -> int:
        return len(self.labels)

    def mask_arrays(self, shape: Sequence[int]) -> np.ndarray | None:
        """The masks as bool (M, H, W); None if an object has none."""
        return region_arrays(self.masks, shape)

    def part_arrays(self, shape: Sequence[int]) -> np.ndarray | None:
        """The same for the parts that tell objects apart."""
        return region_arrays(self.parts, shape)


def region_arrays(regions: Sequence[Any],
                  shape: Sequence[int]) -> np.ndarray | None:
    """Polygons or run lengths as bool (M, H, W); None if one is missing."""
    if not all(regions):
        return None
    height, width = shape
    arrays = np.zeros((len(regions), height, width), bool)
    for array, region in zip(arrays, regions):
        if isinstance(region, list):
            region = coco_mask.merge(
                coco_mask.frPyObjects(region, height, width))
        elif isinstance(region['counts'], list):
            region = coco_mask.frPyObjects(region, height, width)
        array[:] = coco_mask.decode(region)
    return arrays

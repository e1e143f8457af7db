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
        """Read the ``instances`` of mmdet's data sets.

        >>> truth = GroundTruth.of_instances([
        ...     dict(bbox=[0, 0, 9, 9], bbox_label=2),
        ...     dict(bbox=[3, 3, 5, 5], bbox_label=0, ignore_flag=1)])
        >>> len(truth)
        1
        """
        objects = [instance for instance in instances
                   if not instance.get('ignore_flag')]
        return cls(
            torch.tensor([instance['bbox'] for instance in objects],
                         dtype=torch.float).view(-1, 4),
            torch.tensor([instance['bbox_label'] for instance in objects],
                         dtype=torch.long),
            [instance.get('mask') for instance in objects],
            [instance.get('part') for instance in objects])

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.labels)

    def mask_arrays(self, shape: Sequence[int]) -> np.ndarray | None:
        """Draw the masks as bool (M, H, W); None if an object has none."""
        return region_arrays(self.masks, shape)

    def part_arrays(self, shape: Sequence[int]) -> np.ndarray | None:
        """Draw the parts that tell objects apart in the same way."""
        return region_arrays(self.parts, shape)


def region_arrays(regions: Sequence[Any],
                  shape: Sequence[int]) -> np.ndarray | None:
    """Draw polygons or run lengths as bool (M, H, W); None if one is
    missing."""
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

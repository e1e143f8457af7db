# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""From the grid of a feature map to the pixels of the original image."""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from torch import Tensor

Shape = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ImageFrame:
    """Where the original image lies in the network's input.

    The image is resized to ``content_shape``; all around it is padding, most
    often to the right and below only.

    Args:
        input_shape (tuple): Height and width of the padded input.
        content_shape (tuple): Height and width of the image inside it.
        image_shape (tuple): Height and width of the original image.
        corner (tuple): Row and column of the image's first pixel.
    """
    input_shape: Shape
    content_shape: Shape
    image_shape: Shape
    corner: Shape = (0, 0)

    @classmethod
    def of_sample(cls, sample: DetDataSample,
                  input_shape: Shape) -> ImageFrame:
        """The frame of a data sample that a test pipeline made.

        ``img_shape`` is not read: a ``Pad`` in the pipeline enlarges it.
        """
        height, width = sample.ori_shape[:2]
        scale_w, scale_h = sample.metainfo.get('scale_factor', (1., 1.))[:2]
        content = round(height * scale_h), round(width * scale_w)
        # CenterNet and CornerNet pad on all sides, and note it here
        top, _, left, _ = sample.metainfo.get('border', (0, 0, 0, 0))
        corner = int(top), int(left)
        return cls(input_shape, content, (height, width), corner)

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels for one original pixel, along x and along y."""
        return (self.content_shape[1] / self.image_shape[1],
                self.content_shape[0] / self.image_shape[0])

    def to_input(self, boxes: Tensor) -> Tensor:
        """Boxes (N, 4), last dim (x1, y1, x2, y2), from pixels of the original
        image to pixels of the input."""
        top, left = self.corner
        return boxes * boxes.new_tensor(self.scale * 2) + boxes.new_tensor(
            (left, top) * 2)

    def to_image(self, maps: Tensor) -> Tensor:
        """Enlarge maps from a grid over the padded input.

        The grid is resized (bilinear, ``align_corners=False``) to the input,
        cut to the image inside it, and resized to the original image. Both
        steps are linear and separable, so that each axis is one small matrix
        and no map at the input's size is made.

        Args:
            maps (Tensor): Shape (..., h, w).

        Returns:
            Tensor: Shape (..., H, W), of the original image.
        """
        rows, columns = (
            self._axis(axis, maps.shape[axis - 2]).to(maps) for axis in (0, 1))
        return rows @ maps @ columns.T

    def _axis(self, axis: int, cells: int) -> Tensor:
        """Weights (original pixels, cells) of one axis."""
        covered = covered_length(self.input_shape[axis], cells)
        weights = torch.eye(cells)[None]  # (1, cells, cells)
        weights = F.interpolate(weights, size=covered, mode='linear')
        first = self.corner[axis]
        weights = weights[..., first:first + self.content_shape[axis]]
        weights = F.interpolate(
            weights, size=self.image_shape[axis], mode='linear')
        return weights[0].T


def covered_length(length: int, cells: int) -> int:
    """Input pixels that the cells of a grid cover along one axis.

    Strided layers round up: a stride of 32 lays 42 cells over 1333 pixels,
    and they reach to pixel 1344. Strides are powers of two; where none fits,
    the cells are taken to fill the length.
    """
    stride = 1 << ((length + cells - 1) // cells - 1).bit_length()
    return cells * stride if -(-length // stride) == cells else length

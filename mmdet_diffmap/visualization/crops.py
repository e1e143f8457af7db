# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Parts of an image, and where they lie in a figure."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from .drawing import Area, ordered

LEAST = 48  # pixels: the side of the smallest part that is enlarged


@dataclass(frozen=True)
class Region:
    """A part of an image: the pixels from x1 to x2 - 1 and y1 to y2 - 1."""
    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def box(self) -> Area:
        """Its box, x1, y1, x2, y2."""
        return self.x1, self.y1, self.x2, self.y2

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height."""
        return self.x2 - self.x1, self.y2 - self.y1

    def share(self, image: np.ndarray) -> float:
        """Which share of the area of an image (H, W, 3) it is."""
        width, height = self.size
        return width * height / (image.shape[0] * image.shape[1])

    def fitted(self, longest: int) -> tuple[int, int]:
        """Return width and height with the longer side so long."""
        scale = longest / max(self.size)
        width, height = (max(1, round(side * scale)) for side in self.size)
        return width, height

    def cut(self, values: Tensor) -> Tensor:
        """Cut the region out of a map (H, W)."""
        return values[self.y1:self.y2, self.x1:self.x2]

    def resized(self, image: np.ndarray, size: tuple[int, int],
                density: int = 1) -> np.ndarray:
        """Cut the region out of an image (H, W, 3) and give it another size
        (width, height), with ``density`` pixels for each unit of it."""
        part = image[self.y1:self.y2, self.x1:self.x2]
        width, height = size[0] * density, size[1] * density
        shrinks = width < part.shape[1] or height < part.shape[0]
        return cv2.resize(
            part, (width, height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

    def placed(self, box: Sequence[float], area: Area) -> Area:
        """Return where a box of the image lies in a figure in which the
        region has an area."""
        scale_x = (area[2] - area[0]) / self.size[0]
        scale_y = (area[3] - area[1]) / self.size[1]
        x1, y1, x2, y2 = box
        return (area[0] + (x1 - self.x1) * scale_x,
                area[1] + (y1 - self.y1) * scale_y,
                area[0] + (x2 - self.x1) * scale_x,
                area[1] + (y2 - self.y1) * scale_y)


def whole_image(image: np.ndarray) -> Region:
    """Return all of an image (H, W, 3)."""
    return Region(0, 0, image.shape[1], image.shape[0])


def with_surroundings(box: Sequence[float], image: np.ndarray) -> Region:
    """Return a square around the middle of a box, with the box's longer side
    again on each side of it, moved into the image (H, W, 3), and cut where the
    image is smaller."""
    x1, y1, x2, y2 = ordered(box)
    length = max(round(3 * max(x2 - x1, y2 - y1)), LEAST)
    left, right = moved_inside((x1 + x2) / 2, length, image.shape[1])
    top, bottom = moved_inside((y1 + y2) / 2, length, image.shape[0])
    return Region(left, top, right, bottom)


def moved_inside(middle: float, length: int, limit: int) -> tuple[int, int]:
    """Return first and last (exclusive) of ``length`` pixels around a middle,
    moved between 0 and a limit, and fewer where that is less.

    >>> moved_inside(5, 4, 20), moved_inside(1, 4, 20), moved_inside(5, 40, 20)
    ((3, 7), (0, 4), (0, 20))
    """
    length = min(length, limit)
    first = min(max(round(middle - length / 2), 0), limit - length)
    return first, first + length

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Outlines of predicted masks."""
from __future__ import annotations

import cv2
import numpy as np

from .colours import RGB


def with_contour(picture: np.ndarray, mask: np.ndarray, colour: RGB,
                 width: int = 1) -> np.ndarray:
    """Return a picture with the outline of a mask, that of holes as well.

    Args:
        picture (np.ndarray): uint8 RGB, shape (h, w, 3).
        mask (np.ndarray): bool, of the same part of the image at any size.
        colour (tuple): Of the line.
        width (int): Of the line, in pixels of the picture.

    >>> picture = np.zeros((4, 4, 3), np.uint8)
    >>> with_contour(picture, np.eye(2, dtype=bool), (9, 9, 9))[..., 0]
    array([[9, 9, 0, 0],
           [9, 9, 0, 0],
           [0, 0, 9, 9],
           [0, 0, 9, 9]], dtype=uint8)
    """
    size = picture.shape[1], picture.shape[0]
    grown = cv2.resize(mask.astype(np.uint8), size,
                       interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(grown, cv2.RETR_CCOMP,
                                   cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, colour, width)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Outlines of predicted masks."""
from __future__ import annotations

from collections.abc import Sequence

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
    contours = contours_of(mask, picture.shape[:2])
    return cv2.drawContours(picture.copy(), contours, -1, colour, width)


def contour_path(mask: np.ndarray, shape: tuple[int, int]) -> str:
    """Return the outline of a mask, that of holes as well, as an SVG path
    through the middles of its border's pixels.

    Args:
        mask (np.ndarray): bool, shape (H, W).
        shape (tuple): Height and width of the picture in whose pixels the
            path is.

    >>> contour_path(np.ones((2, 3), dtype=bool), (2, 3))
    'M0.5 0.5l0 1 2 0 0-1z'
    >>> contour_path(np.zeros((2, 3), dtype=bool), (2, 3))
    ''
    """
    path = ''
    for contour in contours_of(mask, shape):
        (x, y), *others = np.diff(contour[:, 0], axis=0, prepend=0).tolist()
        steps = ''.join(f'{number:+d}' for step in others or [(0, 0)]
                        for number in step).replace('+', ' ').strip()
        path += f'M{x}.5 {y}.5l{steps}z'
    return path


def contours_of(mask: np.ndarray, shape: tuple[int, int]) -> Sequence:
    """Find the border of a mask in a picture of that height and width: closed
    lines through pixels of the mask, each int32, shape (K, 1, 2)."""
    grown = cv2.resize(mask.astype(np.uint8), shape[::-1],
                       interpolation=cv2.INTER_NEAREST)
    # what is left out lies on a straight line between two others
    return cv2.findContours(grown, cv2.RETR_CCOMP,
                            cv2.CHAIN_APPROX_SIMPLE)[0]

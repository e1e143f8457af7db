# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of the synthetic scenes: a class name, and its parts in drawing
order.

Coordinates are in units of half the figure's size: the figure spans [-1, 1]
in both directions, x to the right and y down. A part has the colour of its
role: ``body`` (textured) and ``accent`` vary from figure to figure, ``dark``
and ``light`` do not.
"""
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """A filled polygon.

    Args:
        role (str): ``body``, ``accent``, ``dark`` or ``light``.
        points (np.ndarray): Its corners, shape (K, 2).
    """
    role: str
    points: np.ndarray


def polygon(role: str, *points: Point) -> Part:
    """Return the polygon of some corners.

    >>> polygon('body', (-1, 0), (1, 0), (0, 1)).points.shape
    (3, 2)
    """
    return Part(role, np.array(points, dtype=np.float64))


def ellipse(role: str, centre: Point, radii: Point, start: float = 0,
            end: float = 360) -> Part:
    """Return the sector of an ellipse between two angles in degrees,
    clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, 37))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Part(role, np.array(centre) + circle * np.array(radii))


def petal(angle: float) -> Part:
    """Return a petal of the flower, at ``angle`` degrees around its
    centre."""
    centre = np.array([0.0, -0.35])
    direction = np.deg2rad(angle)
    offset = 0.38 * np.array([np.cos(direction), np.sin(direction)])
    x, y = centre + offset
    return ellipse('body', (x, y), (0.27, 0.27))


FIGURES: dict[str, tuple[Part, ...]] = {
    'fish': (
        polygon('accent', (0.4, 0.0), (1.0, -0.5), (0.85, 0.0), (1.0, 0.5)),
        polygon('accent', (-0.2, -0.3), (0.15, -0.7), (0.35, -0.25)),
        ellipse('body', (-0.2, 0.0), (0.8, 0.45)),
        polygon('accent', (-0.1, 0.05), (0.3, 0.0), (0.3, 0.3)),
        ellipse('light', (-0.65, -0.1), (0.13, 0.13)),
        ellipse('dark', (-0.67, -0.1), (0.07, 0.07)),
    ),
    'tree': (
        polygon('dark', (-0.12, 0.4), (0.12, 0.4), (0.16, 1.0), (-0.16, 1.0)),
        polygon('body', (-0.8, 0.6), (0.8, 0.6), (0.0, -0.2)),
        polygon('accent', (-0.65, 0.15), (0.65, 0.15), (0.0, -0.6)),
        polygon('body', (-0.45, -0.3), (0.45, -0.3), (0.0, -1.0)),
    ),
    'house': (
        polygon('body', (-0.7, -0.15), (0.7, -0.15), (0.7, 0.9), (-0.7, 0.9)),
        polygon('accent', (-0.95, -0.1), (0.95, -0.1), (0.0, -0.95)),
        polygon('dark', (-0.15, 0.3), (0.2, 0.3), (0.2, 0.9), (-0.15, 0.9)),
        polygon('light', (-0.55, 0.1), (-0.25, 0.1), (-0.25, 0.4),
                (-0.55, 0.4)),
        polygon('light', (0.3, 0.1), (0.58, 0.1), (0.58, 0.4), (0.3, 0.4)),
    ),
    'car': (
        polygon('accent', (-0.5, 0.0), (-0.3, -0.5), (0.35, -0.5),
                (0.65, 0.0)),
        polygon('light', (-0.35, -0.02), (-0.22, -0.38), (0.0, -0.38),
                (0.0, -0.02)),
        polygon('light', (0.1, -0.02), (0.1, -0.38), (0.28, -0.38),
                (0.48, -0.02)),
        polygon('body', (-1.0, 0.05), (-0.6, -0.05), (0.9, -0.05), (1.0, 0.1),
                (1.0, 0.4), (-1.0, 0.4)),
        ellipse('dark', (-0.55, 0.42), (0.23, 0.23)),
        ellipse('light', (-0.55, 0.42), (0.1, 0.1)),
        ellipse('dark', (0.55, 0.42), (0.23, 0.23)),
        ellipse('light', (0.55, 0.42), (0.1, 0.1)),
    ),
    'mushroom': (
        polygon('light', (-0.22, 0.0), (0.22, 0.0), (0.34, 0.9),
                (-0.34, 0.9)),
        ellipse('body', (0.0, 0.1), (0.95, 0.95), 180, 360),
        ellipse('accent', (-0.45, -0.2), (0.16, 0.16)),
        ellipse('accent', (0.05, -0.5), (0.18, 0.18)),
        ellipse('accent', (0.5, -0.15), (0.14, 0.14)),
    ),
    'boat': (
        polygon('dark', (-0.04, -0.95), (0.06, -0.95), (0.06, 0.45),
                (-0.04, 0.45)),
        polygon('accent', (0.12, -0.85), (0.85, 0.25), (0.12, 0.25)),
        polygon('light', (-0.12, -0.7), (-0.12, 0.25), (-0.65, 0.25)),
        polygon('body', (-1.0, 0.4), (1.0, 0.4), (0.65, 0.85),
                (-0.65, 0.85)),
    ),
    'flower': (
        polygon('dark', (-0.05, 0.1), (0.05, 0.1), (0.08, 1.0),
                (-0.06, 1.0)),
        ellipse('dark', (0.28, 0.6), (0.26, 0.11)),
        ellipse('dark', (-0.28, 0.75), (0.26, 0.11)),
        *(petal(angle) for angle in range(0, 360, 60)),
        ellipse('accent', (0.0, -0.35), (0.22, 0.22)),
    ),
    'cat': (
        polygon('body', (-0.85, -0.95), (-0.2, -0.55), (-0.75, -0.1)),
        polygon('body', (0.85, -0.95), (0.2, -0.55), (0.75, -0.1)),
        ellipse('body', (0.0, 0.15), (0.88, 0.75)),
        ellipse('light', (-0.35, 0.0), (0.2, 0.16)),
        ellipse('light', (0.35, 0.0), (0.2, 0.16)),
        ellipse('dark', (-0.35, 0.0), (0.07, 0.15)),
        ellipse('dark', (0.35, 0.0), (0.07, 0.15)),
        polygon('accent', (-0.14, 0.3), (0.14, 0.3), (0.0, 0.48)),
        polygon('dark', (-0.3, 0.62), (0.3, 0.62), (0.0, 0.7)),
    ),
}

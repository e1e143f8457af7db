# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Scenes with a known answer to *why this one, and not its neighbour?*

Two objects have the same body: shape, colours and texture. Each has a badge,
and the badge decides its class. In every other scene they are joined: one
body with a badge at each end, of which each object is the body and its own
badge. There, the body is evidence for both, and a badge for one alone.
"""
from functools import lru_cache

import numpy as np

from .figures import Part, ellipse, polygon
from .scenes import (
    SIZE,
    Scene,
    add_noise,
    draw_background,
    fill,
    paint,
    rotation,
)

#: In units of half the body's length, which reaches from -1 to 1.
BODIES: tuple[tuple[Part, ...], ...] = (
    (polygon('body', (-1, -0.75), (1, -0.75), (1, 0.75), (-1, 0.75)),
     polygon('accent', (-0.25, -0.75), (0.25, -0.75), (0.25, 0.75),
             (-0.25, 0.75))),
    (ellipse('body', (0, 0), (1.1, 0.85)),
     ellipse('accent', (0, 0), (0.5, 0.4))),
    (polygon('body', (-1, -0.35), (-0.5, -0.85), (0.5, -0.85), (1, -0.35),
             (1, 0.35), (0.5, 0.85), (-0.5, 0.85), (-1, 0.35)),
     polygon('accent', (0, -0.6), (0.5, 0), (0, 0.6), (-0.5, 0))),
    (polygon('body', (-1, -0.8), (0, -0.45), (1, -0.8), (1, 0.8), (0, 0.45),
             (-1, 0.8)),
     polygon('accent', (-0.7, -0.3), (0.7, -0.3), (0.7, 0.05), (-0.7, 0.05))),
)


def star(points: int, inner: float) -> Part:
    """Return a star whose inner corners are at ``inner`` of its radius."""
    angles = np.pi * np.arange(2 * points) / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2, inner, 1)[:, None]
    return Part('dark',
                radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))


#: What lies on a badge's light plate, which spans [-1.4, 1.4].
BADGES: dict[str, tuple[Part, ...]] = {
    'cross': (polygon('dark', (-0.35, -1), (0.35, -1), (0.35, 1), (-0.35, 1)),
              polygon('dark', (-1, -0.35), (1, -0.35), (1, 0.35),
                      (-1, 0.35))),
    'ring': (ellipse('dark', (0, 0), (1, 1)),
             ellipse('light', (0, 0), (0.5, 0.5))),
    'star': (star(5, 0.4), ),
    'moon': (ellipse('dark', (0, 0), (1, 1)),
             ellipse('light', (0.45, -0.1), (0.8, 0.8))),
    'bars': (polygon('dark', (-1, -0.9), (1, -0.9), (1, -0.3), (-1, -0.3)),
             polygon('dark', (-1, 0.3), (1, 0.3), (1, 0.9), (-1, 0.9))),
    'arrow': (polygon('dark', (-1, 0.1), (0, -1), (1, 0.1)),
              polygon('dark', (-0.3, 0.1), (0.3, 0.1), (0.3, 1), (-0.3, 1))),
    'square': (polygon('dark', (-0.8, -0.8), (0.8, -0.8), (0.8, 0.8),
                       (-0.8, 0.8)), ),
    'dots': tuple(
        ellipse('dark', (x, y), (0.4, 0.4)) for x in (-0.55, 0.55)
        for y in (-0.55, 0.55)),
}
TWIN_CLASSES = tuple(BADGES)
PLATE = 1.4


@lru_cache(maxsize=64)
def render_twins(seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the sequence ``seed``. The two are joined where
    ``index`` is even, and apart where it is odd.

    Returns:
        Scene: With ``parts``, the objects' badges. The masks of joined ones
        overlap in their body. The same for the same arguments; cached, so do
        not write into its arrays.
    """
    rng = np.random.default_rng((seed, index, 1))
    image = draw_background(rng)
    labels = rng.choice(len(BADGES), 2, replace=False)
    twins = Twins(rng)
    if index % 2 == 0:
        middle = rng.uniform(SIZE / 2 - 12, SIZE / 2 + 12, 2)
        masks, parts = twins.draw(image, middle, dict(zip((-1, 1), labels)))
    else:
        masks = np.zeros((2, SIZE, SIZE), bool)
        parts = np.zeros_like(masks)
        for number, row in enumerate(rng.permutation([50, SIZE - 50])):
            side = int(rng.choice([-1, 1]))
            middle = np.array([SIZE / 2 - side * twins.badge, row])
            middle += rng.uniform((-30, -6), (30, 6))
            masks[number], parts[number] = twins.draw(
                image, middle, {side: labels[number]})
    return Scene(add_noise(image, rng), labels.astype(np.int64), masks, parts)


class Twins:
    """What two objects have in common.

    Args:
        rng (np.random.Generator): Decides about it.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.body = BODIES[rng.integers(len(BODIES))]
        self.look = int(rng.integers(2**32))
        self.half = rng.uniform(20, 28)  # of the body's length
        # so large that the boxes of joined ones have an IoU below 0.5
        self.badge = self.half * rng.uniform(0.75, 0.9)  # half a plate
        self.rng = rng

    def draw(self, image: np.ndarray, middle: np.ndarray,
             badges: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Draw one body into an image, with badges at its left (-1) or right
        (1) end.

        Returns:
            tuple: The masks of the objects and those of their badges, each
            bool (number of badges, SIZE, SIZE).
        """
        tilt = rotation(self.rng.uniform(-10, 10))

        def place(parts: tuple[Part, ...], scale: float,
                  x: float) -> list[Part]:
            return [Part(part.role,
                         middle + (part.points * scale + (x, 0)) @ tilt)
                    for part in parts]

        body = place(self.body, self.half, 0)
        plates, glyphs = [], []
        for side, label in badges.items():
            x = side * (self.half + self.badge)
            plates += place((SQUARE, ), self.badge, x)
            glyphs += place(BADGES[TWIN_CLASSES[label]], self.badge / PLATE,
                             x)
        whole = slice(0, SIZE), slice(0, SIZE)
        colours, alpha = paint(
            np.random.default_rng(self.look), [*body, *plates, *glyphs], whole)
        image += alpha[..., None] * (colours - image)
        parts = np.stack([fill_parts([plate]) for plate in plates])
        return parts | fill_parts(body), parts


SQUARE = polygon('light', (-1, -1), (1, -1), (1, 1), (-1, 1))


def fill_parts(parts: list[Part]) -> np.ndarray:
    """Return the pixels of parts, bool (SIZE, SIZE)."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for part in parts:
        fill(canvas, part.points, (255, ))
    return canvas > 127

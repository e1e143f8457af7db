# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Scenes with a known answer to *why two objects, and not one?*

Each scene has two bodies. A cue across the middle divides one of them into two
objects of a class that touch; the other one is a single object. Scenes with
the numbers 2k and 2k + 1 are counterparts: the same drawing, in which the cue
has gone from one body to the other. So the cue is all that tells two from one,
and where it is, is known.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .figures import Part, Point
from .scenes import SIZE, Scene, add_noise, draw_background, paint, rotation

#: How both ends of a body look, which is its class: the upper half of the
#: outline from the middle to the right. A body reaches from -1 to 1 in both
#: directions, and is as high as that near its middle.
ENDS: dict[str, tuple[Point, ...]] = {
    'flat': ((1, 1), ),
    'stepped': ((0.6, 1), (0.6, 0.4), (1, 0.4)),
    'hollow': tuple((1 - 0.5 * np.cos(angle), np.sin(angle))
                    for angle in np.linspace(np.pi / 2, 0, 10)),
    'forked': ((1, 1), (1, 0.4), (0.5, 0.4), (0.5, 0)),
}
PAIR_CLASSES = tuple(ENDS)
#: What divides a body: the background shows; each object has an outline, as
#: the undivided body has; or the second object is lighter, or darker.
CUES = ('gap', 'outline', 'shade')
OUTLINE = 2  # its width in pixels
EDGE = 3  # a change of shade is seen so many pixels to both sides


@lru_cache(maxsize=64)
def render_pairs(seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the sequence ``seed``: of its two bodies, number
    ``index % 2`` is divided.

    Returns:
        Scene: The objects of the first body come first. ``parts`` is the cue
        for both objects of the divided body, and empty for the third object.
        The same for the same arguments; cached, so do not write into its
        arrays.

    >>> scene = render_pairs(0, 2)
    >>> [bool(part.any()) for part in scene.parts]
    [True, True, False]
    """
    rng = np.random.default_rng((seed, index // 2, 2))
    bodies = choose_bodies(rng)
    image = draw_background(rng)
    masks: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    labels: list[int] = []
    for number, body in enumerate(bodies):
        objects, cue = body.draw(image, divided=number == index % 2)
        masks += objects
        parts += [cue] * len(objects)
        labels += [body.label] * len(objects)
    return Scene(add_noise(image, rng), np.array(labels, dtype=np.int64),
                 np.stack(masks), np.stack(parts))


def divided_body(seed: int, index: int) -> Body:
    """Return the body that is divided in a scene."""
    rng = np.random.default_rng((seed, index // 2, 2))
    return choose_bodies(rng)[index % 2]


def choose_bodies(rng: np.random.Generator) -> tuple[Body, Body]:
    """Choose two bodies, one above or beside the other."""
    across = rng.random() < 0.5
    bodies = []
    for row in (52, SIZE - 52):
        middle = np.array([rng.uniform(50, SIZE - 50), row])
        middle = (middle[::-1] if across else middle) + rng.uniform(-5, 5, 2)
        bodies.append(
            Body(
                label=int(rng.integers(len(ENDS))),
                middle=middle,
                half=np.array([rng.uniform(25, 34), rng.uniform(12, 18)]),
                degrees=rng.uniform(0, 180),
                cue=CUES[rng.integers(len(CUES))],
                seam=rng.uniform(-5, 5),
                gap=rng.uniform(3, 6),
                shade=rng.uniform(45, 75),
                look=int(rng.integers(2**32))))
    return bodies[0], bodies[1]


@dataclass(frozen=True)
class Body:
    """What is one object, or is divided in two.

    Args:
        label (int): Its class.
        middle (np.ndarray): (x, y) in pixels.
        half (np.ndarray): Half its length and half its height in pixels.
        degrees (float): How far it is turned.
        cue (str): One of ``CUES``.
        seam (float): Where it is divided: so many pixels from the middle,
            along its length.
        gap (float): The width of a gap in pixels.
        shade (float): How much lighter, or darker, a second object is.
        look (int): The seed of colours and texture.
    """
    label: int
    middle: np.ndarray
    half: np.ndarray
    degrees: float
    cue: str
    seam: float
    gap: float
    shade: float
    look: int

    def draw(self, image: np.ndarray,
             divided: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """Draw it into an image (SIZE, SIZE, 3), in place.

        Returns:
            tuple: The mask of each of its objects, and that of its cue; bool
            (SIZE, SIZE).
        """
        whole = slice(0, SIZE), slice(0, SIZE)
        outline = Part('body', self.middle +
                       (body_outline(self.label) * self.half) @ self.turn)
        colours, alpha = paint(np.random.default_rng(self.look), [outline],
                               whole)
        body = alpha > 0.5
        # how far each pixel's middle is from the seam, along the body
        rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
        across = (columns - self.middle[0]) * self.turn[0, 0] + \
            (rows - self.middle[1]) * self.turn[0, 1] - self.seam
        objects, cue = [body], np.zeros_like(body)
        if divided:
            reach = dict(gap=self.gap / 2, outline=OUTLINE, shade=EDGE)
            cue = body & (np.abs(across) < reach[self.cue])
            inside = body & ~cue if self.cue == 'gap' else body
            objects = [inside & (across < 0), inside & (across >= 0)]
        if self.cue == 'gap':
            alpha = alpha * ~cue
        elif self.cue == 'outline':
            line = 20. if colours[body].mean() > 110 else 235.
            for mask in objects:
                colours[mask & ~shrink(mask)] = line
        elif divided:
            lighter = colours[body].mean() < 127
            colours[objects[1]] += self.shade if lighter else -self.shade
        image += alpha[..., None] * (colours.clip(0, 255) - image)
        return objects, cue

    @property
    def turn(self) -> np.ndarray:
        """np.ndarray: The rotation of row vectors, shape (2, 2)."""
        return rotation(self.degrees)


def body_outline(label: int) -> np.ndarray:
    """Return the outline of a class's bodies, shape (K, 2)."""
    right = np.array(list(ENDS.values())[label], dtype=np.float64)
    upper = np.concatenate([right[::-1] * (-1, 1), right])
    return np.concatenate([upper, upper[::-1] * (1, -1)])


def shrink(mask: np.ndarray) -> np.ndarray:
    """Take the outline off a mask."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE,
                                       (2 * OUTLINE + 1, ) * 2)
    return cv2.erode(mask.astype(np.uint8), kernel) > 0

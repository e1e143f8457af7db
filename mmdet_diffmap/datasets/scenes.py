# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Synthetic scenes: 2 to 6 textured figures before a cluttered background.

A scene is a pure function of (seed, index). Nothing is stored; see
``scene_files.py`` for how scenes are read.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .figures import FIGURES, Part

SIZE = 192  # width and height of a scene in pixels
CLASSES = tuple(FIGURES)
MIN_VISIBLE = 0.6  # share of its area that every figure shows
SUBPIXEL_BITS = 4  # OpenCV's fixed-point coordinates: 1/16 pixel


@dataclass(frozen=True)
class Scene:
    """A scene and its ground truth.

    Args:
        image (np.ndarray): uint8 BGR, shape (SIZE, SIZE, 3).
        labels (np.ndarray): int64, shape (N, ), indices into ``CLASSES``.
        masks (np.ndarray): bool, shape (N, SIZE, SIZE): the visible part of
            each figure. No two overlap, but those of joined twins.
        parts (np.ndarray, optional): What tells each object from the others,
            where that is known: bool, shape (N, SIZE, SIZE).
    """
    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    parts: np.ndarray | None = None

    @property
    def boxes(self) -> np.ndarray:
        """np.ndarray: float32, shape (N, 4), last dim (x1, y1, x2, y2): the
        tight box of each mask, in pixels, right and bottom edges excluded."""
        boxes = []
        for mask in self.masks:
            rows = np.flatnonzero(mask.any(axis=1))
            columns = np.flatnonzero(mask.any(axis=0))
            boxes.append(
                (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        return np.array(boxes, dtype=np.float32).reshape(-1, 4)


@dataclass(frozen=True)
class Place:
    """Where a figure stands.

    Args:
        centre (np.ndarray): (x, y) in pixels.
        radius (float): Half its size in pixels.
    """
    centre: np.ndarray
    radius: float

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns that the figure can reach."""
        reach = 1.7 * self.radius  # a corner, stretched and tilted
        left, top = np.floor(np.clip(self.centre - reach, 0, SIZE)).astype(int)
        right, bottom = np.ceil(np.clip(self.centre + reach, 0,
                                        SIZE)).astype(int)
        return slice(int(top), int(bottom)), slice(int(left), int(right))


@lru_cache(maxsize=64)
def render_scene(seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the sequence ``seed``.

    Returns:
        Scene: The same for the same arguments; cached, so do not write into
        its arrays.

    >>> scene = render_scene(0, 2)
    >>> scene.image.shape, scene.masks.shape == (len(scene.labels), SIZE, SIZE)
    ((192, 192, 3), True)
    """
    rng = np.random.default_rng((seed, index))
    image = draw_background(rng)
    labels: list[int] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    placed: list[Place] = []
    wanted = int(rng.integers(2, 7))
    while len(labels) < wanted:
        label = choose_label(rng, labels)
        place = choose_place(rng, placed)
        colours, alpha = draw_figure(rng, FIGURES[CLASSES[label]], place)
        covered = np.zeros((SIZE, SIZE), bool)
        covered[place.window] = alpha > 0.5
        if any((mask & ~covered).sum() < MIN_VISIBLE * area
               for mask, area in zip(masks, areas)):
            continue  # it would hide another: try again elsewhere
        patch = image[place.window]
        patch += alpha[..., None] * (colours - patch)
        masks = [mask & ~covered for mask in masks] + [covered]
        areas.append(int(covered.sum()))
        labels.append(label)
        placed.append(place)
    return Scene(
        add_noise(image, rng), np.array(labels, dtype=np.int64),
        np.stack(masks))


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the drawing with a camera's noise, uint8."""
    image = image + 4 * rng.standard_normal(image.shape, np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def choose_label(rng: np.random.Generator, labels: list[int]) -> int:
    """Choose a class; every other time one that the scene has already."""
    if labels and rng.random() < 0.5:
        return int(rng.choice(labels))
    return int(rng.integers(len(CLASSES)))


def choose_place(rng: np.random.Generator, placed: list[Place]) -> Place:
    """Choose a place inside; often beside a figure, so that the two
    overlap."""
    radius = rng.uniform(18, 44)
    if placed and rng.random() < 0.6:
        neighbour = placed[rng.integers(len(placed))]
        angle = rng.uniform(0, 2 * np.pi)
        distance = rng.uniform(0.6, 1.1) * (radius + neighbour.radius)
        centre = neighbour.centre + distance * np.array(
            [np.cos(angle), np.sin(angle)])
    else:
        centre = rng.uniform(radius, SIZE - radius, 2)
    inside = np.clip(centre, 0.8 * radius, SIZE - 0.8 * radius)
    return Place(inside, radius)


def draw_figure(rng: np.random.Generator, parts: tuple[Part, ...],
                place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Draw a figure with colours, texture, tilt and mirroring of its own.

    Returns:
        tuple: Colours (h, w, 3) in 0-255 and opacity (h, w) in [0, 1], of the
        place's window.
    """
    tilt = rotation(rng.uniform(-20, 20))
    mirror = np.array([rng.choice([-1, 1]), 1])
    stretch = place.radius * mirror * rng.uniform(0.85, 1.1, 2)
    placed = [
        Part(part.role, place.centre + (part.points * stretch) @ tilt)
        for part in parts
    ]
    return paint(rng, placed, place.window)


def rotation(degrees: float) -> np.ndarray:
    """Return the matrix that turns row vectors (x, y) clockwise on the
    screen.

    >>> (np.array([1, 0]) @ rotation(90)).round()  # right becomes down
    array([0., 1.])
    """
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)],
                     [-np.sin(angle), np.cos(angle)]])


def paint(rng: np.random.Generator, parts: Sequence[Part],
          window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Paint parts, whose points are pixels of the scene, with colours and a
    texture that they share.

    Returns:
        tuple: Colours (h, w, 3) in 0-255 and opacity (h, w) in [0, 1], of the
        window.
    """
    body, accent = contrasting_colours(rng)
    shades = {
        'body': body,
        'accent': accent,
        'dark': rng.uniform(15, 60, 3),
        'light': rng.uniform(205, 250, 3)
    }
    rows, columns = window
    shape = rows.stop - rows.start, columns.stop - columns.start
    colours = np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.uint8)
    is_body = np.zeros(shape, np.uint8)
    for part in parts:
        points = part.points - (columns.start, rows.start)
        fill(alpha, points, (255, ))
        fill(colours, points, shades[part.role])
        fill(is_body, points, (part.role == 'body', ))
    colours += (is_body * texture(rng, shape))[..., None]
    return colours, alpha.astype(np.float32) / 255


def contrasting_colours(
        rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose two saturated BGR colours of different hue."""
    hue = rng.uniform(0, 180)
    hues = [hue, (hue + rng.uniform(40, 140)) % 180]
    hsv = [[h, rng.uniform(140, 255), rng.uniform(140, 240)] for h in hues]
    bgr = cv2.cvtColor(np.array([hsv], np.uint8), cv2.COLOR_HSV2BGR)[0]
    return bgr[0].astype(float), bgr[1].astype(float)


def texture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw stripes, checks or grain: brightness to add, (h, w) of
    ``shape``."""
    kind = rng.integers(3)
    if kind == 2:
        return rng.normal(0, 18, shape)
    y, x = np.mgrid[:shape[0], :shape[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 10)
    u = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    v = np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
    return 30 * np.sign(u) if kind == 0 else 30 * np.sign(u * v)


def draw_background(rng: np.random.Generator) -> np.ndarray:
    """Draw a soft blend of colours under translucent clutter.

    Returns:
        np.ndarray: float32 BGR in 0-255, shape (SIZE, SIZE, 3).
    """
    coarse = rng.uniform(60, 200, 3) + rng.normal(0, 22, (5, 5, 3))
    image = cv2.resize(
        coarse.astype(np.float32), (SIZE, SIZE),
        interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(6, 16)):
        layer = image.copy()
        corners = int(rng.integers(2, 6))  # 2 of them: a line
        points = rng.uniform(0, SIZE, 2) + rng.normal(0, 16, (corners, 2))
        colour = rng.uniform(30, 225, 3)
        if corners == 2:
            start, end = np.round(points).astype(int).tolist()
            cv2.line(layer, start, end, colour.tolist(),
                     int(rng.integers(1, 5)), cv2.LINE_AA)
        else:
            fill(layer, points, colour)
        cv2.accumulateWeighted(layer, image, rng.uniform(0.3, 0.8))
    return image


def fill(canvas: np.ndarray, points: np.ndarray,
         colour: np.ndarray | tuple[float, ...]) -> None:
    """Fill a polygon (K, 2) of pixel coordinates, in place."""
    fixed = np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)
    # OpenCV smooths edges in 8-bit images only, and 0 or 1 has no middle
    smooth = canvas.dtype == np.uint8 and max(colour) > 1
    cv2.fillPoly(canvas, [fixed], tuple(map(float, colour)),
                 cv2.LINE_AA if smooth else cv2.LINE_8, SUBPIXEL_BITS)

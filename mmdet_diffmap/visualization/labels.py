# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Texts at the boxes of a picture that do not cover each other."""
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import ImageDraw, ImageFont

from .drawing import ordered

#: A place of a label: (x1, y1, x2, y2) in pixels.
Place = tuple[float, float, float, float]

#: Where a label stands at its box: its column, then its row.
Side = tuple[str, str]
#: The best first.
SIDES: tuple[Side, ...] = (
    ('start', 'above'), ('start', 'below'), ('end', 'above'), ('end', 'below'),
    ('after', 'top'), ('before', 'top'), ('start', 'top'), ('start', 'bottom'))
#: By how much of its area a label may cover others before it changes its
#: side, where no side is free.
STEADY = 0.25


def place_labels(boxes: np.ndarray, sizes: Sequence[tuple[int, int]],
                 size: tuple[int, int], order: Sequence[int],
                 before: Sequence[Side | None]) -> list[tuple[Side, Place]]:
    """Choose a side of its box for each label.

    One after the other takes the first of ``SIDES`` at which it covers neither
    a label that is placed already nor most of another object, or else that at
    which it covers least. A side that was right before is kept, so that labels
    of a video do not jump.

    Args:
        boxes (np.ndarray): Shape (N, 4), last dim (x1, y1, x2, y2), in pixels
            of the picture.
        sizes (Sequence[tuple[int, int]]): Width and height of each label.
        size (tuple[int, int]): Width and height of the picture, in which all
            labels stay that are not larger.
        order (Sequence[int]): The labels in the order in which they choose.
        before (Sequence[str | None]): The side of each label in the picture
            before, None for one that was not there.

    Returns:
        list[tuple]: For each label its side, and its place.

    Example:
        >>> boxes = np.array([[10., 20, 40, 50]])
        >>> place_labels(boxes, [(25, 10)], (100, 100), [0], [None])
        [(('start', 'above'), (10.0, 10.0, 35.0, 20.0))]
    """
    corners = [ordered(box) for box in boxes]
    placed: dict[int, tuple[Side, Place]] = {}
    for i in order:
        others = [box for j, box in enumerate(corners) if j != i]
        taken = [place for _, place in placed.values()]
        places = dict(places_at(corners[i], sizes[i], size))
        costs = {side: hidden(place, taken, others)
                 for side, place in places.items()}
        side = min(costs, key=lambda side: costs[side])
        slack = STEADY if costs[side] > 0 else 0
        last = before[i]
        if last in costs and costs[last] <= costs[side] + slack:
            side = last
        placed[i] = side, places[side]
    return [placed[i] for i in range(len(corners))]


def places_at(box: Sequence[float], label: tuple[int, int],
              size: tuple[int, int]) -> Iterator[tuple[Side, Place]]:
    """Yield the sides of a box that have room for a label of a width and
    height in a picture of a size, and its place there."""
    (x1, y1, x2, y2), (width, height) = box, label
    columns = dict(before=x1 - width, start=x1, end=x2 - width, after=x2)
    rows = dict(above=y1 - height, top=y1, bottom=y2 - height, below=y2)
    right, bottom = max(size[0] - width, 0), max(size[1] - height, 0)
    for column, row in SIDES:
        left, top = columns[column], rows[row]
        beside, over = column in ('before', 'after'), row in ('above', 'below')
        if (beside and not 0 <= left <= right) or \
                (over and not 0 <= top <= bottom):
            continue
        # a box may reach beyond the picture, and be narrower than its label
        left, top = min(max(left, 0), right), min(max(top, 0), bottom)
        yield (column, row), (left, top, left + width, top + height)


def hidden(place: Place, labels: Sequence[Place],
           objects: Sequence[Sequence[float]]) -> float:
    """Return how much a label hides: the share of its area that lies on other
    labels, and a half if it covers most of another object."""
    covered = sum(shared(place, label) for label in labels)
    hides = any(shared(place, box) > area(box) / 2 for box in objects)
    return covered / area(place) + hides / 2


def shared(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the area that two rectangles (x1, y1, x2, y2) have in common."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def area(box: Sequence[float]) -> float:
    """Return the area of a rectangle (x1, y1, x2, y2)."""
    return (box[2] - box[0]) * (box[3] - box[1])


def label_size(text: str, letters: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Return the width and height of a label: the same height whichever
    letters it has."""
    return round(letters.getlength(text)) + 4, sum(letters.getmetrics()) + 2


def draw_label(draw: ImageDraw.ImageDraw, place: Place, text: str,
               letters: ImageFont.FreeTypeFont,
               paint: tuple[int, int, int]) -> None:
    """Write black on a plate."""
    left, top, right, bottom = map(round, place)
    draw.rectangle([left, top, right - 1, bottom - 1], paint)
    draw.text((left + 2, top + 1), text, (0, 0, 0), letters)

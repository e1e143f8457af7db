# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Figures of a detector's errors: a row an error, with its boxes and maps."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .colours import RGB, RIVAL, TARGET, WRONG, colour_table, overlay, resize
from .drawing import INK, Drawing, font, wrapped
from .figure import GAP, TITLE

PANEL = 300  # width and height of a picture
NOTE = 74  # height of the lines below a picture
LINE = 16
HEADER = 26  # height of the line that names the boxes
#: What boxes of a colour are.
NAMES = {TARGET: 'annotated', WRONG: 'its detection or candidate',
         RIVAL: 'what that is compared with'}


@dataclass(frozen=True)
class PicturePanel:
    """A map of an error.

    Args:
        text (str): What it shows.
        values (np.ndarray): The map of the whole image, float, shape (H, W):
            in [0, 1], or in [-1, 1] if it is signed.
        above, below (str): What is above and below zero in a signed map.
    """
    text: str
    values: np.ndarray
    above: str = ''
    below: str = ''


@dataclass(frozen=True)
class PictureRow:
    """An error.

    Args:
        title (str): What is wrong.
        boxes (Sequence): Boxes (x1, y1, x2, y2) in pixels of the image, with
            the colour of each.
        panels (Sequence[PicturePanel]): Its maps.
        around (Sequence, optional): The boxes around which the image is cut;
            by default all but what the error is compared with, which may be
            far away.
    """
    title: str
    boxes: Sequence[tuple[Sequence[float], RGB]]
    panels: Sequence[PicturePanel] = field(default_factory=list)
    around: Sequence[Sequence[float]] | None = None


def draw_errors(image: np.ndarray, rows: Sequence[PictureRow],
                legend: Mapping[RGB, str] = NAMES) -> np.ndarray:
    """Draw errors, each with the part of the image around it.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        rows (Sequence[PictureRow]): The errors.
        legend (Mapping): What boxes of a colour are.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    return errors_drawing(image, rows, legend).pixels()


def errors_drawing(image: np.ndarray, rows: Sequence[PictureRow],
                   legend: Mapping[RGB, str] = NAMES,
                   caption: Sequence[str] = (), density: int = 1) -> Drawing:
    """Return the figure of :func:`draw_errors`, to be saved in any format.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        rows (Sequence[PictureRow]): The errors.
        legend (Mapping): What boxes of a colour are.
        caption (Sequence[str]): What stands above all.
        density (int): Pixels of a picture for each unit of the figure.
    """
    columns = 1 + max((len(row.panels) for row in rows), default=0)
    drawing = Drawing(GAP + max(2, columns) * (PANEL + GAP))
    if caption:
        drawing.caption(caption, GAP)
    left = GAP
    for ink, name in legend.items():
        drawing.outline((left, drawing.height + 6, left + 22,
                         drawing.height + 20), ink)
        drawing.text((left + 30, drawing.height + 5), name, 13)
        left += 50 + round(font(13).getlength(name))
    drawing.height += HEADER
    for row in rows:
        drawing.text((GAP, drawing.height + 3), row.title, 15)
        top = drawing.height + TITLE
        around = row.around or [
            box for box, ink in row.boxes if ink != RIVAL]
        crop = square_around(around, image.shape[:2])
        part = cut(image, crop, density)
        add_panel(drawing, (GAP, top), part, row, crop)
        for column, panel in enumerate(row.panels, 1):
            signed = bool(panel.above)
            left = GAP + column * (PANEL + GAP)
            values = cut(panel.values.astype(np.float32), crop, density)
            add_panel(drawing, (left, top), overlay(
                part, values, signed), row, crop)
            lines = [(line, INK) for line in wrapped(panel.text, 12, PANEL)]
            if signed:
                # the ends of the scale are dark enough to be read
                below, *_, above = colour_table(signed=True).tolist()
                lines += [(panel.above, tuple(above)),
                          (panel.below, tuple(below))]
            for place, (line, ink) in enumerate(lines):
                drawing.text((left, top + PANEL + 2 + LINE * place), line, 12,
                             colour=ink)
        drawing.height = top + PANEL + NOTE
    return drawing


def square_around(boxes: Sequence[Sequence[float]],
                  shape: Sequence[int]) -> tuple[float, float, float]:
    """Return left, top and length of a square around boxes, with as much
    around them again on each side as far as the image (height, width) goes."""
    height, width = shape
    if not boxes:
        return 0, 0, max(shape)
    corners = np.asarray(boxes, float)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    length = min(max(2 * float((high - low).max()), 64.), max(shape))
    left, top = (low + high - length) / 2
    return (float(np.clip(left, min(0, width - length),
                          max(0, width - length))),
            float(np.clip(top, min(0, height - length),
                          max(0, height - length))), length)


def cut(picture: np.ndarray, crop: tuple[float, float, float],
        density: int = 1) -> np.ndarray:
    """Cut a square out of a picture, or a map, and enlarge it to a panel, with
    ``density`` pixels for each unit; what lies outside is zero."""
    left, top, length = (round(value) for value in crop)
    height, width = picture.shape[:2]
    square = np.zeros((length, length, *picture.shape[2:]), picture.dtype)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + length, width), min(top + length, height)
    square[y1 - top:y2 - top, x1 - left:x2 - left] = picture[y1:y2, x1:x2]
    return resize(square, (PANEL * density, PANEL * density))


def add_panel(drawing: Drawing, place: tuple[int, int],
              picture: np.ndarray, row: PictureRow,
              crop: tuple[float, float, float]) -> None:
    """Put a picture with an error's boxes into a figure."""
    area = *place, place[0] + PANEL, place[1] + PANEL
    drawing.picture(place, picture, (PANEL, PANEL))
    left, top, length = (round(value) for value in crop)
    for box, ink in row.boxes:
        x1, y1, x2, y2 = (
            start + (value - corner) * PANEL / length
            for start, value, corner in zip(place * 2, box, (left, top) * 2))
        drawing.outline((x1, y1, x2, y2), ink, clip=area)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a figure is made of, before it becomes pixels or a vector file."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from ..io.files import replacing, save_picture
from .colours import EDGE, RGB

INK, PAPER = (20, 20, 20), (255, 255, 255)
#: Formats of figures. In the last two, text and boxes stay text and lines.
FORMATS = ('png', 'jpg', 'pdf', 'svg')
VECTOR = ('pdf', 'svg')
#: How many pixels a side of one unit has in the pictures of vector files.
DENSITY = 2
POINTS = 0.5  # of a unit in vector files: text of 15 units is 7.5 pt
MOST_POINTS = 14000  # some viewers open no larger PDF
MOST_PIXELS = 65500  # of a side of a JPEG
Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """A picture, uint8 RGB (h, w, 3), and its area (x1, y1, x2, y2)."""
    pixels: np.ndarray
    area: Area


@dataclass(frozen=True)
class Text:
    """A line of text; ``anchor`` is Pillow's, of the line's top."""
    words: str
    place: tuple[float, float]
    size: int
    colour: RGB
    anchor: str


@dataclass(frozen=True)
class Outline:
    """A rectangle (x1, y1, x2, y2): a light line with a dark edge, so that it
    is seen on any photograph. Only what is inside of ``clip`` is drawn."""
    area: Area
    colour: RGB
    width: int
    clip: Area | None

    def lines(self) -> list[tuple[list[float], int, RGB]]:
        """Return the rectangle, width and colour of each line; a line lies
        inside of its rectangle."""
        x1, y1, x2, y2 = ordered(self.area)
        return [([x1 - 1, y1 - 1, x2 + 1, y2 + 1], self.width + 2, EDGE),
                ([x1, y1, x2, y2], self.width, self.colour)]


@dataclass
class Drawing:
    """A figure, in units that are the pixels of its PNG file.

    Args:
        width, height (int): In units.
        items (list): What is drawn, one over the other.
    """
    width: int
    height: int = 0
    items: list[Picture | Text | Outline] = field(default_factory=list)

    def picture(self, place: tuple[float, float], pixels: np.ndarray,
                size: tuple[int, int]) -> None:
        """Add a picture, uint8 RGB (h, w, 3), of any resolution."""
        x, y = place
        self.items.append(
            Picture(pixels, (x, y, x + size[0], y + size[1])))

    def text(self, place: tuple[float, float], words: str, size: int,
             anchor: str = 'la', colour: RGB = INK) -> None:
        """Add a line of text."""
        self.items.append(Text(words, place, size, colour, anchor))

    def outline(self, area: Area, colour: RGB, width: int = 2,
                clip: Area | None = None) -> None:
        """Add a rectangle, x1, y1, x2, y2 in any order."""
        self.items.append(Outline(area, colour, width, clip))

    def caption(self, lines: Sequence[str], margin: int) -> None:
        """Add lines of text below all that is there, the first one larger;
        long ones are divided."""
        self.height += 4
        for number, text in enumerate(lines):
            size = 13 if number else 16
            for line in wrapped(text, size, self.width - 2 * margin):
                self.text((margin, self.height), line, size)
                self.height += size + 5
        self.height += 4

    def pixels(self) -> np.ndarray:
        """Return the figure, uint8 RGB (H, W, 3)."""
        canvas = Image.new('RGB', (self.width, self.height), PAPER)
        for item in self.items:
            if isinstance(item, Picture):
                left, top, right, bottom = map(round, item.area)
                picture = Image.fromarray(item.pixels)
                canvas.paste(picture.resize((right - left, bottom - top)),
                             (left, top))
            elif isinstance(item, Text):
                ImageDraw.Draw(canvas).text(
                    item.place, item.words, item.colour, font(item.size),
                    item.anchor)
            else:
                paint_outline(canvas, item)
        return np.asarray(canvas)

    def save(self, path: Path) -> None:
        """Write the figure in the format of the path's ending.

        Raises:
            ValueError: If it is too large for a JPEG.
        """
        kind = path.suffix[1:].lower()
        if kind in VECTOR:
            self._save_vector(path, kind)
            return
        if kind in ('jpg', 'jpeg') and \
                max(self.width, self.height) > MOST_PIXELS:
            raise ValueError(
                f'a figure of {self.width}x{self.height} pixels is too large '
                'for a JPEG: show fewer objects, or write PNG')
        save_picture(self.pixels(), path)

    def _save_vector(self, path: Path, kind: str) -> None:
        points = min(POINTS, MOST_POINTS / max(self.width, self.height))
        figure = Figure((self.width * points / 72, self.height * points / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis('off')
        for layer, item in enumerate(self.items):
            if isinstance(item, Picture):
                x1, y1, x2, y2 = item.area
                axes.imshow(item.pixels, extent=(x1, x2, y2, y1),
                            aspect='auto', interpolation='none', zorder=layer)
            elif isinstance(item, Text):
                axes.text(
                    item.place[0],
                    item.place[1] + font(item.size).getmetrics()[0],
                    item.words, color=hexadecimal(item.colour),
                    fontsize=item.size * points, parse_math=False,
                    horizontalalignment=dict(
                        l='left', m='center', r='right')[item.anchor[0]],
                    verticalalignment='baseline', zorder=layer)
            else:
                for patch in outline_patches(item, points):
                    axes.add_patch(patch)
                    patch.set_zorder(layer)
                    if item.clip is not None:
                        patch.set_clip_path(
                            rectangle(item.clip, transform=axes.transData))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        with matplotlib.rc_context({
                'font.family': 'DejaVu Sans', 'pdf.fonttype': 42,
                'svg.fonttype': 'none', 'image.composite_image': False}), \
                replacing(path) as file:
            figure.savefig(file, format=kind)


def paint_outline(canvas: Image.Image, item: Outline) -> None:
    """Draw a rectangle into a picture, in place."""
    clip = item.clip or (0, 0, *canvas.size)
    left, top, right, bottom = map(round, clip)
    part = canvas.crop((left, top, right, bottom))
    draw = ImageDraw.Draw(part)
    for (x1, y1, x2, y2), width, colour in item.lines():
        draw.rectangle([x1 - left, y1 - top, x2 - left, y2 - top],
                       outline=colour, width=width)
    canvas.paste(part, (left, top))


def outline_patches(item: Outline, points: float) -> list[Rectangle]:
    """Return the lines of a rectangle for matplotlib, which draws a line over
    both sides of a rectangle's edge."""
    patches = []
    for (x1, y1, x2, y2), width, colour in item.lines():
        inward = min(width / 2, (x2 - x1) / 2, (y2 - y1) / 2)
        patches.append(rectangle(
            (x1 + inward, y1 + inward, x2 - inward, y2 - inward), fill=False,
            linewidth=width * points, edgecolor=hexadecimal(colour),
            joinstyle='miter'))
    return patches


def rectangle(area: Sequence[float], **options: Any) -> Rectangle:
    """Return a rectangle (x1, y1, x2, y2) of matplotlib."""
    x1, y1, x2, y2 = area
    return Rectangle((x1, y1), x2 - x1, y2 - y1, **options)


def ordered(box: Sequence[float]) -> list[float]:
    """Return a box as Pillow takes it: x1 <= x2 and y1 <= y2."""
    x1, y1, x2, y2 = map(float, box)
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def hexadecimal(colour: RGB) -> str:
    """Write a colour as ``#rrggbb``."""
    return '#{:02x}{:02x}{:02x}'.format(*colour)


def wrapped(text: str, size: int, width: float) -> list[str]:
    """Divide a text into lines that are at most so wide."""
    lines = ['']
    for word in text.split(' '):
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and font(size).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, which every installation has."""
    return ImageFont.truetype(findfont('DejaVu Sans'), size)

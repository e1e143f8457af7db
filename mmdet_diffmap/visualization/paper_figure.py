# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Figures of maps as they go into a paper: the paper's Fig. 2, 3 and 4."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from mmengine.structures import InstanceData

from ..io.files import DPI
from ..tracing.word_scores import WordScores
from . import word_bars
from .colours import EDGE, OTHER, RGB, TARGET, colour_bar, overlay, resize
from .drawing import INK, hexadecimal
from .figure import HEATMAP, IMAGE, POSITIVE, SCALES, SIGNED, object_map
from .lines import paper_style

#: In inches.
GAP, BLOCK_GAP = 0.03, 0.12
LABEL = 0.14  # above a row, for what it is
TITLE = 0.17  # above a block
NAMES = 0.15  # above the first blocks, for what the columns are
BARS = 0.57  # below all
BAR = 0.08  # height of a colour bar
PIXEL = 1 / 144  # of other figures: words of 14 pixels have 7 points here


@dataclass(frozen=True)
class MapRow:
    """A row of a block: one object.

    Args:
        label (str): What is said of it.
        picture (np.ndarray): The image, uint8 RGB, shape (H, W, 3).
        instances (InstanceData): Objects, boxes in pixels of the picture.
        index (int, optional): Which of them; None if it was not found.
    """
    label: str
    picture: np.ndarray
    instances: InstanceData
    index: int | None = 0

    @property
    def words(self) -> WordScores | None:
        """What each word counts, of a detector that is asked with a text."""
        if self.index is None or 'words' not in self.instances:
            return None
        words: WordScores = self.instances.words[self.index]
        return words


@dataclass(frozen=True)
class Block:
    """Rows of maps under one title.

    Args:
        title (str): What they have in common; '' for nothing.
        rows (Sequence[MapRow]): The rows. Blocks beside each other have the
            same pictures.
    """
    title: str
    rows: Sequence[MapRow]


@dataclass
class Layout:
    """Where everything is in a figure, in inches from the upper left.

    Args:
        width (float): Of the figure.
        across (int): So many blocks are beside each other.
        columns (int): So many panels are beside each other in a block.
    """
    width: float
    across: int
    columns: int

    @property
    def block(self) -> float:
        """The width of a block."""
        return (self.width - 2 * GAP - (self.across - 1) * BLOCK_GAP) \
            / self.across

    @property
    def panel(self) -> float:
        """The width of a panel."""
        return (self.block - (self.columns - 1) * GAP) / self.columns

    def left(self, block: int, column: int) -> float:
        """Return where a panel begins."""
        return GAP + block * (self.block + BLOCK_GAP) \
            + column * (self.panel + GAP)

    def height(self, row: MapRow) -> float:
        """Return the height of a panel."""
        height, width = row.picture.shape[:2]
        return self.panel * height / width

    def words(self, row: MapRow) -> float:
        """Return how much room the words below a row take."""
        if row.words is None:
            return 0.
        _, shares = word_bars.shares_of(row.words)
        lines = list(word_bars.lines_of(shares, self.letters))
        return (word_bars.CAPTION + len(lines) * word_bars.LINE) * PIXEL

    @property
    def letters(self) -> int:
        """The width of a block, in pixels of other figures."""
        return int(self.block / PIXEL)

    def heights(self, rows: Sequence[MapRow]) -> float:
        """Return what rows beside each other take."""
        return LABEL + self.height(rows[0]) + max(map(self.words, rows))


def draw_blocks(blocks: Sequence[Block], columns: Mapping[str, str],
                width: float, across: int) -> Figure:
    """Draw blocks of maps, with colour bars for all below.

    Letters and boxes are vectors; photographs and maps have 300 pixels an
    inch.

    Args:
        blocks (Sequence[Block]): The blocks, in reading order.
        columns (Mapping): Some of the columns of
            :func:`~mmdet_diffmap.visualization.draw_explanations`, with what
            they are called here.
        width (float): Of the figure, in inches.
        across (int): How many blocks are beside each other, at most.
    """
    layout = Layout(width, min(across, len(blocks)), len(columns))
    lines = [blocks[first:first + layout.across]
             for first in range(0, len(blocks), layout.across)]
    title = TITLE if any(block.title for block in blocks) else 0.
    free = len(lines[-1]) < layout.across  # room for the colour bars
    height = NAMES + (GAP if free else BARS) + sum(
        title + sum(layout.heights(rows) for rows in zip(
            *(block.rows for block in line)))
        for line in lines)
    with paper_style():
        figure = Figure(figsize=(width, height))
        canvas = Canvas(figure, width, height)
        top = NAMES
        for number in range(layout.across):
            for column, name in enumerate(columns.values()):
                middle = layout.left(number, column) + layout.panel / 2
                canvas.text(middle, NAMES - 0.03, name, va='baseline',
                            ha='center', fontsize=7)
        for line in lines:
            for number, block in enumerate(line):
                canvas.text(layout.left(number, 0), top + TITLE - 0.03,
                            block.title, va='baseline', ha='left')
            top += title
            for rows in zip(*(block.rows for block in line)):
                for number, row in enumerate(rows):
                    draw_row(canvas, layout, number, top, row, columns)
                top += layout.heights(rows)
        if free:
            draw_bars(canvas, layout.left(len(lines[-1]), 0), top - BARS,
                      layout.block, columns)
        else:
            draw_bars(canvas, 0, top + 0.08, width, columns)
    return figure


@dataclass
class Canvas:
    """A figure in which places are in inches from the upper left."""
    figure: Figure
    width: float
    height: float

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text."""
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)

    def rectangle(self, left: float, top: float, width: float, height: float,
                  colour: RGB) -> None:
        """Draw a filled rectangle."""
        self.figure.add_artist(Rectangle(
            (left / self.width, 1 - (top + height) / self.height),
            width / self.width, height / self.height,
            transform=self.figure.transFigure, linewidth=0,
            facecolor=hexadecimal(colour)))

    def axes(self, left: float, top: float, width: float,
             height: float) -> Axes:
        """Return axes without ticks."""
        return self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height,
             width / self.width, height / self.height), xticks=[], yticks=[])


def draw_row(canvas: Canvas, layout: Layout, block: int, top: float,
             row: MapRow, columns: Mapping[str, str]) -> None:
    """Draw the panels of a row, and the words below them."""
    height = layout.height(row)
    canvas.text(layout.left(block, 0), top + LABEL - 0.035, row.label,
                va='baseline', ha='left', fontsize=7)
    top += LABEL
    if row.words is not None:
        draw_words(canvas, layout, layout.left(block, 0), top + height,
                   row.words)
    size = round(layout.panel * DPI), round(height * DPI)
    photo = resize(row.picture, size)
    for column, name in enumerate(columns):
        axes = canvas.axes(layout.left(block, column), top, layout.panel,
                           height)
        axes.spines[:].set_visible(False)
        panel = photo
        if name in SCALES and row.index is not None:
            values = object_map(row.instances[row.index], name)
            panel = overlay(photo, values.float().cpu().numpy(), SCALES[name])
        length, width = row.picture.shape[:2]
        axes.imshow(panel, extent=(0, width, length, 0), aspect='auto')
        if row.index is None:
            axes.text(width / 2, length / 2, 'not found', ha='center',
                      va='center', bbox=dict(facecolor='white', linewidth=0))
            break
        draw_boxes(axes, row, others=name == IMAGE)


def draw_words(canvas: Canvas, layout: Layout, left: float, top: float,
               words: WordScores) -> None:
    """Draw bars of words, as other figures have them."""
    caption, shares = word_bars.shares_of(words)
    canvas.text(left, top + 14 * PIXEL, caption, va='baseline', ha='left',
                fontsize=6, color=hexadecimal(word_bars.QUIET))
    top += word_bars.CAPTION * PIXEL
    full = word_bars.BAR * PIXEL
    for line in word_bars.lines_of(shares, layout.letters):
        place = left
        zero = top + (word_bars.LETTERS + 6) * PIXEL + full
        for word, share in line:
            wide = word_bars.word_width(word) * PIXEL
            canvas.text(place + wide / 2, top + word_bars.LETTERS * PIXEL,
                        word, va='baseline', ha='center', fontsize=7)
            height = abs(share) * full
            canvas.rectangle(
                place + 4 * PIXEL, zero - height * (share > 0),
                wide - 8 * PIXEL, height, word_bars.colour_of(share))
            canvas.rectangle(place, zero, wide, PIXEL, INK)
            canvas.text(place + wide / 2, zero + full + 13 * PIXEL,
                        word_bars.share_text(share), va='baseline',
                        ha='center', fontsize=5.5)
            place += wide + word_bars.SPACE * PIXEL
        top += word_bars.LINE * PIXEL


def draw_boxes(axes: Axes, row: MapRow, others: bool) -> None:
    """Outline the object and, thinly, the others."""
    for i, (x1, y1, x2, y2) in enumerate(row.instances.bboxes.tolist()):
        own = i == row.index
        if own or others:
            axes.add_patch(Rectangle(
                (x1, y1), x2 - x1, y2 - y1, fill=False,
                edgecolor=hexadecimal(TARGET if own else OTHER),
                linewidth=0.7 if own else 0.4, zorder=3 if own else 2,
                path_effects=[withStroke(
                    linewidth=1.3, foreground=hexadecimal(EDGE))]
                if own else []))


def draw_bars(canvas: Canvas, left: float, top: float, width: float,
              columns: Mapping[str, str]) -> None:
    """Draw a colour bar for each scale of the columns, beside each other: the
    colours as they look on grey."""
    scales: dict[bool, list[str]] = {}
    for name, title in columns.items():
        if name in SCALES:
            scales.setdefault(SCALES[name], []).append(title)
    room = width / len(scales)
    length = min(1.6, room - 0.3)
    for number, (signed, titles) in enumerate(scales.items()):
        middle = left + (number + 0.5) * room
        axes = canvas.axes(middle - length / 2, top, length, BAR)
        low = -1 if signed else 0
        axes.imshow(colour_bar((256, 1), signed), extent=(low, 1, 0, 1),
                    aspect='auto')
        ticks = [low, (low + 1) / 2, 1]
        axes.tick_params(length=2, pad=1, labelsize=7)
        axes.set_xticks(ticks, [f'{value:g}'.replace('-', '−')
                                for value in ticks])
        texts = [', '.join(titles)]
        if signed:
            texts.append('(+ this object, − others)')
        for line, text in enumerate(texts):
            canvas.text(middle, top + BAR + 0.25 + 0.12 * line, text,
                        va='baseline', ha='center', fontsize=7)


#: What columns are called beside a block's title, which says the rest.
COLUMNS = {HEATMAP: 'heat map', SIGNED: 'difference map', POSITIVE: '> 0'}

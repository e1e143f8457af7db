# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of an explained image: one row an object, as in the paper's
Fig. 3, or one row a method or detector, as in Fig. 4 and 2."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import findfont
from mmengine.structures import InstanceData
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..maps.difference import positive_part
from .colours import OTHER, TARGET, colour_bar, overlay, resize, scheme

PANEL = 360  # longest side of a picture
GAP = 8
TITLE = 26  # height of the line above a row
HEADER = 66  # height of the column names and colour bars
INK, PAPER = (20, 20, 20), (255, 255, 255)
IMAGE, HEATMAP = 'image', 'heat map'
SIGNED, POSITIVE = 'difference map', 'difference map > 0'
EVIDENCE = 'for and against'
COLUMNS = (IMAGE, HEATMAP, SIGNED, POSITIVE)
#: Of each column that shows a map, whether its values are in [-1, 1].
SCALES = {HEATMAP: False, EVIDENCE: True, SIGNED: True, POSITIVE: False}


def draw_explanations(image: np.ndarray,
                      instances: InstanceData,
                      class_names: Sequence[str],
                      columns: Sequence[str] = COLUMNS,
                      boxes: bool = True) -> np.ndarray:
    """Draw the explanation of every object of an image.

    Each row shows the image with the object's box, and over it the heat map,
    the signed difference map (orange, by default: this object only, blue:
    only others, unchanged: neither) and its positive part. Where there are
    signed maps of what speaks for it and what against, they come after the
    image, and each row says what they mean.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        instances (InstanceData): Of :func:`~mmdet_diffmap.explain`: boxes in
            pixels of ``image``, maps of its size.
        class_names (Sequence[str]): The name of each label.
        columns (Sequence[str]): Some of ``COLUMNS``.
        boxes (bool): Whether to outline the objects.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    rows = [Row(title(instances, i, class_names), instances, i)
            for i in range(len(instances))]
    columns = with_evidence(columns, instances)
    return draw_rows(
        image, rows or [Row('no object above the score threshold', instances)],
        columns, boxes)


def draw_comparison(image: np.ndarray, class_name: str,
                    rows: Sequence[tuple[str, InstanceData]]) -> np.ndarray:
    """Draw what several methods, or several detectors, say about one object.

    Each row shows the heat map, the signed difference map and its positive
    part, as :func:`draw_explanations` does.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        class_name (str): The object's class.
        rows (Sequence): For each method or detector, its name and the one
            object; none if the detector did not find it.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    return draw_rows(image, [
        Row(f'{name}:  {class_name}  {float(instances.scores[0]):.2f}',
            instances, 0) if len(instances) else
        Row(f'{name}:  no such {class_name}', instances)
        for name, instances in rows
    ], with_evidence(COLUMNS[1:], *(instances for _, instances in rows)))


def with_evidence(columns: Sequence[str],
                  *all_instances: InstanceData) -> list[str]:
    """Return the columns with that of signed maps, if some results have
    them."""
    if not any('evidence_maps' in instances for instances in all_instances):
        return list(columns)
    place = int(columns[0] == IMAGE) if columns else 0
    return [*columns[:place], EVIDENCE, *columns[place:]]


@dataclass(frozen=True)
class Row:
    """A row of a figure: a title, and the maps of one of several objects, or
    of none."""
    title: str
    instances: InstanceData
    index: int | None = None


def draw_rows(image: np.ndarray,
              rows: Sequence[Row],
              columns: Sequence[str],
              boxes: bool = True) -> np.ndarray:
    """Return a figure of rows; ``columns`` are some of ``COLUMNS``."""
    height, width = image.shape[:2]
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = resize(image, size)
    cell = max(size[0], 150), size[1]  # room for the names of the columns
    figure = Image.new('RGB', (GAP + len(columns) * (cell[0] + GAP), HEADER +
                               len(rows) * (TITLE + cell[1] + GAP)), PAPER)
    draw = ImageDraw.Draw(figure)
    for number, name in enumerate(columns):
        left = GAP + number * (cell[0] + GAP)
        draw.text((left, 4), name, INK, font(16))
        if name in SCALES:
            draw_colour_bar(figure, (left, 28), cell[0], SCALES[name])
    for number, row in enumerate(rows):
        top = HEADER + number * (TITLE + cell[1] + GAP)
        draw.text((GAP, top + 3), row.title, INK, font(15))
        for column, picture in enumerate(
                row_panels(photo, row, columns, scale, boxes)):
            figure.paste(picture,
                         (GAP + column * (cell[0] + GAP), top + TITLE))
    return np.asarray(figure)


def row_panels(photo: np.ndarray, row: Row, columns: Sequence[str],
               scale: float, outlined: bool) -> Iterator[Image.Image]:
    """Yield the pictures of a row; the photo alone where there is no
    object."""
    if row.index is None:
        yield Image.fromarray(photo)
        return
    boxes = row.instances.bboxes.cpu().numpy() * scale
    for name in columns:
        panel = photo
        if name == EVIDENCE and 'evidence_maps' not in row.instances:
            yield Image.new('RGB', photo.shape[1::-1], PAPER)
            continue
        if name in SCALES:
            values = object_map(row.instances[row.index], name)
            panel = overlay(photo, values.float().cpu().numpy(), SCALES[name])
        picture = Image.fromarray(panel)
        if outlined:
            draw_boxes(picture, boxes, row.index, others=name == IMAGE)
        yield picture


def object_map(instance: InstanceData, name: str) -> Tensor:
    """Return the map of one object that a column shows, shape (H, W)."""
    if name == HEATMAP:
        return instance.heatmaps[0]
    if name == EVIDENCE:
        return instance.evidence_maps[0]
    signed: Tensor = instance.difference_maps[0]
    return signed if name == SIGNED else positive_part(signed)


def title(instances: InstanceData, index: int,
          class_names: Sequence[str]) -> str:
    """Write an object's number, from 0, its class and its score, and what a
    signed map of it means."""
    name = label_name(class_names, int(instances.labels[index]))
    text = f'{index}  {name}  {float(instances.scores[index]):.2f}'
    if 'meanings' not in instances:
        return text
    meaning = instances.meanings[index]
    colours = scheme()
    return f'{text}:  {meaning.question}  ({colours.above}: ' \
        f'{meaning.above}, {colours.below}: {meaning.below})'


def label_name(class_names: Sequence[str], label: int) -> str:
    """Return the name of a label, also of one that has none."""
    return class_names[label] if label < len(class_names) else f'class {label}'


def draw_boxes(picture: Image.Image, boxes: np.ndarray, target: int,
               others: bool) -> None:
    """Outline the target and, thinly, the other objects, in place."""
    draw = ImageDraw.Draw(picture)
    if others:
        for i, box in enumerate(boxes):
            if i != target:
                draw.rectangle(ordered(box), outline=OTHER)
    draw.rectangle(ordered(boxes[target]), outline=TARGET, width=2)


def ordered(box: np.ndarray) -> list[float]:
    """Return the box as Pillow takes it: x1 <= x2 and y1 <= y2."""
    x1, y1, x2, y2 = box.tolist()
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def draw_colour_bar(figure: Image.Image, corner: tuple[int, int], width: int,
                    signed: bool) -> None:
    """Draw a colour bar with its ends and middle named, in place."""
    left, top = corner
    figure.paste(Image.fromarray(colour_bar((width, 12), signed)), corner)
    draw = ImageDraw.Draw(figure)
    low = -1 if signed else 0
    for fraction, anchor in ((0, 'la'), (.5, 'ma'), (1, 'ra')):
        value = low + fraction * (1 - low)
        draw.text((left + fraction * width, top + 13), f'{value:g}', INK,
                  font(13), anchor)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, which every installation has."""
    return ImageFont.truetype(findfont('DejaVu Sans'), size)

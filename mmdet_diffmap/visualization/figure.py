# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of an explained image: one row an object, as in the paper's
Fig. 3, or one row a method or detector, as in Fig. 4 and 2."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..maps.difference import positive_part
from .colours import OTHER, TARGET, colour_bar, overlay, scheme
from .contours import with_contour
from .crops import Region, whole_image, with_surroundings
from .drawing import DENSITY, FORMATS, PAPER, VECTOR, Area, Drawing
from .word_bars import add_word_bars

PANEL = 360  # longest side of a picture
CELL = 190  # least width of a column: room for what its colours mean
GAP = 8
TITLE = 26  # height of the line above a row
IMAGE, HEATMAP = 'image', 'heat map'
SIGNED, POSITIVE = 'difference map', 'difference map > 0'
EVIDENCE = 'for and against'
COLUMNS = (IMAGE, HEATMAP, SIGNED, POSITIVE)
#: Of each column that shows a map, whether its values are in [-1, 1].
SCALES = {HEATMAP: False, EVIDENCE: True, SIGNED: True, POSITIVE: False}
#: What the first and the last colour of a column mean.
MEANINGS = {
    HEATMAP: ('unimportant', 'most important'),
    EVIDENCE: ('against it', 'for it'),
    SIGNED: ('only others', 'only this object'),
    POSITIVE: ('others as much', 'only this object')
}


@dataclass(frozen=True)
class FigureStyle:
    """How figures look, and which file they become.

    Args:
        format (str): ``png``, ``jpg``, ``pdf`` or ``svg``. In the last two,
            text is text and boxes are lines.
        crop (bool): Whether a row shows its object and what is around it,
            enlarged, in place of the whole image.
        max_rows (int, optional): At most so many objects, best first.

    Raises:
        ValueError: If there is no such format, or no row is left.
    """
    format: str = 'png'
    crop: bool = False
    max_rows: int | None = 20

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f'there is no format {self.format!r} of figures: '
                             f'take one of {", ".join(FORMATS)}')
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError('max_rows must be at least 1, not '
                             f'{self.max_rows}')

    @property
    def density(self) -> int:
        """How many pixels a picture has for each unit of a figure."""
        return DENSITY if self.format in VECTOR else 1


DEFAULT_STYLE = FigureStyle()


def draw_explanations(image: np.ndarray,
                      instances: InstanceData,
                      class_names: Sequence[str],
                      columns: Sequence[str] = COLUMNS,
                      boxes: bool = True,
                      style: FigureStyle = DEFAULT_STYLE,
                      caption: Sequence[str] = ()) -> np.ndarray:
    """Draw the explanation of every object of an image.

    Each row shows the image with the object's box, and over it the heat map,
    the signed difference map (orange, by default: this object only, blue:
    only others, unchanged: neither) and its positive part. Where there are
    signed maps of what speaks for it and what against, they come after the
    image, and each row says what they mean. Under the row of an object that a
    text-prompted detector finds are the text's words with their bars, see
    :mod:`~mmdet_diffmap.visualization.word_bars`. What columns, colours and
    boxes mean stands above the rows.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        instances (InstanceData): Of :func:`~mmdet_diffmap.explain`: boxes in
            pixels of ``image``, maps of its size.
        class_names (Sequence[str]): The name of each label.
        columns (Sequence[str]): Some of ``COLUMNS``.
        boxes (bool): Whether to outline the objects.
        style (FigureStyle): How large and how many the rows are.
        caption (Sequence[str]): What stands above all, such as the detector
            and the method; long lines are divided.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    return explanations_drawing(image, instances, class_names, columns, boxes,
                                style, caption).pixels()


def explanations_drawing(image: np.ndarray,
                         instances: InstanceData,
                         class_names: Sequence[str],
                         columns: Sequence[str] = COLUMNS,
                         boxes: bool = True,
                         style: FigureStyle = DEFAULT_STYLE,
                         caption: Sequence[str] = ()) -> Drawing:
    """Return the figure of :func:`draw_explanations`, to be saved in any
    format."""
    shown = range(len(instances))[:style.max_rows]
    rows = [Row(title(instances, i, class_names), instances, i,
                instances.bboxes[i].tolist()) for i in shown]
    if len(shown) < len(instances):
        caption = [*caption,
                   f'{len(shown)} of {len(instances)} objects, best first']
    columns = with_evidence(columns, instances)
    return rows_drawing(
        image, rows or [Row('no object above the score threshold', instances)],
        columns, boxes, style, caption)


def draw_comparison(image: np.ndarray,
                    class_name: str,
                    rows: Sequence[tuple[str, InstanceData]],
                    style: FigureStyle = DEFAULT_STYLE,
                    caption: Sequence[str] = ()) -> np.ndarray:
    """Draw what several methods, or several detectors, say about one object.

    Each row shows the heat map, the signed difference map and its positive
    part, as :func:`draw_explanations` does.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        class_name (str): The object's class.
        rows (Sequence): For each method or detector, its name and the one
            object; none if the detector did not find it.
        style (FigureStyle): How large the rows are. All are drawn.
        caption (Sequence[str]): What stands above all.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    return comparison_drawing(image, class_name, rows, style,
                              caption).pixels()


def comparison_drawing(image: np.ndarray,
                       class_name: str,
                       rows: Sequence[tuple[str, InstanceData]],
                       style: FigureStyle = DEFAULT_STYLE,
                       caption: Sequence[str] = ()) -> Drawing:
    """Return the figure of :func:`draw_comparison`, to be saved in any
    format."""
    # a part of the image says nothing without the place where it is
    columns = COLUMNS if style.crop else COLUMNS[1:]
    # all rows show the same part
    around = next((instances.bboxes[0].tolist() for _, instances in rows
                   if len(instances)), None)
    return rows_drawing(image, [
        Row(f'{name}:  {class_name}  {float(instances.scores[0]):.2f}',
            instances, 0, around) if len(instances) else
        Row(f'{name}:  no such {class_name}', instances, None, around)
        for name, instances in rows
    ], with_evidence(columns, *(instances for _, instances in rows)),
        style=style, caption=caption)


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
    of none; and the box that is seen where the image is cropped."""
    title: str
    instances: InstanceData
    index: int | None = None
    around: Sequence[float] | None = None

    def region(self, image: np.ndarray, crop: bool) -> Region:
        """Return the part of the image that the row shows."""
        if self.around is None or not crop:
            return whole_image(image)
        return with_surroundings(self.around, image)


def rows_drawing(image: np.ndarray,
                 rows: Sequence[Row],
                 columns: Sequence[str],
                 boxes: bool = True,
                 style: FigureStyle = DEFAULT_STYLE,
                 caption: Sequence[str] = ()) -> Drawing:
    """Draw a figure of rows; ``columns`` are some of ``COLUMNS``."""
    regions = [row.region(image, style.crop) for row in rows]
    sizes = [region.fitted(PANEL) for region in regions]
    cell = max(CELL, *(width for width, _ in sizes))
    drawing = Drawing(GAP + len(columns) * (cell + GAP))
    if caption:
        drawing.caption(caption, GAP)
    if boxes:
        others = IMAGE in columns and any(
            len(row.instances) > 1 for row in rows)
        add_box_legend(drawing, others, style.crop)
    add_column_names(drawing, columns, cell)
    for row, region, size in zip(rows, regions, sizes):
        drawing.text((GAP, drawing.height + 3), row.title, 15)
        top = drawing.height + TITLE
        photo = region.resized(image, size, style.density)
        for number, name in enumerate(columns[:None if row.index is not None
                                              else 1]):
            left = GAP + number * (cell + GAP)
            add_panel(drawing, (left, top, left + size[0], top + size[1]),
                      photo, row, region, name, boxes)
            if name == IMAGE and style.crop:
                add_inset(drawing, (left, top, left + size[0], top + size[1]),
                          image, row, region, style.density)
        drawing.height = top + size[1] + GAP
        if row.index is not None and 'words' in row.instances:
            add_word_bars(drawing, row.instances.words[row.index], GAP,
                          drawing.width - 2 * GAP)
    return drawing


def add_box_legend(drawing: Drawing, others: bool, crop: bool) -> None:
    """Say what outlines mean, in one line."""
    left, top = GAP, drawing.height + 5
    for ink, width, meaning, there in (
            (TARGET, 2, 'the object', True),
            (OTHER, 1, 'other objects', others),
            (PAPER, 2, 'the enlarged part', crop)):
        if there:
            drawing.outline((left, top + 1, left + 22, top + 14), ink, width)
            drawing.text((left + 29, top), meaning, 13)
            left += 155
    drawing.height += 28


def add_column_names(drawing: Drawing, columns: Sequence[str],
                     cell: int) -> None:
    """Write the name of each column, and what its colours mean."""
    top = drawing.height
    for number, name in enumerate(columns):
        left = GAP + number * (cell + GAP)
        drawing.text((left, top), name, 16)
        if name in SCALES:
            add_colour_bar(drawing, (left, top + 24), cell, SCALES[name])
            for end, anchor, meaning in zip((left, left + cell), ('la', 'ra'),
                                            MEANINGS[name]):
                drawing.text((end, top + 54), meaning, 12, anchor)
    drawing.height = top + (76 if any(name in SCALES for name in columns)
                            else 26)


def add_colour_bar(drawing: Drawing, corner: tuple[int, int], width: int,
                   signed: bool) -> None:
    """Draw a colour bar, and write its ends and middle."""
    left, top = corner
    drawing.picture(corner, colour_bar((width, 12), signed), (width, 12))
    low = -1 if signed else 0
    for fraction, anchor in ((0, 'la'), (.5, 'ma'), (1, 'ra')):
        value = low + fraction * (1 - low)
        drawing.text((left + fraction * width, top + 14),
                     f'{value:g}'.replace('-', '−'), 13, anchor)


def add_panel(drawing: Drawing, area: Area, photo: np.ndarray, row: Row,
              region: Region, name: str, outlined: bool) -> None:
    """Draw what a column shows of a row: the photo, a map over it, or nothing
    where there is no such map."""
    panel = photo
    if row.index is not None and name in SCALES:
        if name == EVIDENCE and 'evidence_maps' not in row.instances:
            return
        values = object_map(row.instances[row.index], name)
        panel = overlay(photo, region.cut(values).float().cpu().numpy(),
                        SCALES[name])
    size = round(area[2] - area[0]), round(area[3] - area[1])
    if outlined and row.index is not None and 'masks' in row.instances:
        mask = region.cut(row.instances.masks[row.index])
        panel = with_contour(panel, mask.cpu().numpy(), TARGET,
                             max(1, round(panel.shape[1] / size[0])))
    drawing.picture(area[:2], panel, size)
    if outlined and row.index is not None:
        add_boxes(drawing, area, row, region, others=name == IMAGE)


def add_boxes(drawing: Drawing, area: Area, row: Row, region: Region,
              others: bool) -> None:
    """Outline a row's object and, thinly, the others."""
    boxes = row.instances.bboxes.tolist()
    for index, box in enumerate(boxes):
        if others and index != row.index:
            drawing.outline(region.placed(box, area), OTHER, 1, area)
    assert row.index is not None
    drawing.outline(region.placed(boxes[row.index], area), TARGET, 2, area)


def add_inset(drawing: Drawing, area: Area, image: np.ndarray, row: Row,
              region: Region, density: int) -> None:
    """Show where an enlarged part is in the whole image, in the corner that is
    farthest from the object."""
    if row.around is None or region.share(image) > 0.5:
        return  # it is seen without
    whole = whole_image(image)
    width, height = whole.fitted(
        round(max(area[2] - area[0], area[3] - area[1]) / 3.2))
    x1, y1, x2, y2 = region.placed(row.around, area)
    left = area[0] if x1 + x2 > area[0] + area[2] else area[2] - width
    top = area[1] if y1 + y2 > area[1] + area[3] else area[3] - height
    place = left, top, left + width, top + height
    drawing.picture((left, top), whole.resized(image, (width, height),
                                               density), (width, height))
    drawing.outline(place, PAPER, 1, area)
    drawing.outline(whole.placed(region.box, place), PAPER, 2, place)


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


def label_names(sample: DetDataSample,
                class_names: Sequence[str]) -> Sequence[str]:
    """Return the name of each label of an explained image: the phrases of the
    text that its detector was asked with, else the detector's classes."""
    names: Sequence[str] = sample.metainfo.get('phrases', class_names)
    return names


def label_name(class_names: Sequence[str], label: int) -> str:
    """Return the name of a label, also of one that has none."""
    return class_names[label] if label < len(class_names) else f'class {label}'

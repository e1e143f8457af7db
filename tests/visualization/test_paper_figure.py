import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from mmengine.structures import InstanceData

from mmdet_diffmap.tracing.word_scores import WordScores
from mmdet_diffmap.visualization.colours import overlay, resize
from mmdet_diffmap.visualization.figure import (
    HEATMAP,
    IMAGE,
    POSITIVE,
    SCALES,
    SIGNED,
)
from mmdet_diffmap.visualization.lines import COLUMN, PAGE
from mmdet_diffmap.visualization.paper_figure import (
    COLUMNS,
    Block,
    MapRow,
    draw_blocks,
)

BOXES = [[2., 3., 20., 15.], [30., 5., 38., 28.]]


@pytest.fixture
def row():
    torch.manual_seed(0)
    picture = np.random.default_rng(0).integers(
        0, 255, (30, 40, 3)).astype(np.uint8)
    return MapRow('$ traffic light $ 0.93', picture, InstanceData(
        bboxes=torch.tensor(BOXES), heatmaps=torch.rand(2, 30, 40),
        difference_maps=torch.rand(2, 30, 40) * 2 - 1), 1)


def test_words_are_below_their_row(row):
    values = torch.tensor([0.5, -2., 1.])
    row.instances.words = [None, WordScores(
        'red car .', ((0, 3), (4, 7), (8, 9)), values, 0.1, 'score')]
    plain = MapRow('', row.picture, row.instances, None)
    alone, figure = (draw_blocks([Block('', rows)], COLUMNS, COLUMN, 1)
                     for rows in ([plain, plain], [row, plain]))
    room = figure.get_figheight() - alone.get_figheight()
    assert room > 0.3  # inches, for bars up and down
    texts = [text.get_text() for text in figure.texts]
    first = texts.index('words, for and against its score; 1 is 2')
    assert texts[first + 1:first + 7] == [
        'red', '+0.25', 'car', '−1.00', '.', '+0.50']
    bars = figure.artists  # and after each its line of zero
    heights = [bar.get_height() * figure.get_figheight() for bar in bars[::2]]
    assert heights == pytest.approx([18 / 144 * share
                                     for share in (0.25, 1, 0.5)])
    for bar, zero, value in zip(bars[::2], bars[1::2], values):
        line = zero.get_y() + zero.get_height()  # y points up
        end = bar.get_y() if value > 0 else bar.get_y() + bar.get_height()
        assert end == pytest.approx(line)
    # two of the same text, one below the other, do not meet
    panels = [axes.get_position() for axes in panels_of(figure)]
    assert panels[-1].y1 < min(bar.get_y() for bar in bars) < panels[0].y0


def panels_of(figure):
    """The axes with a map or an image, without those of colour bars."""
    return [axes for axes in figure.axes if not axes.get_xticks().size]


def test_every_panel_has_its_map_at_300_pixels_an_inch(row):
    columns = {IMAGE: 'image', **COLUMNS}
    figure = draw_blocks([Block('', [row])], columns, COLUMN, 1)
    maps = {HEATMAP: row.instances.heatmaps[1],
            SIGNED: row.instances.difference_maps[1]}
    positive = maps[SIGNED].relu()
    maps[POSITIVE] = positive / positive.max()
    panels = panels_of(figure)
    assert len(panels) == len(columns) == 4
    for axes, name in zip(panels, columns):
        shown = axes.get_images()[0].get_array()
        inches = axes.get_position().width * COLUMN
        assert shown.shape[1] == pytest.approx(300 * inches, abs=1)
        expected = resize(row.picture, shown.shape[1::-1])
        if name != IMAGE:
            expected = overlay(expected, maps[name].numpy(), SCALES[name])
        difference = np.abs(expected.astype(int) - shown)
        assert difference.max() <= 1, name  # of rounding
        boxes = [(patch.get_bbox().extents.tolist(), patch.get_linewidth())
                 for patch in axes.patches if isinstance(patch, Rectangle)]
        own = max(boxes, key=lambda box: box[1])
        assert own[0] == BOXES[1] and len(boxes) == 1 + (name == IMAGE)
    texts = [text.get_text() for text in figure.texts]
    assert texts[:4] == list(columns.values()) and row.label in texts


def test_blocks_stand_side_by_side_on_a_page_only(row):
    blocks = [Block(f'({letter}) X', [row, row]) for letter in 'abcd']
    page = draw_blocks(blocks, COLUMNS, PAGE, 2)
    column = draw_blocks(blocks, COLUMNS, COLUMN, 1)
    assert len(panels_of(page)) == len(panels_of(column)) == 4 * 2 * 3
    assert page.get_size_inches()[1] < column.get_size_inches()[1]
    for figure in page, column:
        figure.draw_without_rendering()
        panels = [axes.bbox for axes in figure.axes]
        for number, box in enumerate(panels):
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other)
                           for other in panels[number + 1:])


@pytest.mark.parametrize('width, across, count', [
    (COLUMN, 1, 1), (PAGE, 2, 4), (PAGE, 2, 5)])
def test_no_text_lies_on_another_or_is_cut_off(width, across, count, row):
    blocks = [Block('(a) Some detector', [row]) for _ in range(count)]
    figure = draw_blocks(blocks, COLUMNS, width, across)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts
             if text.get_text()]
    boxes += [label.get_window_extent() for axes in figure.axes
              for label in axes.get_xticklabels()]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[number + 1:])


def test_what_was_not_found_is_said(row):
    gone = MapRow('cat', row.picture, row.instances[:0], None)
    figure = draw_blocks([Block('(a) X', [row]), Block('(b) Y', [gone])],
                         COLUMNS, PAGE, 2)
    panels = panels_of(figure)
    assert len(panels) == 3 + 1
    assert [text.get_text() for text in panels[-1].texts] == ['not found']
    assert not panels[-1].patches

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmdet_diffmap.tracing.named_outputs import Meaning
from mmdet_diffmap.visualization import draw_comparison, draw_explanations
from mmdet_diffmap.visualization.colours import EDGE, TARGET, overlay
from mmdet_diffmap.visualization.drawing import Picture, Text
from mmdet_diffmap.visualization.figure import (
    COLUMNS,
    GAP,
    PANEL,
    TITLE,
    FigureStyle,
    comparison_drawing,
    explanations_drawing,
    title,
)


def instances_of(count, height, width):
    instances = InstanceData(
        bboxes=torch.tensor([[.2, .2, .6, .6]]).repeat(count, 1) *
        torch.tensor([width, height] * 2),
        scores=torch.linspace(.9, .5, count),
        labels=torch.zeros(count, dtype=torch.long),
        heatmaps=torch.zeros(count, height, width),
        difference_maps=torch.zeros(count, height, width))
    return instances


def panel(figure, row, column, size):
    """The pixels of a panel; all rows are as high, and end at the bottom."""
    left = GAP + column * (max(size[0], 190) + GAP)
    height = TITLE + size[1] + GAP
    rows = (len(figure) - 70) // height
    top = len(figure) - (rows - row) * height + TITLE
    return figure[top:top + size[1], left:left + size[0]].astype(int)


def words(drawing):
    return [item.words for item in drawing.items if isinstance(item, Text)]


def pictures(drawing):
    """All pictures but the colour bars."""
    return [item for item in drawing.items
            if isinstance(item, Picture) and len(item.pixels) > 12]


@pytest.mark.parametrize('count, rows', [(0, 1), (1, 1), (3, 3)])
def test_one_row_an_object(count, rows):
    arguments = (np.zeros((90, 120, 3), np.uint8),
                 instances_of(count, 90, 120), ['cat'])
    figure = draw_explanations(*arguments)
    assert figure.dtype == np.uint8
    assert figure.shape[1:] == (GAP + 4 * (PANEL + GAP), 3)
    drawing = explanations_drawing(*arguments)
    assert len(pictures(drawing)) == (4 * rows if count else 1)
    titles = [f'{i}  cat  {score:.2f}' for i, score in enumerate(
        np.linspace(.9, .5, count) if count else [])]
    assert words(drawing)[-rows:] == (
        titles or ['no object above the score threshold'])


def test_a_figure_shows_the_best_and_says_how_many_there_are():
    image = np.zeros((90, 120, 3), np.uint8)
    instances = instances_of(57, 90, 120)
    drawing = explanations_drawing(image, instances, ['cat'])
    assert '20 of 57 objects, best first' in words(drawing)
    assert len(pictures(drawing)) == 4 * 20
    every = explanations_drawing(image, instances, ['cat'],
                                 style=FigureStyle(max_rows=None))
    assert len(pictures(every)) == 4 * 57
    assert not any('objects, best' in text for text in words(every))


def test_a_figure_says_what_it_means_and_what_made_it():
    drawing = explanations_drawing(
        np.zeros((90, 120, 3), np.uint8), instances_of(2, 90, 120), ['cat'],
        caption=['yolox · odam', 'a long line ' * 30])
    said = words(drawing)
    assert said[0] == 'yolox · odam'
    long = [text for text in said if ' long line' in text]
    assert len(long) > 1
    assert ' '.join(long).split() == ('a long line ' * 30).split()
    for text in (*COLUMNS, 'the object', 'other objects', 'only others',
                 'only this object', 'most important'):
        assert text in said
    assert 'the enlarged part' not in said
    plain = words(explanations_drawing(
        np.zeros((90, 120, 3), np.uint8), instances_of(1, 90, 120), ['cat'],
        boxes=False))
    assert 'the object' not in plain and 'other objects' not in plain


def test_no_such_style():
    with pytest.raises(ValueError, match="no format 'gif' of figures"):
        FigureStyle('gif')
    with pytest.raises(ValueError, match='max_rows must be at least 1, not 0'):
        FigureStyle(max_rows=0)


def small_object():
    """A photograph whose pixels tell where they are, and an object of 20x10
    pixels in it."""
    y, x = np.mgrid[:200, :250]
    image = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    instances = instances_of(1, 200, 250)
    instances.bboxes[0] = torch.tensor([130., 60, 150, 70])
    instances.heatmaps[0, 60:70, 130:150] = 1
    return image, instances


def test_a_small_object_is_enlarged_with_its_surroundings():
    """Its longer side again on each side; where that is, the first column
    shows."""
    image, instances = small_object()
    drawing = explanations_drawing(image, instances, ['cat'],
                                   style=FigureStyle(crop=True))
    assert 'the enlarged part' in words(drawing)
    photo, inset, heat, *_ = pictures(drawing)
    assert photo.pixels.shape == (PANEL, PANEL, 3)
    # 60x60 pixels around (140, 65), enlarged six times
    centre, corner = photo.pixels[PANEL // 2, PANEL // 2], photo.pixels[3, 3]
    np.testing.assert_allclose(centre[:2], [140, 65], atol=1)
    np.testing.assert_allclose(corner[:2], [110, 35], atol=1)
    coloured = np.ptp(heat.pixels.astype(int), axis=2) > 50
    rows, columns = np.nonzero(coloured)
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max(), rows.max()],
        [120, 150, 240, 210], atol=6)
    x1, y1, x2, y2 = inset.area
    assert (x2 - x1) / (y2 - y1) == pytest.approx(250 / 200, rel=0.02)
    frame = [item for item in drawing.items if not isinstance(
        item, (Picture, Text)) and item.clip == inset.area][-1]
    np.testing.assert_allclose(
        frame.area, [x1 + 110 * (x2 - x1) / 250, y1 + 35 * (y2 - y1) / 200,
                     x1 + 170 * (x2 - x1) / 250, y1 + 95 * (y2 - y1) / 200],
        atol=1)


def test_a_large_object_needs_no_inset():
    instances = instances_of(1, 90, 120)
    drawing = explanations_drawing(np.zeros((90, 120, 3), np.uint8),
                                   instances, ['cat'],
                                   style=FigureStyle(crop=True))
    assert len(pictures(drawing)) == 4


def test_rows_of_a_comparison_show_one_part():
    image, instances = small_object()
    other = instances_of(1, 200, 250)
    other.bboxes[0] = torch.tensor([131., 60, 151, 72])
    drawing = comparison_drawing(
        image, 'cat', [('a', instances), ('b', other), ('c', other[:0])],
        FigureStyle(crop=True), ['heading'])
    photos = [item for item in pictures(drawing)
              if item.area[0] == GAP and len(item.pixels) == PANEL]
    assert len(photos) == 3
    assert all((one.pixels == photos[0].pixels).all() for one in photos)
    assert 'heading' in words(drawing) and 'c:  no such cat' in words(drawing)


def test_outlines_are_seen_on_any_photo():
    """A light line with a dark edge."""
    for shade in 0, 255:
        figure = draw_explanations(np.full((90, 180, 3), shade, np.uint8),
                                   instances_of(1, 90, 180), ['cat'])
        photo = panel(figure, 0, 0, (PANEL, PANEL // 2))
        assert (photo == TARGET).all(axis=-1).sum() > 400
        assert (photo == EDGE).all(axis=-1).sum() > 400


def test_colours_mean_what_they_should():
    """Orange where only this object matters, blue where only others do, the
    grey photo where neither does."""
    photo = np.full((PANEL, PANEL, 3), (90, 120, 60), np.uint8)
    instances = instances_of(1, PANEL, PANEL)
    instances.difference_maps[0, :100, :100] = 1
    instances.difference_maps[0, :100, 250:] = -1
    instances.heatmaps[0, 300:, 300:] = 1
    figure = draw_explanations(photo, instances, ['cat'])
    size = (PANEL, PANEL)
    image, heat, signed, positive = (
        panel(figure, 0, column, size) for column in range(4))
    assert (image[20, 20] == (90, 120, 60)).all()
    orange, blue, neither = signed[20, 20], signed[20, 330], signed[300, 150]
    assert orange[0] > orange[1] + 80 and orange[1] > orange[2] + 20
    assert blue[2] > blue[0] + 80 and blue[2] > blue[1] + 80
    assert neither.max() - neither.min() <= 1
    assert heat[340, 340].max() - heat[340, 340].min() > 50
    assert np.ptp(heat[20, 20]) <= 1
    assert np.ptp(positive[20, 330]) <= 1  # blue has no positive part
    assert np.ptp(positive[20, 20]) > 50


def test_comparison_has_a_row_for_each_method():
    """Heat map, signed and positive difference map of the one object; the
    photo alone where it was not found."""
    photo = np.full((PANEL, PANEL, 3), (90, 120, 60), np.uint8)
    one = instances_of(1, PANEL, PANEL)
    one.difference_maps[0, :100, :100] = -1
    one.heatmaps[0, 300:, 300:] = 1
    figure = draw_comparison(photo, 'cat', [('first', one),
                                            ('second', one[:0])])
    assert figure.shape[1:] == (GAP + 3 * (PANEL + GAP), 3)
    size = (PANEL, PANEL)
    heat, signed, positive = (
        panel(figure, 0, column, size) for column in range(3))
    assert np.ptp(heat[340, 340]) > 50 and np.ptp(heat[20, 20]) <= 1
    assert signed[20, 20, 2] > signed[20, 20, 0] + 100
    assert np.ptp(positive[20, 20]) <= 1
    assert all((one == TARGET).all(axis=-1).any()
               for one in (heat, signed, positive))
    assert (panel(figure, 1, 0, size) == photo).all()
    assert (panel(figure, 1, 1, size) == 255).all()


def test_box_is_drawn_where_it_is():
    instances = instances_of(1, 90, 180)
    figure = draw_explanations(
        np.zeros((90, 180, 3), np.uint8), instances, ['cat'])
    first = panel(figure, 0, 0, (PANEL, PANEL // 2))
    rows, columns = np.nonzero((first == TARGET).all(axis=-1))
    box = instances.bboxes[0] * PANEL / 180
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max(), rows.max()], box, atol=1.5)


@pytest.mark.parametrize('shape', [(1, 1), (1, 8000), (8000, 1), (500, 31)])
def test_extreme_shapes(shape):
    figure = draw_explanations(
        np.zeros((*shape, 3), np.uint8), instances_of(2, *shape), ['cat'])
    assert figure.shape[0] < 2000 and figure.shape[1] < 2000


def test_more_objects_than_one_picture_of_matplotlib_could_show():
    figure = draw_explanations(
        np.zeros((60, 20, 3), np.uint8), instances_of(200, 60, 20), ['cat'],
        style=FigureStyle(max_rows=None))
    assert figure.shape[0] > 2**16


def test_overlay_of_an_empty_map_is_the_grey_photo():
    photo = np.full((4, 4, 3), (10, 200, 100), np.uint8)
    drawn = overlay(photo, np.zeros((4, 4), np.float32), True)
    assert np.ptp(drawn) == 0


def test_title():
    instances = instances_of(2, 4, 4)
    assert title(instances, 1, ['cat']) == '1  cat  0.50'
    assert title(instances, 0, []) == '0  class 0  0.90'


def test_signed_evidence_has_a_column_and_words():
    """Where a method was asked for both sides; orange is above zero, and
    blue below."""
    image = np.full((40, 40, 3), 128, np.uint8)
    instances = instances_of(1, 40, 40)
    assert not draws_both_sides(draw_explanations(
        image, instances, ['cat'], boxes=False), 1)
    signed = torch.ones(1, 40, 40)
    signed[:, 20:] = -1
    instances.evidence_maps = signed
    instances.meanings = [Meaning('why cat and not dog', 'cat', 'dog')]
    figure = draw_explanations(image, instances, ['cat'], boxes=False)
    assert draws_both_sides(figure, 1)
    assert title(instances, 0, ['cat']) == (
        '0  cat  0.90:  why cat and not dog  (orange: cat, blue: dog)')
    # of two detectors, one without such maps has an empty place
    comparison = draw_comparison(image, 'cat', [
        ('one', instances), ('other', instances_of(1, 40, 40))])
    assert draws_both_sides(comparison, 0)
    assert (panel(comparison, 1, 0, (PANEL, PANEL)) == 255).all()


def draws_both_sides(figure, column):
    """Whether a panel of the first row is orange above and blue below."""
    if figure.shape[1] <= GAP + column * (PANEL + GAP):
        return False
    red, _, blue = panel(figure, 0, column, (PANEL, PANEL)).astype(
        int).transpose(2, 0, 1)
    upper, lower = slice(20, PANEL // 2 - 20), slice(PANEL // 2 + 20, -20)
    # the outline of a box may cross it
    return bool((red[upper] > blue[upper] + 80).mean() > 0.95 and
                (blue[lower] > red[lower] + 80).mean() > 0.95)

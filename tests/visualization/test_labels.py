from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_diffmap.visualization.drawing import font
from mmdet_diffmap.visualization.labels import (
    SIDES,
    label_size,
    place_labels,
    places_at,
)
from mmdet_diffmap.visualization.legend import legend_strip, shortened

SIZE = 300, 200  # of the picture: width, height
LABEL = 80, 16


def pixels(place):
    """The pixels that a rectangle covers."""
    mask = np.zeros(SIZE[::-1], bool)
    x1, y1, x2, y2 = map(round, place)
    mask[y1:y2, x1:x2] = True
    return mask


def placed(boxes, before=None, order=None):
    return place_labels(
        np.array(boxes, float), [LABEL] * len(boxes), SIZE,
        order or range(len(boxes)), before or [None] * len(boxes))


@pytest.mark.parametrize('boxes', [
    [[100, 80, 160, 150], [110, 85, 170, 140], [105, 82, 150, 120]],
    [[10, 0, 60, 40], [40, 0, 90, 40], [70, 0, 120, 40], [100, 0, 150, 40]],
    [[0, 150, 50, 200], [20, 160, 70, 200], [200, 150, 300, 200],
     [220, 150, 300, 200]]])
def test_labels_do_not_cover_each_other(boxes):
    covered = sum(pixels(place).astype(int) for _, place in placed(boxes))
    assert covered.max() == 1
    assert covered.sum() == len(boxes) * LABEL[0] * LABEL[1]


def test_the_first_to_choose_has_the_best_side():
    boxes = [[100, 80, 160, 150], [110, 80, 170, 150]]
    assert placed(boxes)[0][0] == placed(boxes, order=[1, 0])[1][0] == SIDES[0]
    assert placed(boxes)[1][0] != SIDES[0]


def test_labels_leave_small_objects_alone():
    lonely = placed([[100, 80, 160, 150]])[0][1]
    place = placed([[100, 80, 160, 150], [110, 66, 122, 78]])[0][1]
    assert pixels(lonely)[66:78, 110:122].all()
    assert not pixels(place)[66:78, 110:122].any()


def test_side_is_kept_while_it_is_free():
    """A neighbour passes; its label was in the way in one frame only."""
    first = [100, 80, 160, 150]
    sides = [None, None]
    history = []
    for x in range(260, 0, -4):
        sides = [side for side, _ in placed(
            [first, [x, 82, x + 30, 140]], sides, order=[1, 0])]
        history.append(sides[0])
    changes = sum(a != b for a, b in pairwise(history))
    assert history[0] == SIDES[0] and changes == 1


numbers = st.integers(-30, 320)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=8))
def test_labels_stay_in_the_picture(boxes):
    boxes = np.array(boxes, float).reshape(-1, 4)
    for side, (x1, y1, x2, y2) in placed(boxes) if len(boxes) else []:
        assert side in SIDES
        assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1]
        assert (x2 - x1, y2 - y1) == LABEL


def test_label_that_is_larger_than_the_picture():
    for _, place in places_at([5, 5, 20, 20], (400, 300), SIZE):
        assert place == (0, 0, 400, 300)


def test_scores_do_not_change_the_size_of_a_label():
    sizes = {label_size(f'3 cat {score / 100:.2f}', font(14))
             for score in range(101)}
    assert len(sizes) == 1
    assert label_size('aaa', font(14))[1] == label_size('Ågy', font(14))[1]


@pytest.mark.parametrize('width', [60, 150, 300, 900])
def test_legend_has_one_size(width):
    colours = np.arange(256 * 3, dtype=np.uint8).reshape(256, 3)
    strips = [legend_strip(width, text, colours, ('0 nothing', '1 all'),
                           font(12)) for text in ('', 'short', 'long ' * 99)]
    assert {strip.shape for strip in strips} == {strips[0].shape}
    assert strips[0].shape[1] == width
    assert (strips[2][:, -1] == 255).all() or width == 60


def test_text_that_is_too_long():
    assert shortened('a cat', 1000, font(12)) == 'a cat'
    text = shortened('a cat and a dog', 60, font(12))
    assert text.endswith('…') and 'a cat and a dog'.startswith(text[:-1])
    assert 40 < font(12).getlength(text) <= 60

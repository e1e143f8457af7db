import numpy as np

from mmdet_diffmap.visualization.colours import RIVAL, TARGET, WRONG
from mmdet_diffmap.visualization.error_bars import draw_error_bars
from mmdet_diffmap.visualization.error_figure import (
    GAP,
    HEADER,
    NOTE,
    PANEL,
    TITLE,
    PicturePanel,
    PictureRow,
    draw_errors,
    square_around,
    wrapped,
)


def test_the_crop_holds_the_boxes():
    left, top, length = square_around([[50, 60, 70, 160]], (400, 600))
    assert (left, top, length) == (0, 10, 200)
    assert square_around([], (400, 600)) == (0, 0, 600)
    # as far as the image goes
    left, top, length = square_around([[590, 390, 600, 400]], (400, 600))
    assert (left, top, length) == (600 - 64, 400 - 64, 64)


def test_a_map_lies_where_its_error_is():
    image = np.full((200, 300, 3), 128, np.uint8)
    box = [100, 100, 120, 120]
    values = np.zeros((200, 300))
    values[100:120, 100:120] = -1
    row = PictureRow('missed', [(box, TARGET), ([0, 0, 9, 9], RIVAL)], [
        PicturePanel('what speaks against it', values, 'for', 'against')])
    figure = draw_errors(image, [row])
    assert figure.shape == (HEADER + TITLE + PANEL + NOTE,
                            GAP + 2 * (PANEL + GAP), 3)
    panel = figure[HEADER + TITLE:][:PANEL, 2 * GAP + PANEL:][:, :PANEL]
    # the box is 20 of the 64 pixels that are shown
    low, high = round(PANEL * 22 / 64) + 8, round(PANEL * 42 / 64) - 8
    inside = panel[low:high, low:high].astype(int)
    assert (inside[..., 2] > inside[..., 0] + 80).all()
    assert (panel[:40].reshape(-1, 3) == 128).all()


def test_all_boxes_are_named():
    names = {TARGET, WRONG, RIVAL}
    figure = draw_errors(np.zeros((50, 60, 3), np.uint8), [])
    for colour in names - {TARGET}:
        assert (figure == colour).all(axis=2).any()


def test_long_texts_are_divided():
    text = 'traffic light 0.31 against what suppressed it, traffic light 0.77'
    lines = wrapped(text, 12, PANEL)
    assert len(lines) == 2 and ' '.join(lines) == text
    assert wrapped('x' * 200, 12, PANEL) == ['x' * 200]


def test_bars_begin_with_what_costs_most():
    errors = {'a': {'missed': (3, 1.5), 'duplicate': (9, 4.)},
              'b': {'missed': (1, .5), 'duplicate': (0, 0.)}}
    figure = draw_error_bars(errors)
    costs, numbers = figure.axes
    names = [label.get_text() for label in costs.get_yticklabels()]
    assert names == ['missed', 'duplicate']  # the last is at the top
    widths = [bar.get_width() for bar in costs.patches]
    assert widths == [1.5, 4., .5, 0.]
    assert [bar.get_width() for bar in numbers.patches] == [3, 9, 1, 0]

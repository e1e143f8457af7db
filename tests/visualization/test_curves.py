import numpy as np
import pytest

from mmdet_diffmap.evaluation.intervals import Estimate
from mmdet_diffmap.visualization.curves import PANELS, draw_curves
from mmdet_diffmap.visualization.lines import COLUMN, PAGE

#: Names that would mislead whoever went by them, and one of the paper.
NAMES = ('plain-diff', 'apart', 'apart-positive', 'grad-cam')
BASES = {'apart': 'plain-diff', 'apart-positive': 'plain-diff'}


@pytest.fixture(scope='module')
def curves():
    random = np.random.default_rng(0)
    return {name: {quantity: [
        Estimate(mean, mean - 3, mean + 5)
        for mean in random.uniform(10, 90, 5)] for _, quantity in PANELS}
        for name in NAMES}


@pytest.fixture(scope='module')
def figure(curves):
    figure = draw_curves(curves, BASES, 12, 3456)
    figure.draw_without_rendering()
    return figure


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_every_panel_shows_its_curves_and_intervals(figure, curves):
    assert len(figure.axes) == len(PANELS) == 4
    for axes, (title, quantity) in zip(figure.axes, PANELS):
        assert axes.get_title() == title
        lines = lines_of(axes)
        assert tuple(lines) == (*NAMES[:3], 'Grad-CAM')
        for name, line, band in zip(NAMES, lines.values(), axes.collections):
            shares, values = line.get_data()
            points = curves[name][quantity]
            assert shares == pytest.approx([0, 25, 50, 75, 100])
            assert values == pytest.approx([point.mean for point in points])
            (path, ) = band.get_paths()
            expected = {(share, end) for share, point in zip(shares, points)
                        for end in point.limits}
            assert expected <= set(map(tuple, path.vertices))


def test_a_method_and_its_difference_maps_have_one_colour(figure):
    lines = lines_of(figure.axes[0])
    colours = {name: line.get_color() for name, line in lines.items()}
    assert colours['plain-diff'] == colours['apart'] == \
        colours['apart-positive'] != colours['Grad-CAM']
    assert [line.get_linestyle() for line in lines.values()] == [
        '--', '-', '-.', '-']


def test_without_its_method_a_difference_map_stands_alone(curves):
    axes, *_ = draw_curves({name: curves[name] for name in (
        'apart', 'grad-cam')}, {}, 1, 2).axes
    apart, other = axes.get_lines()
    assert apart.get_color() != other.get_color()
    assert apart.get_marker() != other.get_marker()
    assert apart.get_linestyle() == other.get_linestyle() == '-'


@pytest.mark.parametrize('width', [COLUMN, PAGE])
def test_the_legend_lies_over_no_line(curves, width):
    figure = draw_curves(curves, BASES, 12, 3456, width)
    figure.draw_without_rendering()
    (legend, ) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert figure.texts and not any(
        box.overlaps(text.get_window_extent()) for text in figure.texts)
    assert legend.get_title().get_text() == \
        '3,456 objects on 12 images\nbands: 95 % intervals'
    # nothing is cut off
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def test_one_image_has_no_bands(curves):
    points = {name: {quantity: [Estimate(point.mean, None, None)
                                for point in points]
                     for quantity, points in method.items()}
              for name, method in curves.items()}
    figure = draw_curves(points, BASES, 1, 2)
    assert not any(len(axes.collections) for axes in figure.axes)
    assert figure.legends[0].get_title().get_text() == '2 objects on 1 image'

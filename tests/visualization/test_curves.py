import numpy as np
import pytest

from mmdet_diffmap.visualization.curves import PANELS, draw_curves

#: Names that would mislead whoever went by them.
NAMES = ('plain-diff', 'apart', 'apart-positive', 'other')
BASES = {'apart': 'plain-diff', 'apart-positive': 'plain-diff'}


@pytest.fixture(scope='module')
def curves():
    random = np.random.default_rng(0)
    return {name: {quantity: random.uniform(0, 100, 5).tolist()
                   for _, quantity in PANELS} for name in NAMES}


@pytest.fixture(scope='module')
def panels(curves):
    figure = draw_curves(curves, BASES)
    figure.draw_without_rendering()
    return figure.axes


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_every_panel_shows_its_curves(panels, curves):
    assert len(panels) == len(PANELS) == 4
    for axes, (title, quantity) in zip(panels, PANELS):
        assert axes.get_title() == title
        lines = lines_of(axes)
        assert tuple(lines) == NAMES
        for name, line in lines.items():
            shares, values = line.get_data()
            assert shares == pytest.approx([0, 25, 50, 75, 100])
            assert values == pytest.approx(curves[name][quantity])


def test_a_method_and_its_difference_maps_have_one_colour(panels):
    lines = lines_of(panels[0])
    colours = {name: line.get_color() for name, line in lines.items()}
    assert colours['plain-diff'] == colours['apart'] == \
        colours['apart-positive'] != colours['other']
    assert [line.get_linestyle() for line in lines.values()] == [
        '--', '-', '-', '-']
    # two difference maps of one method differ in their markers
    assert lines['apart'].get_marker() != lines['apart-positive'].get_marker()


def test_without_its_method_a_difference_map_stands_alone(curves):
    axes, *_ = draw_curves({name: curves[name] for name in ('apart', 'other')},
                           {}).axes
    apart, other = axes.get_lines()
    assert apart.get_color() != other.get_color()
    assert apart.get_linestyle() == other.get_linestyle() == '-'

import numpy as np
import pytest

from mmdet_diffmap.evaluation.intervals import Estimate
from mmdet_diffmap.visualization.cascade import (
    MEASURES,
    draw_similarities,
    draw_stages,
)
from mmdet_diffmap.visualization.colours import overlay, resize
from mmdet_diffmap.visualization.lines import COLUMN, PAGE

STAGES = ['unchanged', 'bbox_head.conv_cls', 'backbone.conv1']
#: Names that would mislead whoever went by them.
BASES = {'apart': 'plain-diff'}
NAMES = ('plain-diff', 'apart')


@pytest.fixture
def figures():
    random = np.random.default_rng(0)
    return {
        name: {measure: [Estimate(mean, mean - 0.1, mean + 0.1)
                         for mean in random.uniform(0, 1, 3).round(3)]
               for measure in MEASURES}
        for name in NAMES}


def test_similarities(figures):
    figures['apart']['ssim'][2] = Estimate(None, None, None)
    figure = draw_similarities(STAGES, figures, dict(zip(NAMES, (.3, .6))),
                               BASES)
    assert figure.get_size_inches()[0] == COLUMN
    assert [axes.get_title() for axes in figure.axes] == list(
        MEASURES.values())
    for axes, measure in zip(figure.axes, MEASURES):
        lines = {line.get_label(): line for line in axes.get_lines()}
        plain, apart = (lines[name] for name in NAMES)
        assert plain.get_color() == apart.get_color()
        assert plain.get_linestyle() == '--' and apart.get_linestyle() == '-'
        assert plain.get_markerfacecolor() != apart.get_markerfacecolor()
        for name, line in zip(NAMES, (plain, apart)):
            assert line.get_ydata() == pytest.approx(
                [np.nan if one.mean is None else one.mean
                 for one in figures[name][measure]], nan_ok=True)
        assert len(axes.collections) == 2
    marks = [line for line in figure.axes[2].get_lines()
             if line.get_linestyle() == 'None']
    assert [float(mark.get_ydata()[0]) for mark in marks] == [.3, .6]


def test_nothing_is_shown_that_has_no_interval(figures):
    single = {name: {measure: [Estimate(one.mean, None, None) for one in row]
                     for measure, row in measures.items()}
              for name, measures in figures.items()}
    figure = draw_similarities(STAGES, single, dict.fromkeys(NAMES, .5), BASES)
    assert not any(len(axes.collections) for axes in figure.axes)


def test_legend_and_names_of_stages_lie_apart(figures):
    many = {f'{name}{i}': figures[name] for i in range(5) for name in NAMES}
    figure = draw_similarities(STAGES, many, dict.fromkeys(many, .5), {})
    figure.draw_without_rendering()
    (legend, ) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert all(axes.bbox.height > 70 for axes in figure.axes)


def test_signed_maps_are_drawn_on_their_own_scale():
    maps = [{name: np.full((8, 10), value, np.float32) for name, value in
             zip(NAMES, (0.5, -0.5))} for _ in STAGES]
    image = np.random.default_rng(0).integers(
        0, 255, (80, 100, 3)).astype(np.uint8)
    figure = draw_stages(STAGES, maps, image, BASES)
    assert figure.get_size_inches()[0] <= PAGE
    panels = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(panels) == 6
    for number, panel in enumerate(panels):  # row by row
        photo = resize(image, panel.shape[1::-1])
        np.testing.assert_array_equal(panel, overlay(
            photo, maps[0][NAMES[number % 2]], signed=number % 2 == 1))
    texts = [text.get_text() for text in figure.texts]
    assert texts == [*STAGES, *NAMES]

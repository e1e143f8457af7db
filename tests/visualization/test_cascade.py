import numpy as np
import pytest

from mmdet_diffmap.evaluation.intervals import Estimate
from mmdet_diffmap.visualization.cascade import (
    MEASURES,
    draw_similarities,
    draw_stages,
)

STAGES = ['unchanged', 'bbox_head.conv_cls', 'backbone.conv1']
#: Names that would mislead whoever went by them.
BASES = {'apart': 'plain-diff'}
NAMES = ('plain-diff', 'apart')


def test_similarities():
    random = np.random.default_rng(0)
    means = random.uniform(0, 1, (2, 3, 3)).round(3)
    figures = {
        name: {measure: [Estimate(mean, mean - 0.1, mean + 0.1)
                         for mean in row]
               for measure, row in zip(MEASURES, rows)}
        for name, rows in zip(NAMES, means)}
    figures['apart']['ssim'][2] = Estimate(None, None, None)
    panels = draw_similarities(STAGES, figures, dict(zip(NAMES, (.3, .6))),
                               BASES).axes
    assert [axes.get_title() for axes in panels] == list(MEASURES.values())
    for number, axes in enumerate(panels):
        lines = {line.get_label(): line for line in axes.get_lines()}
        plain, apart = (lines[name] for name in NAMES)
        assert plain.get_color() == apart.get_color()
        assert plain.get_linestyle() == '--' and apart.get_linestyle() == '-'
        assert plain.get_ydata() == pytest.approx(means[0, number])
        assert apart.get_ydata()[:2] == pytest.approx(means[1, number, :2])
    assert np.isnan(apart.get_ydata()[2])  # of the last panel
    marks = [line for line in panels[2].get_lines() if line.get_marker() in
             ('<', 'o')]
    assert [float(mark.get_ydata()[0]) for mark in marks] == [.3, .6]


def test_signed_maps_are_drawn_on_their_own_scale():
    maps = [{name: np.full((8, 10), value) for name, value in
             zip(NAMES, (0.5, -0.5))} for _ in STAGES]
    image = np.zeros((8, 10, 3), np.uint8)
    figure = draw_stages(STAGES, maps, image, BASES)
    assert len(figure.axes) == 6
    for axes in figure.axes[:3]:  # the first row
        heatmap = axes.get_images()[1]
        assert heatmap.get_clim() == (0, 1)
        assert heatmap.get_cmap().name == 'inferno'
    for axes in figure.axes[3:]:
        heatmap = axes.get_images()[1]
        assert heatmap.get_clim() == (-1, 1)
        assert heatmap.get_cmap().name == 'coolwarm'

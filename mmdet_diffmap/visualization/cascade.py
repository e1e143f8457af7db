# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The pictures of the sanity check."""
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..explainers.paper_names import paper_name
from ..io.files import DPI
from .colours import overlay, resize
from .curves import Estimate, draw_line
from .lines import COLUMN, PAGE, line_styles, paper_style
from .paper_figure import GAP, Canvas

MEASURES = {
    'rank_correlation': 'rank correlation',
    'rank_correlation_in_box': 'rank correlation in the own box',
    'ssim': 'SSIM (at the right: of an empty map)',
}
#: Of the picture of stages, in inches: the names of stages and of maps, the
#: slope of the last name, a panel.
LABELS, HEADS, SLOPE, PANEL = 1.5, 0.95, 0.6, 0.7


def draw_similarities(stages: Sequence[str],
                      figures: Mapping[str, Mapping[str, Sequence[Estimate]]],
                      blank: Mapping[str, float],
                      bases: Mapping[str, str],
                      width: float = COLUMN) -> Figure:
    """Draw how alike maps remain while a detector loses its weights.

    Lines are those of :func:`~mmdet_diffmap.visualization.curves.draw_curves`.

    Args:
        stages (Sequence[str]): The parts in the order in which they lost
            their weights; the first is the unchanged detector.
        figures (Mapping): By map and measure, the similarity at each stage.
        blank (Mapping): By map the SSIM with a map of zeros, marked at the
            right edge.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.
        width (float): Of the figure, in inches.
    """
    styles = line_styles(list(figures), bases)
    with paper_style():
        figure = Figure(figsize=(
            width, 1.95 * width + 0.07 * len(figures)), layout='constrained')
        panels = figure.subplots(len(MEASURES), 1, sharex=True)
        for axes, (measure, title) in zip(panels, MEASURES.items()):
            for name, similarities in figures.items():
                draw_line(axes, range(len(stages)), similarities[measure],
                          label=paper_name(name), **styles[name])
                if measure == 'ssim':
                    axes.plot(len(stages) + 0.2, blank[name],
                              **styles[name] | dict(linestyle='none'),
                              clip_on=False)
            axes.axhline(0, color='black', linewidth=0.5)
            axes.set(title=title, ylim=(-0.3, 1.05))
            axes.grid()
        panels[-1].set_xticks(range(len(stages)), stages, rotation=90)
        figure.legend(*panels[0].get_legend_handles_labels(),
                      loc='outside lower center', ncols=2, frameon=False,
                      handlelength=3)
    return figure


def draw_stages(stages: Sequence[str],
                maps: Sequence[Mapping[str, np.ndarray]],
                image: np.ndarray,
                signed: Collection[str],
                width: float = PAGE) -> Figure:
    """Draw one object's maps at every stage: a row for each stage, a column
    for each map.

    Args:
        stages (Sequence[str]): See :func:`draw_similarities`.
        maps (Sequence[Mapping]): For each stage the maps (H, W) by name.
        image (np.ndarray): RGB, uint8 (H, W, 3).
        signed (Collection[str]): The names of maps in [-1, 1]; all others are
            in [0, 1].
        width (float): Of the figure, in inches, at most.
    """
    names = list(maps[0])
    height, length = image.shape[:2]
    panel = min(PANEL, (width - LABELS - SLOPE) / len(names))
    step = panel * height / length
    photo = resize(np.ascontiguousarray(image),
                   (round(panel * DPI), round(step * DPI)))
    with paper_style():
        size = LABELS + len(names) * panel + SLOPE, \
            HEADS + len(stages) * step + GAP
        figure = Figure(figsize=size)
        canvas = Canvas(figure, *size)
        for row, (stage, stage_maps) in enumerate(zip(stages, maps)):
            top = HEADS + row * step
            canvas.text(LABELS - 2 * GAP, top + step / 2, stage, ha='right',
                        va='center', fontsize=7)
            for column, name in enumerate(names):
                axes = canvas.axes(LABELS + column * panel, top, panel - GAP,
                                   step - GAP)
                axes.imshow(overlay(photo, stage_maps[name], name in signed),
                            aspect='auto')
        for column, name in enumerate(names):
            canvas.text(LABELS + (column + 0.4) * panel, HEADS - GAP,
                        paper_name(name), ha='left', va='bottom', fontsize=7,
                        rotation=45, rotation_mode='anchor')
    return figure

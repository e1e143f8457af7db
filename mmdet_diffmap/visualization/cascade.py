# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The pictures of the sanity check."""
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MEASURES = {
    'rank_correlation': 'rank correlation',
    'rank_correlation_in_box': 'rank correlation in the own box',
    'ssim': 'SSIM',
}


class Estimate(Protocol):
    """A mean with its interval; None where nothing has a value."""

    @property
    def mean(self) -> float | None:
        """The mean."""

    @property
    def limits(self) -> Sequence[float] | None:
        """The ends of the interval."""


def draw_similarities(stages: Sequence[str],
                      figures: Mapping[str, Mapping[str, Sequence[Estimate]]],
                      blank: Mapping[str, float],
                      bases: Mapping[str, str]) -> Figure:
    """Draw how alike maps remain while a detector loses its weights.

    A method and its difference map have one colour, the difference map a
    solid line.

    Args:
        stages (Sequence[str]): The parts in the order in which they lost
            their weights; the first is the unchanged detector.
        figures (Mapping): By map and measure, the similarity at each stage.
        blank (Mapping): By map the SSIM with a map of zeros, marked at the
            right edge.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.
    """
    figure = Figure(figsize=(17, 5.5), layout='constrained')
    methods = list(dict.fromkeys(bases.get(name, name) for name in figures))
    colours = colormaps['tab10']
    for axes, (measure, title) in zip(figure.subplots(1, 3),
                                      MEASURES.items()):
        for name, similarities in figures.items():
            method = bases.get(name, name)
            colour = colours(methods.index(method) % colours.N)
            draw_line(axes, similarities[measure], color=colour, label=name,
                      linestyle='--' if name == method else '-')
            if measure == 'ssim':
                axes.plot(len(stages) - 0.5, blank[name], color=colour,
                          marker='<' if name == method else 'o')
        axes.axhline(0, color='black', linewidth=0.5)
        axes.set(title=title, ylim=(-0.3, 1.05))
        axes.set_xticks(range(len(stages)), stages, rotation=60, ha='right',
                        fontsize=7)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def draw_line(axes: Axes, estimates: Sequence[Estimate],
              **style: Any) -> None:
    """Draw means as a line, with their intervals behind it."""
    means = [np.nan if estimate.mean is None else estimate.mean
             for estimate in estimates]
    axes.plot(means, marker='.', **style)
    limits = [estimate.limits or (np.nan, np.nan) for estimate in estimates]
    axes.fill_between(range(len(means)), *np.transpose(limits),
                      color=style['color'], alpha=0.08, linewidth=0)


def draw_stages(stages: Sequence[str],
                maps: Sequence[Mapping[str, np.ndarray]],
                image: np.ndarray, signed: Collection[str]) -> Figure:
    """Draw one object's maps at every stage, a row for each map.

    Args:
        stages (Sequence[str]): See :func:`draw_similarities`.
        maps (Sequence[Mapping]): For each stage the maps (H, W) by name.
        image (np.ndarray): RGB, uint8 (H, W, 3).
        signed (Collection[str]): The names of maps in [-1, 1]; all others are
            in [0, 1].
    """
    names = list(maps[0])
    height, width = image.shape[:2]
    figure = Figure(
        figsize=(1.1 * len(stages) + 1,
                 1.1 * len(names) * height / width + 1.2),
        layout='constrained')
    panels = figure.subplots(len(names), len(stages), squeeze=False)
    grey = image.mean(axis=2)
    for row, name in zip(panels, names):
        for axes, stage_maps in zip(row, maps):
            axes.imshow(grey, cmap='gray', vmin=0, vmax=255)
            axes.imshow(
                stage_maps[name],
                cmap='coolwarm' if name in signed else 'inferno',
                vmin=-1 if name in signed else 0,
                vmax=1,
                alpha=0.75)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=7)
    for axes, stage in zip(panels[0], stages):
        axes.set_title(stage, fontsize=6, rotation=35, ha='left')
    return figure

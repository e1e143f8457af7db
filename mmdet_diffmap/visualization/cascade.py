# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The pictures of the sanity check."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

MEASURES = {
    'rank_correlation': 'rank correlation',
    'rank_correlation_in_box': 'rank correlation in the own box',
    'ssim': 'SSIM',
}


def draw_similarities(stages: Sequence[str],
                      figures: Mapping[str, Mapping[str, Any]],
                      blank: Mapping[str, float]) -> Figure:
    """Draw how alike maps remain while a detector loses its weights.

    A method and its difference map (``NAME`` and ``NAME-diff``) have one
    colour, the difference map a solid line.

    Args:
        stages (Sequence[str]): The parts in the order in which they lost
            their weights; the first is the unchanged detector.
        figures (Mapping): By map, measure and stage ``mean`` and ``ci95``.
        blank (Mapping): By map the SSIM with a map of zeros, marked at the
            right edge.
    """
    figure = Figure(figsize=(17, 5.5), layout='constrained')
    bases = list(dict.fromkeys(name.removesuffix('-diff')
                               for name in figures))
    colours = colormaps['tab10']
    for axes, (measure, title) in zip(figure.subplots(1, 3),
                                      MEASURES.items()):
        for name, found in figures.items():
            base = name.removesuffix('-diff')
            colour = colours(bases.index(base) % colours.N)
            means = [np.nan if one['mean'] is None else one['mean']
                     for one in found[measure]]
            axes.plot(means, '--' if name == base else '-', color=colour,
                      marker='.', label=name)
            limits = [one['ci95'] or (np.nan, np.nan)
                      for one in found[measure]]
            axes.fill_between(range(len(means)), *np.transpose(limits),
                              color=colour, alpha=0.08, linewidth=0)
            if measure == 'ssim':
                axes.plot(len(stages) - 0.5, blank[name], color=colour,
                          marker='<' if name == base else 'o')
        axes.axhline(0, color='black', linewidth=0.5)
        axes.set(title=title, ylim=(-0.3, 1.05))
        axes.set_xticks(range(len(stages)), stages, rotation=60, ha='right',
                        fontsize=7)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def draw_stages(stages: Sequence[str],
                maps: Sequence[Mapping[str, np.ndarray]],
                image: np.ndarray) -> Figure:
    """Draw one object's maps at every stage, a row for each map.

    Args:
        stages (Sequence[str]): See :func:`draw_similarities`.
        maps (Sequence[Mapping]): For each stage the maps (H, W) by name;
            signed where the name ends in ``-diff``.
        image (np.ndarray): RGB, uint8 (H, W, 3).
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
        signed = name.endswith('-diff')
        for axes, found in zip(row, maps):
            axes.imshow(grey, cmap='gray', vmin=0, vmax=255)
            axes.imshow(
                found[name],
                cmap='coolwarm' if signed else 'inferno',
                vmin=-1 if signed else 0,
                vmax=1,
                alpha=0.75)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=7)
    for axes, stage in zip(panels[0], stages):
        axes.set_title(stage, fontsize=6, rotation=35, ha='left')
    return figure

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Mapping
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

PANELS = (
    ('(a) Deletion, target', 'deletion', 'target'),
    ('(b) Insertion, target', 'insertion', 'target'),
    ('(c) Deletion, others', 'deletion', 'others'),
    ('(d) Insertion, others', 'insertion', 'others'),
)


def draw_curves(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the paper's Fig. 5: how scores change while pixels are deleted or
    inserted.

    A method and its difference map (``NAME`` and ``NAME-diff``) have one
    colour, the difference map a solid line.

    Args:
        curves (Mapping): By method, direction (``deletion``, ``insertion``)
            and ``target`` or ``others``: per cent of the untouched score, at
            evenly spaced shares of the box's area.
    """
    figure = Figure(figsize=(11, 8.5), layout='constrained')
    panels = figure.subplots(2, 2).flatten()
    bases = list(dict.fromkeys(name.removesuffix('-diff') for name in curves))
    paired = {name.removesuffix('-diff') for name in curves
              if name.endswith('-diff')} & curves.keys()
    colours = colormaps['tab10' if len(bases) <= 10 else 'tab20']
    for axes, (title, direction, kind) in zip(panels, PANELS):
        for name, found in curves.items():
            base = name.removesuffix('-diff')
            values = found[direction][kind]
            shares = [100 * i / (len(values) - 1) for i in range(len(values))]
            axes.plot(
                shares,
                values,
                '--' if name in paired else '-',
                color=colours(bases.index(base) % colours.N),
                marker='.' if name in paired else 'o',
                markersize=4,
                label=name)
        axes.set(
            title=title,
            xlabel='pixels, per cent of the box area',
            ylabel='score, per cent of the untouched image\'s',
            xlim=(0, 100))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure

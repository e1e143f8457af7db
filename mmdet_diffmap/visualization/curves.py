# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The curves of deletion and insertion."""
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

PANELS = (
    ('(a) Deletion, target', ('deletion', 'target')),
    ('(b) Insertion, target', ('insertion', 'target')),
    ('(c) Deletion, others', ('deletion', 'others')),
    ('(d) Insertion, others', ('insertion', 'others')),
)
MARKERS = 'os^Dv'


def draw_curves(curves: Mapping[str, Mapping[Any, Sequence[float]]],
                bases: Mapping[str, str]) -> Figure:
    """Draw the paper's Fig. 5: how scores change while pixels are deleted or
    inserted.

    A method and its difference maps have one colour, the method a dashed line
    and its difference maps solid ones.

    Args:
        curves (Mapping): By method, and by direction (``deletion``,
            ``insertion``) and whose score it is (``target``, ``others``): per
            cent of the untouched score, at evenly spaced shares of the box's
            area.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.
    """
    figure = Figure(figsize=(11, 8.5), layout='constrained')
    panels = figure.subplots(2, 2).flatten()
    styles = line_styles(list(curves), bases)
    for axes, (title, quantity) in zip(panels, PANELS):
        for name, method_curves in curves.items():
            values = method_curves[quantity]
            shares = [100 * i / (len(values) - 1) for i in range(len(values))]
            axes.plot(shares, values, markersize=4, label=name,
                      **styles[name])
        axes.set(
            title=title,
            xlabel='pixels, per cent of the box area',
            ylabel='score, per cent of the untouched image\'s',
            xlim=(0, 100))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure


def line_styles(names: Sequence[str],
                bases: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Choose how the line of each method is drawn; see :func:`draw_curves`.

    >>> styles = line_styles(['plain', 'apart'], {'apart': 'plain'})
    >>> styles['plain']['color'] == styles['apart']['color']
    True
    >>> styles['plain']['linestyle'], styles['apart']['linestyle']
    ('--', '-')
    """
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(bases.get(name, name), []).append(name)
    colours = colormaps['tab10' if len(families) <= 10 else 'tab20']
    styles: dict[str, dict[str, Any]] = {}
    for number, (base, members) in enumerate(families.items()):
        solid = [name for name in members if name != base] or members
        for name in members:
            plain = name not in solid
            styles[name] = dict(
                color=colours(number % colours.N),
                linestyle='--' if plain else '-',
                marker='.' if plain else
                MARKERS[solid.index(name) % len(MARKERS)])
    return styles

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The curves of deletion and insertion."""
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..explainers.paper_names import paper_name
from .lines import COLUMN, PAGE, line_styles, paper_style

PANELS = (
    ('(a) Deletion, target', ('deletion', 'target')),
    ('(b) Insertion, target', ('insertion', 'target')),
    ('(c) Deletion, others', ('deletion', 'others')),
    ('(d) Insertion, others', ('insertion', 'others')),
)


class Estimate(Protocol):
    """A mean with its interval; None where nothing has a value."""

    @property
    def mean(self) -> float | None:
        """The mean."""

    @property
    def limits(self) -> Sequence[float] | None:
        """The ends of the interval."""


def draw_curves(curves: Mapping[str, Mapping[Any, Sequence[Estimate]]],
                bases: Mapping[str, str],
                num_images: int,
                num_objects: int,
                width: float = PAGE) -> Figure:
    """Draw the paper's Fig. 5: how scores change while pixels are deleted or
    inserted.

    A method and its difference maps have one colour and one marker, the method
    a dashed line and its difference maps solid ones; bands are intervals.

    Args:
        curves (Mapping): By method, and by direction (``deletion``,
            ``insertion``) and whose score it is (``target``, ``others``): per
            cent of the untouched score, at evenly spaced shares of the box's
            area.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.
        num_images, num_objects (int): How many were measured.
        width (float): Of the figure, in inches.
    """
    beside = width > COLUMN  # the legend, which is else above
    with paper_style():
        figure = Figure(figsize=(width, 0.6 * width if beside else
                                 1.25 * width), layout='constrained')
        panels = figure.subplots(2, 2, sharex=True).flatten()
        styles = line_styles(list(curves), bases)
        banded = False
        for axes, (title, quantity) in zip(panels, PANELS):
            for name, method_curves in curves.items():
                points = method_curves[quantity]
                banded |= draw_line(
                    axes, np.linspace(0, 100, len(points)), points,
                    label=paper_name(name), **styles[name])
            axes.set(title=title, xlim=(-2, 102),
                     xticks=range(0, 101, 25 if beside else 50))
            if axes.dataLim.y0 < 50:  # curves near 100 would be one
                axes.set_ylim(bottom=0)
            axes.grid()
        figure.supxlabel('pixels, per cent of the box area', fontsize=8)
        figure.supylabel('score, per cent of the untouched image\'s',
                         fontsize=8)
        counts = f'{num_objects:,} objects on {num_images:,} ' \
            f'image{"s" * (num_images != 1)}'
        if banded:
            counts += '\nbands: 95 % intervals'
        figure.legend(*panels[0].get_legend_handles_labels(), title=counts,
                      loc='outside right upper' if beside else
                      'outside upper center',
                      ncols=1 if beside else 2, frameon=False,
                      alignment='left', handlelength=3)
    return figure


def draw_line(axes: Axes, places: Sequence[float] | np.ndarray,
              estimates: Sequence[Estimate], **style: Any) -> bool:
    """Draw means as a line, with their intervals behind it; return whether
    there is one."""
    means = [np.nan if estimate.mean is None else estimate.mean
             for estimate in estimates]
    axes.plot(places, means, **style)
    limits = [estimate.limits or (np.nan, np.nan) for estimate in estimates]
    if not np.isfinite(limits).any():
        return False
    axes.fill_between(places, *np.transpose(limits), color=style['color'],
                      alpha=0.15, linewidth=0)
    return True

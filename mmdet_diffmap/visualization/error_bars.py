# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How many errors of each kind a detector makes, and what they cost."""
from collections.abc import Mapping

from matplotlib.figure import Figure

from .colours import LINES
from .lines import PAGE, paper_style

HATCHES = ('', '////')  # of the bars of each detector


def draw_error_bars(
        errors: Mapping[str, Mapping[str, tuple[int, float]]],
        width: float = PAGE) -> Figure:
    """Draw bars of what errors of each kind cost, and of their number.

    Args:
        errors (Mapping): By detector and kind, the number of errors and by
            how many points the average precision would rise without them. The
            kinds of the first detector are drawn from the most costly to the
            least.
        width (float): Of the figure, in inches.
    """
    detectors = list(errors)
    first = errors[detectors[0]]
    kinds = sorted(first, key=lambda kind: first[kind][1])
    thickness = 0.8 / len(detectors)
    with paper_style():
        figure = Figure(
            figsize=(width, 0.8 + 0.22 * len(kinds) * len(detectors)),
            layout='constrained')
        panels = figure.subplots(1, 2, sharey=True)
        for axes, column, label in zip(
                panels, (1, 0), ('points of average precision that are lost',
                                 'number of errors')):
            for number, name in enumerate(detectors):
                values = [errors[name][kind][column] for kind in kinds]
                places = [place - number * thickness
                          for place in range(len(kinds))]
                bars = axes.barh(
                    places, values, 0.9 * thickness, label=name,
                    color=LINES[number % len(LINES)],
                    hatch=HATCHES[number % len(HATCHES)], edgecolor='white')
                axes.bar_label(bars, fmt='%.1f' if column else '%d',
                               padding=2, fontsize=7)
            axes.set_xlabel(label)
            axes.set_yticks([place - (len(detectors) - 1) * thickness / 2
                             for place in range(len(kinds))], kinds)
            axes.margins(x=0.12)
            axes.spines[['top', 'right']].set_visible(False)
        if len(detectors) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(),
                          loc='outside upper center', ncols=2, frameon=False)
    return figure

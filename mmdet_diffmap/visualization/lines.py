# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How figures of a paper are set, and how the lines in them differ."""
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib

from .colours import LINES

#: Widths of a figure in a paper, in inches: of a column, and of a page.
COLUMN, PAGE = 3.3, 6.9
#: Enough for all methods of the package.
MARKERS = 'os^DvP<X>phd*'
DASHES = ('-', '-.', ':')
STYLE: dict[Any, Any] = {
    'font.family': 'DejaVu Sans',
    'text.parse_math': False,  # names may have a $
    'font.size': 8,
    'axes.titlesize': 8,
    'axes.labelsize': 8,
    'legend.fontsize': 7,
    'legend.title_fontsize': 7,
    'xtick.labelsize': 7,
    'ytick.labelsize': 7,
    'axes.linewidth': 0.6,
    'lines.linewidth': 1.1,
    'lines.markersize': 3.5,
    'lines.markeredgewidth': 0.8,
    'grid.linewidth': 0.4,
    'grid.alpha': 0.4,
    'hatch.linewidth': 0.6,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw with letters of 7 and 8 points, and lines to match, in this
    context."""
    with matplotlib.rc_context(STYLE):
        yield


def line_styles(names: Sequence[str],
                bases: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Choose how the line of each method is drawn.

    A method and its difference maps have one colour and one marker. The
    method's line is dashed and its markers are hollow, those of its difference
    maps are filled; so no two lines differ by their colour alone.

    Args:
        names (Sequence[str]): The methods.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.

    >>> styles = line_styles(['plain', 'apart'], {'apart': 'plain'})
    >>> styles['plain']['color'] == styles['apart']['color']
    True
    >>> styles['plain']['linestyle'], styles['apart']['linestyle']
    ('--', '-')
    """
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(bases.get(name, name), []).append(name)
    styles: dict[str, dict[str, Any]] = {}
    for number, (base, members) in enumerate(families.items()):
        solid = [name for name in members if name != base] or members
        for name in members:
            plain = name not in solid
            styles[name] = dict(
                color=LINES[number % len(LINES)],
                marker=MARKERS[number % len(MARKERS)],
                markerfacecolor='white' if plain else None,
                linestyle='--' if plain else
                DASHES[solid.index(name) % len(DASHES)])
    return styles

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of a run as tables."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..io.markdown import markdown
from .intervals import Estimate
from .map_metrics import MAP_METRICS
from .measured_image import Quantity
from .summary import Figures, MethodFigures, Pair, RunRecord

ARROWS = {True: ' ↑', False: ' ↓', None: ''}
Rows = list[list[str]]


class Column(NamedTuple):
    """A column of a table.

    Args:
        title (str): Its head.
        quantity (Quantity): What it shows.
        more_is_better (bool, optional): None: neither more nor less is.
    """
    title: str
    quantity: Quantity
    more_is_better: bool | None


class FigureTable(NamedTuple):
    """A table of figures.

    Args:
        title (str): Its title.
        columns (Sequence[Column]): Quantities that are measured together.
        digits (int): Of its numbers.
    """
    title: str
    columns: Sequence[Column]
    digits: int

    @property
    def head(self) -> list[str]:
        """The titles of the columns."""
        return [column.title for column in self.columns]

    def is_measured(self, figures: Figures) -> bool:
        """Whether a run has the figures of the table."""
        method = next(iter(figures.methods.values()))
        return self.columns[0].quantity in method.estimates


#: The columns of the paper's Table 1.
DEL_INS = FigureTable(
    'Deletion and Insertion, areas under the curves in per cent', (
        Column('Deletion target ↓', Quantity('deletion', 'target'), False),
        Column('Insertion target ↑', Quantity('insertion', 'target'), True),
        Column('Deletion others ↑', Quantity('deletion', 'others'), True),
        Column('Insertion others ↓', Quantity('insertion', 'others'), False),
    ), 2)
#: All tables.
TABLES = (DEL_INS, *(
    FigureTable(
        group.capitalize(),
        tuple(
            Column(f'{name.replace("_", " ")}{ARROWS[more]}',
                   Quantity(group, name), more)
            for name, more in metric.quantities.items()), 3)
    for group, metric in MAP_METRICS.items()))


def emphasis(values: Sequence[float | None], more_is_better: bool | None,
             digits: int) -> list[str]:
    """Return how the best and the second best value are set off: ``**`` and
    ``u``; what is equal in print shares its place. Nothing is set off if
    neither more nor less is better.

    >>> emphasis([0.5, 0.7, None, 0.704], True, 2)
    ['u', '**', '', '**']
    """
    if more_is_better is None:
        return [''] * len(values)
    printed = [None if value is None else round(value, digits)
               for value in values]
    ranked = sorted({value for value in printed if value is not None},
                    reverse=more_is_better)
    marks = dict(zip(ranked, ('**', 'u')))
    return ['' if value is None else marks.get(value, '')
            for value in printed]


def result_rows(methods: Mapping[str, MethodFigures],
                published: Mapping[str, Any],
                table: FigureTable) -> Rows:
    """Return a row for each method: its name, and in each column its mean,
    the interval, and what was published.

    Args:
        methods (Mapping): The figures by name.
        published (Mapping): See :class:`RunRecord`.
        table (FigureTable): Its columns.
    """
    rows = [[name] for name in methods]
    for _, quantity, more_is_better in table.columns:
        estimates = [figures.estimates[quantity]
                     for figures in methods.values()]
        marks = emphasis([estimate.mean for estimate in estimates],
                         more_is_better, table.digits)
        for row, estimate, mark in zip(rows, estimates, marks):
            text = result_text(estimate, mark, table.digits)
            number = published.get(row[0], {}).get(
                quantity.group, {}).get(quantity.name)
            if number is not None:
                text += f', published {number:.{table.digits}f}'
            row.append(text)
    return rows


def result_text(estimate: Estimate, mark: str, digits: int) -> str:
    """Return a mean and its interval, set off by a mark of
    :func:`emphasis`."""
    text = '-' if estimate.mean is None else f'{estimate.mean:.{digits}f}'
    if mark:
        text = f'**{text}**' if mark == '**' else f'<u>{text}</u>'
    if estimate.limits is not None:
        low, high = estimate.limits
        text += f' ({low:.{digits}f} – {high:.{digits}f})'
    return text


def difference_rows(differences: Mapping[Pair, Mapping[Quantity, Estimate]],
                    table: FigureTable) -> Rows:
    """Return a row for each pair of methods: in each column the mean
    difference and its interval."""
    return [[str(pair)] + [
        difference_text(estimates[column.quantity], table.digits)
        for column in table.columns
    ] for pair, estimates in differences.items()]


def difference_text(estimate: Estimate, digits: int) -> str:
    """Return a mean difference and its interval, bold where that leaves zero
    out."""
    text = '-' if estimate.mean is None else signed(estimate.mean, digits)
    if estimate.limits is not None:
        low, high = estimate.limits
        if low > 0 or high < 0:
            text = f'**{text}**'
        text += f' ({signed(low, digits)} – {signed(high, digits)})'
    return text


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, of which zero has none.

    >>> signed(0.126, 2), signed(-0.001, 2)
    ('+0.13', '0.00')
    """
    number = round(value, digits)
    return f'{number:+.{digits}f}' if number else f'{0:.{digits}f}'


def tables(record: RunRecord) -> list[tuple[str, list[str], Rows]]:
    """Return the tables of a run: title, head and rows."""
    figures = record.figures
    result = []
    for table in TABLES:
        if not table.is_measured(figures):
            continue
        result.append((table.title, ['explainer', *table.head],
                       result_rows(figures.methods, record.published, table)))
        if figures.differences:
            result.append((f'{table.title}: differences',
                           ['pair', *table.head],
                           difference_rows(figures.differences, table)))
    return result


def markdown_tables(record: RunRecord) -> str:
    """Return all tables as Markdown."""
    figures = record.figures
    parts = [f'{figures.num_objects} objects on {figures.num_images} '
             'images; the best value of a column is bold, the second '
             'underlined; in brackets 95 % intervals over resampled images. '
             'A difference is bold where its interval leaves out zero.\n']
    for title, head, rows in tables(record):
        parts += [f'## {title}\n', markdown(head, rows), '']
    return '\n'.join(parts)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of a run as tables."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..explainers.paper_names import paper_name
from ..io.tables import BOLD, UNDERLINED, Name, Number, Table
from .intervals import Estimate
from .map_metrics import MAP_METRICS
from .measured_image import Quantity
from .summary import Figures, MethodFigures, Pair, RunRecord

ARROWS = {True: ' ↑', False: ' ↓', None: ''}
Rows = list[list[Name | Number]]


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

    @property
    def names(self) -> list[str]:
        """What the columns are called in CSV."""
        return ['_'.join(column.quantity) for column in self.columns]

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
    """Return how the best and the second best value are set off; what is
    equal in print shares its place. Nothing is set off if neither more nor
    less is better.

    >>> emphasis([0.5, 0.7, None, 0.704], True, 2)
    ['underlined', 'bold', '', 'bold']
    """
    if more_is_better is None:
        return [''] * len(values)
    printed = [None if value is None else round(value, digits)
               for value in values]
    ranked = sorted({value for value in printed if value is not None},
                    reverse=more_is_better)
    marks = dict(zip(ranked, (BOLD, UNDERLINED)))
    return ['' if value is None else marks.get(value, '')
            for value in printed]


def estimated(estimate: Estimate, digits: int, mark: str = '',
              **options: Any) -> Number:
    """Return a mean and its interval as a number of a table."""
    return Number(estimate.mean, digits, (estimate.low, estimate.high), mark,
                  **options)


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
    rows: Rows = [[Name(name, paper_name(name),
                        dict(explainer=name, against=''))]
                  for name in methods]
    for _, quantity, more_is_better in table.columns:
        estimates = [figures.estimates[quantity]
                     for figures in methods.values()]
        marks = emphasis([estimate.mean for estimate in estimates],
                         more_is_better, table.digits)
        for name, row, estimate, mark in zip(methods, rows, estimates, marks):
            row.append(estimated(
                estimate, table.digits, mark,
                published=published.get(name, {}).get(
                    quantity.group, {}).get(quantity.name)))
    return rows


def difference_rows(differences: Mapping[Pair, Mapping[Quantity, Estimate]],
                    table: FigureTable) -> Rows:
    """Return a row for each pair of methods: in each column the mean
    difference and its interval, bold where that leaves zero out."""
    rows: Rows = []
    for pair, estimates in differences.items():
        name = Name(str(pair), ' − '.join(map(paper_name, pair)),
                    dict(explainer=pair.name, against=pair.base))
        rows.append([name, *(
            estimated(estimate, table.digits,
                      BOLD if leaves_zero_out(estimate) else '', signed=True)
            for estimate in (estimates[column.quantity]
                             for column in table.columns))])
    return rows


def leaves_zero_out(estimate: Estimate) -> bool:
    """Whether an interval is on one side of zero."""
    low, high = estimate.limits or (0, 0)
    return low > 0 or high < 0


def tables(record: RunRecord) -> list[Table]:
    """Return the tables of a run."""
    figures = record.figures
    result = []
    for table in TABLES:
        if not table.is_measured(figures):
            continue
        result.append(Table(
            table.title, ['explainer', *table.head],
            result_rows(figures.methods, record.published, table),
            table.names))
        if figures.differences:
            result.append(Table(
                f'{table.title}: differences', ['pair', *table.head],
                difference_rows(figures.differences, table), table.names))
    return result


def note(record: RunRecord) -> str:
    """Say what the tables of a run are about."""
    figures = record.figures
    return f'{figures.num_objects} objects on {figures.num_images} ' \
        f'image{"s" * (figures.num_images != 1)}; the best value of a ' \
        'column is bold, the second underlined; in brackets 95 % intervals ' \
        'over resampled images. A difference is bold where its interval ' \
        'leaves out zero.'

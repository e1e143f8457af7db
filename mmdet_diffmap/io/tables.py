# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Tables of results, in Markdown, LaTeX and CSV."""
from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .files import replacing
from .markdown import markdown

#: How a number is set off.
BOLD, UNDERLINED = 'bold', 'underlined'
#: What LaTeX does not print as it is written.
LATEX = str.maketrans({
    '\\': r'\textbackslash{}', '{': r'\{', '}': r'\}', '&': r'\&',
    '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_',
    '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '<': '$<$',
    '>': '$>$', '|': '$|$', '"': "''", '↑': r'$\uparrow$',
    '↓': r'$\downarrow$', '−': '$-$', '±': r'$\pm$', '×': r'$\times$',
    '·': r'$\cdot$', '–': '--', '…': r'\ldots{}',
})
LATEX_HEAD = '% needs \\usepackage{booktabs}\n'


@dataclass(frozen=True)
class Name:
    """What a row or a column is called.

    Args:
        text (str): As users type it.
        title (str): In a paper; as it is typed by default.
        keys (Mapping): By their columns in CSV, the values that tell a row
            from all others. Rows of several tables with the same keys are one
            row there.
    """
    text: str
    title: str = ''
    keys: Mapping[str, str] = field(default_factory=dict)

    def latex(self) -> str:
        """Write the title as LaTeX."""
        return latex_text(self.title or self.text)


class Form(NamedTuple):
    """How a number is written in one language.

    Args:
        marks (Mapping): Around it, by how it is set off.
        ends, half_width, published (str): What comes after it.
        minus, plus (str): Signs.
    """
    marks: Mapping[str, str]
    ends: str
    half_width: str
    published: str
    minus: str = '-'
    plus: str = '+'


MARKDOWN_FORM = Form({'': '{}', BOLD: '**{}**', UNDERLINED: '<u>{}</u>'},
                     ' ({} – {})', ' ± {}', ', published {}')
TERMINAL_FORM = MARKDOWN_FORM._replace(
    marks={'': '{}', BOLD: '[bold]{}[/bold]',
           UNDERLINED: '[underline]{}[/underline]'})
LATEX_FORM = Form(
    {'': '{}', BOLD: r'\textbf{{{}}}', UNDERLINED: r'\underline{{{}}}'},
    r' {{\scriptsize ({}--{})}}', r' {{\scriptsize $\pm$ {}}}',
    ', published {}', '$-$', '$+$')


@dataclass(frozen=True)
class Number:
    """A number, and how it is shown.

    Args:
        value (float, optional): None where there is none.
        digits (int): Digits after the point.
        limits (tuple, optional): Both ends of its interval, each None where
            there is none; None of a number that never has an interval.
        mark (str): How it is set off: '', ``BOLD`` or ``UNDERLINED``.
        signed (bool): Whether it has a sign in any case; zero has none.
        half_width (bool): Show half the width of the interval, after ±, and
            not its ends.
        published (float, optional): What was published.
    """
    value: float | None
    digits: int = 0
    limits: tuple[float | None, float | None] | None = None
    mark: str = ''
    signed: bool = False
    half_width: bool = False
    published: float | None = None

    def markdown(self) -> str:
        """Write it as Markdown."""
        return self._written(MARKDOWN_FORM)

    def latex(self) -> str:
        """Write it as LaTeX."""
        return self._written(LATEX_FORM)

    def terminal(self) -> str:
        """Write it in the markup of the package rich."""
        return self._written(TERMINAL_FORM)

    def _written(self, form: Form) -> str:
        """Write the number, its interval and what was published."""

        def digits(value: float) -> str:
            number = round(value, self.digits) or 0.  # no -0.0
            sign = '+' if self.signed and number else ''
            text = f'{number:{sign}.{self.digits}f}'
            return text.replace('-', form.minus).replace('+', form.plus)

        text = '-' if self.value is None else \
            form.marks[self.mark].format(digits(self.value))
        low, high = self.limits or (None, None)
        if low is not None and high is not None:
            text += form.half_width.format(
                f'{(high - low) / 2:.{self.digits}f}') if self.half_width \
                else form.ends.format(digits(low), digits(high))
        if self.published is not None:
            text += form.published.format(digits(self.published))
        return text


Cell = str | Name | Number


@dataclass(frozen=True)
class Table:
    """A table of results.

    Args:
        title (str): Its title.
        head (Sequence): The titles of its columns, text or names.
        rows (Sequence): Its rows, the name of each first.
        columns (Sequence[str]): What columns but the first are called in CSV,
            which leaves a table without them out.
    """
    title: str
    head: Sequence[str | Name]
    rows: Sequence[Sequence[Cell]]
    columns: Sequence[str] = ()

    def texts(self) -> tuple[str, list[str], list[list[str]]]:
        """Return the title, the head and the rows as Markdown."""
        return (self.title, [plain(cell) for cell in self.head],
                [[plain(cell) for cell in row] for row in self.rows])

    def markdown(self) -> str:
        """Write it as Markdown, under its title."""
        title, head, rows = self.texts()
        return f'## {title}\n\n{markdown(head, rows)}\n'

    def latex(self, note: str = '') -> str:
        """Write it as LaTeX, for the package booktabs. A table with intervals
        is as wide as a page.

        Args:
            note (str): What its caption says after the title.
        """
        label = re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')
        head, *rows = (
            ' & '.join(latex_text(cell) if isinstance(cell, str)
                       else cell.latex() for cell in row) + ' \\\\'
            for row in (self.head, *self.rows))
        caption = f'{self.title}. {note}'.rstrip(' .') + '.'
        return '\n'.join([
            '\\begin{table*}[t]', '\\centering', '\\small',
            f'\\caption{{{latex_text(caption)}}}', f'\\label{{tab:{label}}}',
            f'\\begin{{tabular}}{{l{"r" * (len(self.head) - 1)}}}',
            '\\toprule', head, '\\midrule', *rows, '\\bottomrule',
            '\\end{tabular}', '\\end{table*}', ''])


def plain(cell: Cell) -> str:
    """Write a cell as Markdown."""
    text = cell if isinstance(cell, str) else \
        cell.text if isinstance(cell, Name) else cell.markdown()
    return text.replace('|', '\\|')


def latex_text(text: str) -> str:
    r"""Write any text as LaTeX.

    >>> latex_text('my_method, 95 % ↑')
    'my\\_method, 95 \\% $\\uparrow$'
    """
    return text.translate(LATEX)


def csv_text(tables: Iterable[Table]) -> str:
    """Write tables as one of CSV, in full precision: the ends of intervals
    are in ``NAME_low`` and ``NAME_high``, published figures in
    ``NAME_published``."""
    records: dict[tuple, dict[str, Any]] = {}
    keys: dict[str, None] = {}  # in the order in which they come
    values: dict[str, None] = {}
    for table in tables:
        for name, *cells in table.rows if table.columns else ():
            if not isinstance(name, Name):
                raise TypeError(f'row {name} of the table {table.title} has '
                                'no keys')
            record = records.setdefault(tuple(sorted(name.keys.items())), {})
            for column, cell in zip(table.columns, cells):
                numbers = columns_of(column, cell)
                values.update(dict.fromkeys(numbers))
                record.update(numbers)
            keys.update(dict.fromkeys(name.keys))
            record.update(name.keys)
    file = io.StringIO()
    writer = csv.DictWriter(file, [*keys, *values], lineterminator='\n')
    writer.writeheader()
    writer.writerows(records.values())
    return file.getvalue()


def columns_of(name: str, cell: Cell) -> dict[str, Any]:
    """Return the values of a cell by their columns in CSV."""
    if not isinstance(cell, Number):
        return {name: plain(cell)}
    values: dict[str, Any] = {name: cell.value}
    if cell.limits is not None:
        values |= zip((f'{name}_low', f'{name}_high'), cell.limits)
    if cell.published is not None:
        values[f'{name}_published'] = cell.published
    return values


def write_tables(folder: Path, tables: Sequence[Table],
                 note: str = '') -> None:
    """Write tables as ``table.md``, ``table.tex`` and ``table.csv``.

    Args:
        folder (Path): The folder.
        tables (Sequence[Table]): The tables.
        note (str): What is said of all of them: above them in Markdown, in
            each caption in LaTeX.

    Raises:
        OSError: If one cannot be written.
    """
    paragraphs = [note + '\n'] if note else []
    contents = {
        'md': '\n'.join(
            [*paragraphs, *(table.markdown() for table in tables)]),
        'tex': '\n'.join(
            [LATEX_HEAD, *(table.latex(note) for table in tables)]),
        'csv': csv_text(tables),
    }
    for ending, content in contents.items():
        with replacing(folder / f'table.{ending}') as file:
            file.write(content.encode())

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Tables of results on the terminal."""
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ..io.tables import Cell, Number, Table, plain


def print_table(table: Table, console: Console) -> None:
    """Print a table; in a narrow terminal, an interval stands below its
    number."""
    printed = RichTable(title=table.title, title_justify='left',
                        box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for number, title in enumerate(table.head):
        printed.add_column(markup(title),
                           justify='right' if number else 'left')
    for row in table.rows:
        printed.add_row(*map(markup, row))
    console.print(printed)


def markup(cell: Cell) -> str:
    """Write a cell in the markup of rich."""
    return cell.terminal() if isinstance(cell, Number) else \
        escape(plain(cell))

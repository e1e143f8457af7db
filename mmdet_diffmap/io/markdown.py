# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Tables in Markdown, and pages that hold them."""
from collections.abc import Mapping, Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return '\n'.join(f'| {" | ".join(row)} |'
                     for row in [head, ['---'] * len(head), *rows])


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with new tables between its marks.

    Raises:
        ValueError: If it has no place for one of them.
    """
    for name, table in tables.items():
        begin, end = f'<!-- table {name} -->', '<!-- end -->'
        before, _, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f'the page has no place for the table {name}: '
                             f'put {begin} and {end} into it')
        page = f'{before}{begin}\n\n{table}\n{end}{after}'
    return page

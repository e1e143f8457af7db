# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The files of a finished run."""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ..io.files import replacing, save_figure
from ..io.markdown import markdown
from ..visualization import label_name
from ..visualization.curves import draw_curves
from .map_metrics import MAP_METRICS
from .perturbation import area_under_curve
from .summary import QUANTITIES, is_measured, percent_curves

Columns = Sequence[tuple[str, str, str, bool | None]]
#: The columns of the paper's Table 1: title, direction, of whom, and whether
#: more is better.
TABLE: Columns = (
    ('Deletion target ↓', 'deletion', 'target', False),
    ('Insertion target ↑', 'insertion', 'target', True),
    ('Deletion others ↑', 'deletion', 'others', True),
    ('Insertion others ↓', 'insertion', 'others', False),
)
ARROWS = {True: ' ↑', False: ' ↓', None: ''}
#: All tables: title, columns, and digits of their numbers.
TABLES: list[tuple[str, Columns, int]] = [
    ('Deletion and Insertion, areas under the curves in per cent', TABLE, 2)
]
TABLES += [
    (group.capitalize(),
     [(f'{name.replace("_", " ")}{ARROWS[more]}', group, name, more)
      for name, more in metric.quantities.items()], 3)
    for group, metric in MAP_METRICS.items()
]
SIZES = (32**2, 96**2)  # COCO's bounds of small and medium boxes
Rows = list[list[str]]


def write_results(folder: Path, record: dict[str, Any],
                  entries: Iterable[dict[str, Any]],
                  classes: Sequence[str]) -> None:
    """Write ``del_ins.json``, ``table.md``, ``objects.parquet`` and, of
    curves, ``curves.png`` and ``curves.pdf``; each whole or not at all.

    Raises:
        OSError: If one cannot be written.
    """
    try:
        write_files(folder, record, entries, classes)
    except OSError as error:
        raise OSError(f'results cannot be written into {folder}: '
                      f'{error.strerror or error}; what was measured is kept, '
                      'and --resume writes them again') from error


def write_files(folder: Path, record: dict[str, Any],
                entries: Iterable[dict[str, Any]],
                classes: Sequence[str]) -> None:
    with replacing(folder / 'del_ins.json') as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode())
    with replacing(folder / 'table.md') as file:
        file.write(markdown_tables(record).encode())
    write_objects(folder / 'objects.parquet', entries,
                  list(record['explainers']), classes)
    curves = {
        name: found['curves']
        for name, found in record['explainers'].items() if 'curves' in found
    }
    if curves:
        figure = draw_curves(curves)
        for ending in 'png', 'pdf':
            save_figure(figure, folder / f'curves.{ending}')


def size_bucket(area: float) -> str:
    """COCO's name for the size of a box."""
    return 'small' if area < SIZES[0] else \
        'medium' if area < SIZES[1] else 'large'


def write_objects(path: Path, entries: Iterable[dict[str, Any]],
                  methods: Sequence[str], classes: Sequence[str]) -> None:
    """Write one row for each object and method.

    Columns: ``image_id``, ``object`` (its number in the image, best first),
    ``explainer``, ``class``, ``score``, ``x1 y1 x2 y2`` of the detection in
    pixels of the original image, ``area`` of the annotated box in pixels of
    the input (which is what is deleted and inserted), ``size`` (small, medium
    or large, by COCO's bounds, of the annotated box in pixels of the original
    image); for each of ``deletion_target``, ``deletion_others``,
    ``insertion_target`` and ``insertion_others`` the area under the curve in
    per cent, and with ``_scores`` after it the scores of all steps; the
    quantities of all ``MAP_METRICS``.
    """
    with replacing(path) as file:
        writer: parquet.ParquetWriter | None = None
        rows: list[dict[str, Any]] = []
        names = schema(methods)
        writer = parquet.ParquetWriter(file, names)
        for entry in entries:
            rows += object_rows(entry, methods, classes)
            if len(rows) > 10000:  # so that memory does not grow
                writer.write_table(pa.Table.from_pylist(rows, names))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, names))
        writer.close()


def schema(methods: Sequence[str]) -> pa.Schema:
    """The columns of the objects' file; see :func:`write_objects`."""
    text, number = pa.string(), pa.float64()
    columns: dict[str, pa.DataType] = dict(
        image_id=text, object=pa.int32(), explainer=text, score=number)
    columns['class'] = text
    columns |= dict.fromkeys(('x1', 'y1', 'x2', 'y2', 'area'), number)
    columns['size'] = text
    for direction, kind in QUANTITIES:
        columns[f'{direction}_{kind}'] = number
        columns[f'{direction}_{kind}_scores'] = pa.list_(number)
    for metric in MAP_METRICS.values():
        columns |= dict.fromkeys(metric.quantities, number)
    return pa.schema(list(columns.items()))


def object_rows(entry: dict[str, Any], methods: Sequence[str],
                classes: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of one image; none where it has too few objects."""
    if not is_measured(entry):
        return []
    rows = []
    for method in methods:
        curves = percent_curves(entry, method) if 'scores' in entry else {}
        for i, one in enumerate(entry['objects']):
            x1, y1, x2, y2 = one['truth']
            row = dict(
                zip(('x1', 'y1', 'x2', 'y2'), one['bbox']),
                image_id=str(entry['image_id']),
                object=i,
                explainer=method,
                score=one['score'],
                area=one['area'],
                size=size_bucket((x2 - x1) * (y2 - y1)))
            row['class'] = label_name(classes, one['label'])
            for (direction, kind), found in curves.items():
                name = f'{direction}_{kind}'
                row[name] = float(area_under_curve(found[i]))
                row[f'{name}_scores'] = \
                    entry['scores'][method][direction][kind][i]
            for group in MAP_METRICS:
                for name, values in entry.get(group, {}).get(method,
                                                             {}).items():
                    row[name] = values[i]
            rows.append(row)
    return rows


def emphasized(values: Sequence[float | None], more_is_better: bool | None,
               digits: int) -> list[str]:
    """How the best and the second best value are set off: ``**`` and ``u``;
    what is equal in print shares its place. Not at all if neither more nor
    less is better."""
    if more_is_better is None:
        return [''] * len(values)
    known = sorted({round(one, digits) for one in values if one is not None},
                   reverse=more_is_better)
    places = dict(zip(known, ('**', 'u')))
    return [places.get(round(one, digits), '') if one is not None else ''
            for one in values]


def result_rows(explainers: Mapping[str, Any], published: Mapping[str, Any],
                columns: Columns, digits: int) -> Rows:
    """A row for each method: its name, and in each column its mean, the
    interval, and what was published."""
    rows = [[name] for name in explainers]
    for _, outer, inner, more in columns:
        values = [one[outer][inner] for one in explainers.values()]
        marks = emphasized(values, more, digits)
        for row, value, mark in zip(rows, values, marks):
            name = row[0]
            limits = explainers[name]['ci95'][outer][inner]
            text = '-' if value is None else f'{value:.{digits}f}'
            if mark:
                text = f'**{text}**' if mark == '**' else f'<u>{text}</u>'
            if limits is not None:
                text += f' ({limits[0]:.{digits}f} – {limits[1]:.{digits}f})'
            known = published.get(name, {}).get(outer, {}).get(inner)
            if known is not None:
                text += f', published {known:.{digits}f}'
            row.append(text)
    return rows


def difference_rows(differences: Mapping[str, Any], columns: Columns,
                    digits: int) -> Rows:
    """A row for each pair of methods: the mean difference and its
    interval, bold where that leaves zero out."""
    rows = []
    for name, found in differences.items():
        row = [name]
        for _, outer, inner, _ in columns:
            mean, limits = found[outer][inner].values()
            text = '-' if mean is None else signed(mean, digits)
            if limits is not None:
                if limits[0] > 0 or limits[1] < 0:
                    text = f'**{text}**'
                low, high = (signed(one, digits) for one in limits)
                text += f' ({low} – {high})'
            row.append(text)
        rows.append(row)
    return rows


def signed(value: float, digits: int) -> str:
    """A number with its sign, of which zero has none."""
    rounded = round(value, digits)
    return f'{rounded:+.{digits}f}' if rounded else f'{0:.{digits}f}'


def tables(record: dict[str, Any]) -> list[tuple[str, list[str], Rows]]:
    """The tables of a run: title, head and rows."""
    explainers = record['explainers']
    some = next(iter(explainers.values()))
    found = []
    for title, columns, digits in TABLES:
        if columns[0][1] not in some:
            continue
        head = [name for name, *_ in columns]
        found.append((title, ['explainer', *head],
                      result_rows(explainers, record.get('published', {}),
                                  columns, digits)))
        if record['differences']:
            found.append((f'{title}: differences', ['pair', *head],
                          difference_rows(record['differences'], columns,
                                          digits)))
    return found


def markdown_tables(record: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [f'{record["num_objects"]} objects on {record["num_images"]} '
             'images; the best value of a column is bold, the second '
             'underlined; in brackets 95 % intervals over resampled images. '
             'A difference is bold where its interval leaves out zero.\n']
    for title, head, rows in tables(record):
        parts += [f'## {title}\n', markdown(head, rows), '']
    return '\n'.join(parts)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The files of a run that looked for errors."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ..io.files import replacing, save_figure
from ..io.tables import write_tables
from ..visualization import label_name
from ..visualization.error_bars import draw_error_bars
from .kinds import ERRORS
from .summary import ErrorRow, ErrorSummary

SIDES = ('x1', 'y1', 'x2', 'y2')


def write_errors(folder: Path, summary: ErrorSummary,
                 settings: Mapping[str, Any], environment: Mapping[str, Any],
                 failed: Mapping[str, str]) -> None:
    """Write ``errors.json``, ``errors.parquet``, ``table.md``, ``table.tex``,
    ``table.csv``, ``errors.png`` and ``errors.pdf``; each whole or not at all.

    Args:
        folder (Path): The work dir.
        summary (ErrorSummary): The errors.
        settings (Mapping): All that changes them.
        environment (Mapping): What changes them by rounding only.
        failed (Mapping): Why images failed, by their ids.

    Raises:
        OSError: If one cannot be written.
    """
    content = dict(settings=settings, environment=environment, failed=failed,
                   **summary.as_dict())
    try:
        with replacing(folder / 'errors.json') as file:
            file.write(json.dumps(content, indent=1,
                                  ensure_ascii=False).encode())
        write_tables(folder, summary.tables())
        write_rows(folder / 'errors.parquet', summary)
        save_figure(draw_error_bars({
            name: {kind.value: (costs.counts[kind], costs.gains[kind])
                   for kind in ERRORS}
            for name, costs in zip(summary.names, summary.costs)}),
            folder / 'errors')
    except OSError as error:
        raise OSError(f'results cannot be written into {folder}: '
                      f'{error.strerror or error}; what was found out is '
                      'kept, and --resume writes them again') from error


def write_rows(path: Path, summary: ErrorSummary) -> None:
    """Write one row for each error, the most costly first.

    Columns: ``detector``; ``image_id``, ``image`` (its path), ``error`` (its
    number in the image); ``kind``, ``reason``; ``class`` and ``found_class``
    of the object and of the detection, or of the candidate that came nearest
    to a missed object; ``detection`` and ``object``, their numbers in the
    image; ``score`` of that detection or candidate, its ``iou`` with the
    object, what became of it (``fate``) and its box ``x1 y1 x2 y2``;
    ``object_x1`` … of the annotated box; ``rival_score`` and ``rival_x1`` …
    of what it is compared with; ``cost``, in points of average precision;
    ``mended``, whether the other detector does not make it. Boxes are in
    pixels of the original image.
    """
    text, number, whole = pa.string(), pa.float64(), pa.int32()
    columns: dict[str, pa.DataType] = dict(
        detector=text, image_id=text, image=text, error=whole, kind=text,
        reason=text)
    columns['class'] = text
    columns |= dict(found_class=text, detection=whole, object=whole,
                    score=number, iou=number, fate=text)
    for prefix in '', 'object_', 'rival_':
        columns |= {f'{prefix}{name}': number for name in SIDES}
    columns |= dict(rival_score=number, cost=number, mended=pa.bool_())
    rows = [row_of(row, summary) for rows in summary.rows for row in rows]
    table = pa.Table.from_pylist(rows, pa.schema(list(columns.items())))
    with replacing(path) as file:
        parquet.write_table(table, file)


def row_of(row: ErrorRow, summary: ErrorSummary) -> dict[str, Any]:
    """Return the values of an error's row; those without meaning are left
    out."""
    record = row.record
    values: dict[str, Any] = dict(
        detector=summary.names[row.detector], image_id=str(row.image.image_id),
        image=row.image.path, error=row.number, kind=record.kind,
        reason=record.reason or None, score=record.score, iou=record.iou,
        fate=record.fate or None, rival_score=record.rival_score,
        cost=row.cost, mended=row.mended)
    for name, index in (('detection', record.detection),
                        ('object', record.object)):
        values[name] = index if index >= 0 else None
    for name, label in (('class', record.true_label),
                        ('found_class', record.found_label)):
        values[name] = label_name(summary.classes, label) \
            if label >= 0 else None
    for prefix, box in (('', record.box), ('object_', record.truth),
                        ('rival_', record.rival_box)):
        values |= {f'{prefix}{name}': value
                   for name, value in zip(SIDES, box or ())}
    return values

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The files of a finished run."""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ..io.files import replacing, save_figure
from ..visualization import label_name
from ..visualization.curves import draw_curves
from .map_metrics import MAP_METRICS
from .measured_image import CURVES, MeasuredImage
from .perturbation import area_under_curve
from .summary import RunRecord
from .tables import markdown_tables

SIZES = (32**2, 96**2)  # COCO's bounds of small and medium boxes


def write_results(folder: Path, record: RunRecord,
                  entries: Iterable[dict[str, Any]],
                  pairs: Sequence[tuple[str, str]],
                  classes: Sequence[str]) -> None:
    """Write ``del_ins.json``, ``table.md``, ``objects.parquet`` and, of
    curves, ``curves.png`` and ``curves.pdf``; each whole or not at all.

    Args:
        folder (Path): The work dir.
        record (RunRecord): The figures.
        entries (Iterable): Those of the journal that count.
        pairs (Sequence): Difference maps with the methods whose heat maps
            they compare, by name.
        classes (Sequence[str]): Names of the labels.

    Raises:
        OSError: If one cannot be written.
    """
    try:
        write_record(folder, record)
        write_objects(folder / 'objects.parquet', entries,
                      list(record.figures.methods), classes)
        write_curves(folder, record, pairs)
    except OSError as error:
        raise OSError(f'results cannot be written into {folder}: '
                      f'{error.strerror or error}; what was measured is kept, '
                      'and --resume writes them again') from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write the figures as ``del_ins.json`` and ``table.md``."""
    with replacing(folder / 'del_ins.json') as file:
        file.write(
            json.dumps(record.as_dict(), indent=1,
                       ensure_ascii=False).encode())
    with replacing(folder / 'table.md') as file:
        file.write(markdown_tables(record).encode())


def write_curves(folder: Path, record: RunRecord,
                 pairs: Sequence[tuple[str, str]]) -> None:
    """Draw the mean curves, if there are any."""
    curves = {
        name: figures.curves
        for name, figures in record.figures.methods.items() if figures.curves
    }
    if curves:
        figure = draw_curves(curves, dict(pairs))
        for ending in 'png', 'pdf':
            save_figure(figure, folder / f'curves.{ending}')


def size_bucket(area: float) -> str:
    """Return COCO's name for the size of a box, whose area is in pixels.

    >>> size_bucket(32 * 32 - 1), size_bucket(96 * 96)
    ('small', 'large')
    """
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
        rows: list[dict[str, Any]] = []
        columns = schema()
        writer = parquet.ParquetWriter(file, columns)
        for entry in entries:
            image = MeasuredImage.of_entry(entry)
            if image is not None:
                rows += object_rows(image, methods, classes)
            if len(rows) > 10000:  # so that memory does not grow
                writer.write_table(pa.Table.from_pylist(rows, columns))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, columns))
        writer.close()


def schema() -> pa.Schema:
    """Return the columns of the objects' file; see :func:`write_objects`."""
    text, number = pa.string(), pa.float64()
    columns: dict[str, pa.DataType] = dict(
        image_id=text, object=pa.int32(), explainer=text, score=number)
    columns['class'] = text
    columns |= dict.fromkeys(('x1', 'y1', 'x2', 'y2', 'area'), number)
    columns['size'] = text
    for quantity in CURVES:
        name = '_'.join(quantity)
        columns |= {name: number, f'{name}_scores': pa.list_(number)}
    for metric in MAP_METRICS.values():
        columns |= dict.fromkeys(metric.quantities, number)
    return pa.schema(list(columns.items()))


def object_rows(image: MeasuredImage, methods: Sequence[str],
                classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of one image."""
    rows = []
    for method in methods:
        figures = figure_columns(image, method)
        for i, record in enumerate(image.objects):
            x1, y1, x2, y2 = record.truth
            row = dict(
                zip(('x1', 'y1', 'x2', 'y2'), record.bbox),
                image_id=str(image.image_id),
                object=i,
                explainer=method,
                score=record.score,
                area=record.area,
                size=size_bucket((x2 - x1) * (y2 - y1)))
            row['class'] = label_name(classes, record.label)
            row |= {name: values[i] for name, values in figures.items()}
            rows.append(row)
    return rows


def figure_columns(image: MeasuredImage,
                   method: str) -> dict[str, Sequence[Any]]:
    """Return, by column, what was measured of each object by a method."""
    columns: dict[str, Sequence[Any]] = {}
    for quantity, curves in image.percent_curves(method).items():
        name = '_'.join(quantity)
        columns[name] = [float(area_under_curve(curve)) for curve in curves]
        columns[f'{name}_scores'] = image.scores[method][quantity].tolist()
    for quantity, values in image.values.get(method, {}).items():
        columns[quantity.name] = values
    return columns

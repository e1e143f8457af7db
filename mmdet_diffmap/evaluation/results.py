# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The files of a finished run."""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ..io.files import replacing, save_figure
from ..io.tables import write_tables
from ..visualization import label_name
from ..visualization.curves import draw_curves
from .intervals import Estimate
from .map_metrics import MAP_METRICS
from .measured_image import CURVES, MeasuredImage, Quantity
from .perturbation import area_under_curve
from .summary import RunRecord
from .tables import note, tables

SIZES = (32**2, 96**2)  # COCO's bounds of small and medium boxes


def write_results(folder: Path, record: RunRecord,
                  entries: Iterable[dict[str, Any]],
                  classes: Sequence[str]) -> None:
    """Write ``del_ins.json``, ``table.md``, ``table.tex``, ``table.csv``,
    ``objects.parquet`` and, of curves, ``curves.png`` and ``curves.pdf``; each
    whole or not at all.

    Args:
        folder (Path): The work dir.
        record (RunRecord): The figures.
        entries (Iterable): Those of the journal that count.
        classes (Sequence[str]): Names of the labels.

    Raises:
        OSError: If one cannot be written.
    """
    try:
        write_record(folder, record)
        write_objects(folder / 'objects.parquet', entries,
                      list(record.figures.methods), classes)
        write_curves(folder, record)
    except OSError as error:
        raise OSError(f'results cannot be written into {folder}: '
                      f'{error.strerror or error}; what was measured is kept, '
                      'and --resume writes them again') from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write the figures as ``del_ins.json``, and as tables in three forms."""
    with replacing(folder / 'del_ins.json') as file:
        file.write(
            json.dumps(record.as_dict(), indent=1,
                       ensure_ascii=False).encode())
    write_tables(folder, tables(record), note(record))


def write_curves(folder: Path, record: RunRecord) -> None:
    """Draw the mean curves, if there are any."""
    figures = record.figures
    curves = {name: method.curves for name, method in figures.methods.items()
              if method.curves}
    if curves:
        save_figure(
            draw_curves(curves, record.bases, figures.num_images,
                        figures.num_objects), folder / 'curves')


@dataclass(frozen=True)
class MeasuredCurves:
    """The mean curves of a finished run.

    Args:
        curves (dict): By method and quantity, the mean at every step.
        bases (dict): By the name of each difference map, the method whose
            heat maps it compares.
        num_images, num_objects (int): How many were measured.
    """
    curves: dict[str, dict[Quantity, list[Estimate]]]
    bases: dict[str, str]
    num_images: int
    num_objects: int

    @property
    def has_intervals(self) -> bool:
        """Whether any mean has an interval."""
        return any(point.limits for curves in self.curves.values()
                   for points in curves.values() for point in points)


def read_curves(folder: Path,
                methods: Sequence[str] | None = None) -> MeasuredCurves:
    """Read the curves of a finished run from its ``del_ins.json``.

    Args:
        folder (Path): The work dir.
        methods (Sequence[str], optional): Only these; default: all.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no curves, or not those of a method.
    """
    path = folder / 'del_ins.json'
    try:
        record = json.loads(path.read_text())
        explainers = record['explainers']
        found = {name: figures for name, figures in explainers.items()
                 if 'curves' in figures}
    except OSError as error:
        raise OSError(f'{path} cannot be read: {error.strerror}; give the '
                      '--work-dir of a finished benchmark') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is no result of a benchmark') from error
    if not found:
        raise ValueError(f'{path} holds no curves: measure del_ins')
    for name in methods or ():
        if name not in found:
            raise ValueError(f'{path} has no explainer {name!r}, only '
                             f'{", ".join(found)}')
    return MeasuredCurves(
        {name: curves_of(found[name]) for name in methods or found},
        record.get('bases', {}),  # older files have none
        record['num_images'], record['num_objects'])


def curves_of(figures: dict[str, Any]) -> dict[Quantity, list[Estimate]]:
    """Read the curves of a method; those of older files have no
    intervals."""
    curves = {}
    for quantity in CURVES:
        group, name = quantity
        means = figures['curves'][group][name]
        limits = figures.get('curves_ci95', {}).get(group, {}).get(
            name, [None] * len(means))
        curves[quantity] = [Estimate(mean, *(ends or (None, None)))
                            for mean, ends in zip(means, limits)]
    return curves


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

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The tables and files of a sanity check."""
from __future__ import annotations

import json
from pathlib import Path

from ...evaluation.intervals import Estimate
from ...evaluation.tables import estimated
from ...explainers.paper_names import paper_name
from ...io.files import replacing, save_figure
from ...io.images import read_image
from ...io.tables import Cell, Name, Number, Table, write_tables
from ...visualization.cascade import draw_similarities, draw_stages
from .check import MEASURES, Checked

TITLES = {
    'rank_correlation': 'rank correlation',
    'rank_correlation_in_box': 'in the own box',
    'ssim': 'SSIM',
}


def summary_table(checked: Checked) -> Table:
    """Make the table of what is left of each map when all weights are gone."""
    rows: list[list[Cell]] = []
    for name, figures in checked.figures.items():
        rows.append([
            map_name(name, checked.stages[-1]),
            *(similarity(figures[measure][-1]) for measure in MEASURES),
            Number(checked.blank[name], 2)])
    return Table('All weights gone',
                 ['map', *TITLES.values(), 'of an empty map'], rows,
                 [*MEASURES, 'ssim_of_an_empty_map'])


def stage_table(checked: Checked, name: str) -> Table:
    """Make the table of how alike a map remains, stage by stage."""
    return Table(
        name, ['weights gone', *TITLES.values()],
        [[Name(stage, keys=map_name(name, stage).keys),
          *(similarity(checked.figures[name][measure][number])
            for measure in MEASURES)]
         for number, stage in enumerate(checked.stages)], MEASURES)


def map_name(name: str, stage: str) -> Name:
    """Return the name of a map, as it is at a stage."""
    return Name(name, paper_name(name), dict(map=name, weights_gone=stage))


def similarity(estimate: Estimate) -> Number:
    """Return a similarity as a number that leaves room for others."""
    return estimated(estimate, 2, half_width=True)


def note(checked: Checked) -> str:
    """Say what the tables are about."""
    images = checked.num_images
    text = f'{checked.objects} objects on {images} ' \
        f'image{"s" * (images != 1)}'
    return text + ('; after ± half of the 95 % interval over resampled '
                   'images, whose ends are in table.csv.'
                   if images > 1 else '; one image gives no interval.')


def write_results(checked: Checked, folder: Path) -> None:
    """Write ``sanity.json``, ``table.md``, ``table.tex``, ``table.csv``, and
    ``similarity`` and ``maps`` as PNG and PDF; each whole or not at all.

    Args:
        checked (Checked): The outcome.
        folder (Path): The folder.

    Raises:
        OSError: If one cannot be written.
    """
    record = dict(
        stages=checked.stages,
        objects=checked.objects,
        images=checked.num_images,
        similarity={
            name: {measure: [estimate.as_dict() for estimate in estimates]
                   for measure, estimates in measures.items()}
            for name, measures in checked.figures.items()},
        empty_map=checked.blank)
    with replacing(folder / 'sanity.json') as file:
        file.write(json.dumps(record, indent=1).encode())
    write_tables(folder, [
        summary_table(checked),
        *(stage_table(checked, name) for name in checked.figures)],
        note(checked))
    save_figure(
        draw_similarities(checked.stages, checked.figures, checked.blank,
                          checked.bases), folder / 'similarity')
    save_figure(
        draw_stages(checked.stages, checked.maps,
                    read_image(checked.image)[..., ::-1], checked.bases),
        folder / 'maps')

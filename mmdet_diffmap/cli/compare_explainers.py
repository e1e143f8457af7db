# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Compare the maps that two settings of an explainer give.

Prints how far heat maps and difference maps of the same objects are apart,
and draws the object of the median and that of the largest difference.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from . import options

if TYPE_CHECKING:
    from mmengine.structures import InstanceData

TOP = 0.05  # share of an image's pixels that are its most important
PANEL = 240


@dataclass
class Compared:
    """One object with the maps of both settings."""
    image: np.ndarray
    box: np.ndarray
    heatmaps: tuple[np.ndarray, np.ndarray]
    difference_maps: tuple[np.ndarray, np.ndarray]

    def figures(self) -> dict[str, float]:
        """How far the maps are apart."""
        from ..lab.similarity import rank_correlation
        figures = {}
        for kind, (first, second) in (('heat map', self.heatmaps),
                                      ('difference map',
                                       self.difference_maps)):
            apart = np.abs(first - second)
            figures[f'{kind}: largest difference'] = float(apart.max())
            figures[f'{kind}: mean difference'] = float(apart.mean())
            figures[f'{kind}: rank correlation'] = rank_correlation(
                first, second)
            figures[f'{kind}: overlap of the top 5 %'] = top_overlap(
                first, second)
        return figures


def top_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of the most important pixels; ties go to the first pixels."""
    count = max(1, round(TOP * first.size))
    tops = []
    for heatmap in (first, second):
        top = np.zeros(heatmap.size, bool)
        top[np.argsort(-heatmap.ravel(), kind='stable')[:count]] = True
        tops.append(top)
    return float((tops[0] & tops[1]).sum() / (tops[0] | tops[1]).sum())


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/compare_explainers.py',
        'INPUTS ... MODEL --second KEY=VALUE',
        'Compare the maps that two settings of an explainer give for the same '
        'objects.', [
            'photos my_config.py --weights my_weights.pth '
            '--second statistics=frozen --picture compared.png',
        ], {'--checkpoint': '--weights'})
    options.add_images(parser.add_argument_group('inputs'))
    method = parser.add_argument_group('method')
    method.add_argument(
        '--explainer', default='odam', metavar='NAME', help='default: odam')
    options.add_options(method, '--first',
                        'options of the first setting; default: none')
    options.add_options(
        method,
        '--second',
        'options of the second, such as statistics=frozen',
        required=True)
    options.add_selection(parser.add_argument_group('which objects'))
    output = parser.add_argument_group('output')
    output.add_argument('--picture', metavar='FILE',
                        help='write the picture into this file')
    options.add_json(output)
    options.add_colours(output)
    detector = parser.add_argument_group('detector')
    options.add_weights(detector)
    options.add_detector_options(detector)
    args = parser.read(argv)
    options.check_inputs(parser, args.paths)
    return args


def explain_twice(args: argparse.Namespace) -> list[Compared]:
    """Explain every object with both settings."""
    from ..apis import find_images, load_detector
    from ..apis.image_pipeline import image_pipeline
    from ..explainers import build_explainer
    from ..explainers.engine import Selection, explain_image
    from ..io.progress import progress_bar
    *inputs, name = args.paths
    explainers = [build_explainer(args.explainer, **options)
                  for options in (args.first, args.second)]
    selection = Selection(args.score_thr, args.max_objects)
    images = find_images(inputs)
    model = load_detector(name, args.weights, args.device, args.cfg_options)
    objects = []
    with progress_bar('images', len(images)) as advance:
        for path in images:
            image = image_pipeline(model)(path)
            both: list[InstanceData] = [
                explanation.sample.pred_instances.cpu()
                for explanation in explain_image(model, image.batch, 0,
                                                 explainers, selection)
            ]
            for i in range(len(both[0])):
                heatmaps, differences = (
                    tuple(instances[key][i].float().numpy()
                          for instances in both)
                    for key in ('heatmaps', 'difference_maps'))
                objects.append(
                    Compared(image.picture[..., ::-1],
                             both[0].bboxes[i].numpy(), heatmaps,
                             differences))
            advance(1)
    return objects


def quartiles(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Smallest, quartiles and largest value of each figure."""
    table = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        values = values[~np.isnan(values)]
        table[name] = dict(
            zip(('min', '25 %', 'median', '75 %', 'max'),
                np.quantile(values, [0, .25, .5, .75, 1]).tolist()))
    return table


def draw(objects: list[Compared], names: tuple[str, str]) -> np.ndarray:
    """One row an object: the image with its box, both heat maps, both
    difference maps."""
    from ..visualization.colours import TARGET, overlay, resize
    from ..visualization.drawing import font
    columns = ('image', f'heat map, {names[0]}', f'heat map, {names[1]}',
               f'difference map, {names[0]}', f'difference map, {names[1]}')
    rows = []
    for compared in objects:
        scale = PANEL / max(compared.image.shape[:2])
        size = (round(compared.image.shape[1] * scale),
                round(compared.image.shape[0] * scale))
        photo = resize(np.ascontiguousarray(compared.image), size)
        panels = [photo] + [
            overlay(photo, values, signed)
            for maps, signed in ((compared.heatmaps, False),
                                 (compared.difference_maps, True))
            for values in maps
        ]
        row = Image.new('RGB', (len(columns) * (PANEL + 6), size[1] + 6),
                        'white')
        for i, panel in enumerate(panels):
            picture = Image.fromarray(panel)
            ImageDraw.Draw(picture).rectangle(
                list(compared.box * scale), outline=TARGET, width=2)
            row.paste(picture, (i * (PANEL + 6), 0))
        rows.append(np.asarray(row))
    header = Image.new('RGB', (rows[0].shape[1], 24), 'white')
    for i, name in enumerate(columns):
        ImageDraw.Draw(header).text((i * (PANEL + 6), 3), name, (20, 20, 20),
                                    font(14))
    return np.concatenate([np.asarray(header), *rows])


def describe(options: dict[str, Any]) -> str:
    """Write the options of a setting."""
    return ' '.join(f'{k}={v}' for k, v in options.items()) or 'default'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: compare(args))


def compare(args: argparse.Namespace) -> int:
    """Compare, and print what comes out."""
    from ..io.files import replacing, save_picture
    from ..visualization import use_colours
    use_colours(args.colours)
    objects = explain_twice(args)
    if not objects:
        raise ValueError('no object above the score threshold')
    rows = [compared.figures() for compared in objects]
    table = quartiles(rows)
    names = describe(args.first), describe(args.second)
    printed = Table(title=f'{names[0]} against {names[1]}, '
                    f'{len(objects)} objects')
    for column in ('', *next(iter(table.values()))):
        printed.add_column(column, justify='right' if column else 'left')
    for name, values in table.items():
        printed.add_row(name, *(f'{v:.3f}' for v in values.values()))
    Console(width=None if sys.stdout.isatty() else 100).print(printed)
    if args.picture:
        order = np.argsort(
            [row['heat map: largest difference'] for row in rows])
        chosen = [objects[order[len(order) // 2]], objects[order[-1]]]
        save_picture(draw(chosen, names), Path(args.picture))
    if args.json:
        with replacing(Path(args.json)) as file:
            file.write(
                json.dumps(dict(objects=len(objects), figures=table),
                           indent=2).encode())
    return 0


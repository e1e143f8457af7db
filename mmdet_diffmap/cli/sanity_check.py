# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that maps depend on what a detector has learned.

Takes the detector's weights away, part by part from the head down, and prints
how alike the maps remain to what they were.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from . import options

if TYPE_CHECKING:
    from ..lab.sanity import Checked

#: Those that need no thousand runs of the detector.
DEFAULT = ('grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++', 'odam')
TITLES = {
    'rank_correlation': 'Rank correlation',
    'rank_correlation_in_box': 'Rank correlation in the own box',
    'ssim': 'SSIM',
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'mmdet-diffmap sanity-check', 'INPUTS ... MODEL [options]',
        'Take a detector\'s weights away from the head down, and see whether '
        'its maps change.', [
            'photo.jpg my_config.py --weights my_weights.pth',
            'photos my_config.py --weights my_weights.pth '
            '--explainer odam grad-cam --max-objects 5',
        ], {'--work-dir': '--out-dir', '--checkpoint': '--weights'})
    inputs = parser.add_argument_group('inputs')
    options.add_images(inputs)
    options.add_method(parser.add_argument_group('method'), DEFAULT)
    options.add_selection(parser.add_argument_group('which objects'))
    output = parser.add_argument_group('output')
    output.add_argument(
        '--out-dir', default='outputs/sanity', metavar='FOLDER',
        help='gets sanity.json, table.md, similarity.png and maps.png; '
        'default: outputs/sanity')
    options.add_colours(output)
    detector = parser.add_argument_group('detector')
    options.add_weights(detector)
    options.add_detector_options(detector)
    detector.add_argument(
        '--seed', type=options.whole_number, default=0, metavar='N',
        help='of the noise in the weights\' place; default: 0')
    args = parser.read(argv)
    options.check_inputs(parser, args.paths)
    return args


def tables(checked: Checked) -> list[tuple[str, list[str], list[list[str]]]]:
    """Make a table for each measure: title, head, and a row for each
    stage."""
    from ..evaluation.tables import result_text
    result = []
    for measure, title in TITLES.items():
        rows = [
            [stage] + [
                result_text(checked.figures[name][measure][number], '', 2)
                for name in checked.figures
            ] for number, stage in enumerate(checked.stages)
        ]
        if measure == 'ssim':
            rows.append(['an empty map'] + [
                f'{checked.blank[name]:.2f}' for name in checked.figures])
        result.append((title, ['weights gone', *checked.figures], rows))
    return result


def write_results(checked: Checked, image: str, folder: Path) -> None:
    """Write all files; each whole or not at all."""
    from ..io.files import replacing, save_figure
    from ..io.images import read_image
    from ..io.markdown import markdown
    from ..visualization.cascade import draw_similarities, draw_stages
    record = dict(
        stages=checked.stages,
        objects=checked.objects,
        similarity={
            name: {measure: [estimate.as_dict() for estimate in estimates]
                   for measure, estimates in measures.items()}
            for name, measures in checked.figures.items()},
        empty_map=checked.blank)
    with replacing(folder / 'sanity.json') as file:
        file.write(json.dumps(record, indent=1).encode())
    lines = []
    for title, head, rows in tables(checked):
        lines += [f'## {title}\n', markdown(head, rows), '']
    with replacing(folder / 'table.md') as file:
        file.write('\n'.join(lines).encode())
    save_figure(
        draw_similarities(checked.stages, checked.figures, checked.blank,
                          checked.bases), folder / 'similarity.png')
    save_figure(
        draw_stages(checked.stages, checked.maps, read_image(image)[..., ::-1],
                    checked.bases),
        folder / 'maps.png')


def check(args: argparse.Namespace) -> int:
    """Check a detector, and print how alike its maps remain."""
    from ..apis import find_images, load_detector
    from ..explainers import build_explainers
    from ..explainers.engine import Selection
    from ..lab.sanity import check_sanity
    *inputs, name = args.paths
    images = find_images(inputs)
    model = load_detector(name, args.weights, args.device, args.cfg_options)
    configs = options.explainer_configs(model.cfg)
    explainers = build_explainers(
        {name: configs.get(name, name) for name in args.explainer},
        **args.explainer_options)
    checked = check_sanity(model, images, explainers,
                         Selection(args.score_thr, args.max_objects),
                         args.seed)
    folder = Path(args.out_dir)
    write_results(checked, checked.image, folder)
    console = Console(
        width=None if sys.stdout.isatty() else 200, highlight=False)
    for title, head, rows in tables(checked):
        table = Table(title=title, title_justify='left')
        for column in head:
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f'{checked.objects} objects; results in {folder.resolve()}',
                  soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))


# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that maps depend on what a detector has learned.

Takes the detector's weights away, part by part from the head down, and prints
how alike the maps remain to what they were.
"""
import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

from rich.console import Console
from rich.table import Table

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.apis import find_images, load_detector, read_image
from mmdet_diffmap.cli import options as command_line
from mmdet_diffmap.explainers import build_explainers
from mmdet_diffmap.io.files import replacing, save_figure
from mmdet_diffmap.io.markdown import markdown
from mmdet_diffmap.lab.sanity import Checked, check_sanity
from mmdet_diffmap.visualization.cascade import draw_similarities, draw_stages

#: Those that need no thousand runs of the detector.
DEFAULT = ('grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++', 'odam')
TITLES = {
    'rank_correlation': 'Rank correlation',
    'rank_correlation_in_box': 'Rank correlation in the own box',
    'ssim': 'SSIM',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Take a detector\'s weights away from the head down, and '
        'see whether its maps change.')
    parser.add_argument(
        'paths',
        nargs='+',
        metavar='INPUTS ... MODEL',
        help='images and, last, the detector; see explain.py')
    parser.add_argument(
        '--weights',
        help='checkpoint file or URL; default: the one that the config or '
        'the model zoo names')
    parser.add_argument(
        '--explainer',
        nargs='+',
        default=DEFAULT,
        metavar='NAME',
        help=f'default: {" ".join(DEFAULT)}')
    command_line.add_options(parser, '--explainer-options',
                             'options of the explainers that have them')
    parser.add_argument('--score-thr', type=float, default=0.3,
                        help='default: 0.3')
    parser.add_argument('--max-objects', type=int,
                        help='at most so many of an image, best first')
    parser.add_argument('--seed', type=int, default=0,
                        help='of the noise in the weights\' place; default: 0')
    parser.add_argument(
        '--out-dir', default='outputs/sanity',
        help='gets sanity.json, table.md, similarity.png and maps.png; '
        'default: outputs/sanity')
    command_line.add_detector_options(parser)
    args = command_line.parse_args(parser)
    if len(args.paths) == 1:
        parser.error(f'{args.paths[0]} alone: give images and a MODEL')
    return args


def tables(found: Checked) -> list[tuple[str, list[str], list[list[str]]]]:
    """A table for each measure: title, head, and a row for each stage."""
    result = []
    for measure, title in TITLES.items():
        rows = [
            [stage] + [
                cell(found.figures[name][measure][number])
                for name in found.figures
            ] for number, stage in enumerate(found.stages)
        ]
        if measure == 'ssim':
            rows.append(['an empty map'] + [
                f'{found.blank[name]:.2f}' for name in found.figures])
        result.append((title, ['weights gone', *found.figures], rows))
    return result


def cell(figure: dict[str, Any]) -> str:
    """A mean with its interval."""
    if figure['mean'] is None:
        return '-'
    low, high = figure['ci95']
    return f'{figure["mean"]:.2f} ({low:.2f} – {high:.2f})'


def write_results(found: Checked, image: str, folder: Path) -> None:
    """Write all files; each whole or not at all."""
    record = dict(
        stages=found.stages,
        objects=found.objects,
        similarity=found.figures,
        empty_map=found.blank)
    with replacing(folder / 'sanity.json') as file:
        file.write(json.dumps(record, indent=1).encode())
    lines = []
    for title, head, rows in tables(found):
        lines += [f'## {title}\n', markdown(head, rows), '']
    with replacing(folder / 'table.md') as file:
        file.write('\n'.join(lines).encode())
    save_figure(draw_similarities(found.stages, found.figures, found.blank),
                folder / 'similarity.png')
    save_figure(
        draw_stages(found.stages, found.maps, read_image(image)[..., ::-1]),
        folder / 'maps.png')


def check(args: argparse.Namespace) -> int:
    *inputs, name = args.paths
    images = find_images(inputs)
    model = load_detector(name, args.weights, args.device, args.cfg_options)
    known = command_line.known_explainers(model.cfg)
    explainers = build_explainers(
        {one: known.get(one, one) for one in args.explainer},
        **args.explainer_options)
    found = check_sanity(model, images, explainers, args.score_thr,
                         args.max_objects, args.seed)
    folder = Path(args.out_dir)
    write_results(found, found.image, folder)
    console = Console(
        width=None if sys.stdout.isatty() else 200, highlight=False)
    for title, head, rows in tables(found):
        table = Table(title=title, title_justify='left')
        for column in head:
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f'{found.objects} objects; results in {folder.resolve()}',
                  soft_wrap=True)
    return 0


def main() -> int:
    args = parse_args()
    return command_line.run(lambda: check(args))


if __name__ == '__main__':
    sys.exit(main())

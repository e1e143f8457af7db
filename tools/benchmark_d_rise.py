# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure what D-RISE costs beyond the detector's forward passes, in time and
memory, and how reliable its maps are."""
import argparse
import json
import sys
import warnings
from pathlib import Path

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

from rich.console import Console
from rich.table import Table

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.apis import load_detector
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.cli import options as command_line
from mmdet_diffmap.explainers import DRISE
from mmdet_diffmap.io.files import replacing
from mmdet_diffmap.lab.speed import Overhead, measure_overhead


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure D-RISE and the bare forward passes of the same '
        'number of masked images side by side, its memory, and how well its '
        'maps would correlate with those of other masks.')
    parser.add_argument('image', help='file or URL')
    parser.add_argument('model', help='the detector; see explain.py')
    parser.add_argument(
        '--weights',
        help='checkpoint file or URL; default: the one that the config or '
        'the model zoo names')
    parser.add_argument(
        '--masks',
        type=int,
        nargs='+',
        default=[500, 5000],
        metavar='N',
        help='numbers of masks; default: 500 5000')
    command_line.add_options(parser, '--explainer-options',
                             'options of D-RISE, such as batch_size=16')
    parser.add_argument('--score-thr', type=float, default=0.3)
    parser.add_argument('--max-objects', type=int)
    parser.add_argument(
        '--repeat',
        type=int,
        default=3,
        help='times are the median of so many; default: 3')
    parser.add_argument('--json', help='write all figures into this file')
    command_line.add_detector_options(parser)
    args = command_line.parse_args(parser)
    if args.repeat < 1:
        parser.error('--repeat must be 1 or more')
    if {'masks', 'progress'} & set(args.explainer_options):
        parser.error('masks and progress are no options here: give --masks')
    return args


def print_overheads(found: list[Overhead]) -> None:
    table = Table()
    for column in ('objects', 'masks', 'bare forwards', 'D-RISE',
                   '/ bare forwards', 'peak memory', 'reliability'):
        table.add_column(column, justify='right')
    for one in found:
        table.add_row(
            str(one.objects), str(one.masks), f'{one.bare:.3g} s',
            f'{one.explain:.3g} s', f'{one.ratio:.3f}',
            f'{one.memory / 1e6:.1f} MB', f'{one.reliability:.2f}')
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def measure(args: argparse.Namespace) -> int:
    explainers = [
        DRISE(masks=masks, progress=False, **args.explainer_options)
        for masks in args.masks
    ]
    model = load_detector(args.model, args.weights, args.device,
                          args.cfg_options)
    found = [
        measure_overhead(model, image_pipeline(model)(args.image).batch, explainer,
                         args.score_thr, args.max_objects, args.repeat)
        for explainer in explainers
    ]
    print_overheads(found)
    if args.json:
        record = dict(
            arguments=vars(args), overheads=[one.as_dict() for one in found])
        with replacing(Path(args.json)) as file:
            file.write(json.dumps(record, indent=2).encode())
    return 0


def main() -> int:
    args = parse_args()
    return command_line.run(lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())

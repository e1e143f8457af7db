# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure what D-RISE costs beyond the detector's forward passes, in time and
memory, and how reliable its maps are."""
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
    from ..lab.speed import Overhead


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/benchmark_d_rise.py', 'IMAGE MODEL [options]',
        'Measure D-RISE and the bare forward passes of the same number of '
        'masked images side by side, its memory, and how well its maps would '
        'correlate with those of other masks.', [
            'photo.jpg my_config.py --weights my_weights.pth --masks 500',
        ])
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument('image', metavar='IMAGE', help='file or URL')
    inputs.add_argument('model', metavar='MODEL', help='the detector')
    method = parser.add_argument_group('method')
    method.add_argument(
        '--masks',
        type=options.count,
        nargs='+',
        default=[500, 5000],
        metavar='N',
        help='numbers of masks; default: 500 5000')
    options.add_options(method, '--explainer-options',
                        'options of D-RISE, such as batch_size=16')
    options.add_selection(parser.add_argument_group('which objects'))
    output = parser.add_argument_group('output')
    options.add_repeat(output)
    options.add_json(output)
    detector = parser.add_argument_group('detector')
    options.add_weights(detector)
    options.add_detector_options(detector)
    args = parser.read(argv)
    if {'masks', 'progress'} & set(args.explainer_options):
        parser.error('masks and progress are no options here: give --masks')
    return args


def print_overheads(overheads: list[Overhead]) -> None:
    """Print a row for each number of masks."""
    table = Table()
    for column in ('objects', 'masks', 'bare forwards', 'D-RISE',
                   '/ bare forwards', 'peak memory', 'reliability'):
        table.add_column(column, justify='right')
    for overhead in overheads:
        table.add_row(
            str(overhead.objects), str(overhead.masks),
            f'{overhead.bare:.3g} s',
            f'{overhead.explain:.3g} s', f'{overhead.ratio:.3f}',
            f'{overhead.memory / 1e6:.1f} MB',
            f'{overhead.reliability:.2f}')
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def measure(args: argparse.Namespace) -> int:
    """Measure, and print what comes out."""
    from ..apis import load_detector
    from ..apis.image_pipeline import image_pipeline
    from ..explainers import DRISE
    from ..explainers.engine import Selection
    from ..io.files import replacing
    from ..lab.speed import measure_overhead
    explainers = [
        DRISE(masks=masks, progress=False, **args.explainer_options)
        for masks in args.masks
    ]
    model = load_detector(args.model, args.weights, args.device,
                          args.cfg_options)
    data = image_pipeline(model)(args.image).batch
    selection = Selection(args.score_thr, args.max_objects)
    overheads = [
        measure_overhead(model, data, explainer, selection, args.repeat)
        for explainer in explainers
    ]
    print_overheads(overheads)
    if args.json:
        record = dict(
            arguments=vars(args),
            overheads=[overhead.as_dict() for overhead in overheads])
        with replacing(Path(args.json)) as file:
            file.write(json.dumps(record, indent=2).encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: measure(args))


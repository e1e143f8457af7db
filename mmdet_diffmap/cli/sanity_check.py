# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that maps depend on what a detector has learned.

Takes the detector's weights away, part by part from the head down, and prints
how alike the maps remain to what they were.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import options

#: Those that need no thousand runs of the detector.
DEFAULT = ('grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++', 'odam')


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
        help='gets sanity.json, table.md, table.tex, table.csv, and '
        'similarity and maps as .png and .pdf; default: outputs/sanity')
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


def check(args: argparse.Namespace) -> int:
    """Check a detector, and print how alike its maps remain."""
    from ..apis import find_images, load_detector
    from ..explainers import build_explainers
    from ..explainers.engine import Selection
    from ..lab.sanity import check_sanity
    from ..lab.sanity.files import note, summary_table, write_results
    from ..visualization import use_colours
    from .terminal_tables import print_table
    use_colours(args.colours)
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
    write_results(checked, folder)
    console = Console(
        width=None if sys.stdout.isatty() else 80, highlight=False)
    print_table(summary_table(checked), console)
    console.print(f'{note(checked)}\nresults, also of all stages, in '
                  f'{folder.resolve()}', soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))


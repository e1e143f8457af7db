# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""mmdet's own ``tools/test.py``, where mmcv's ops are not compiled too.

mmdet's script imports mmcv's ops before it reads any config. This command
registers the stand-ins first, and then runs that script with the same
arguments.
"""
from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from . import options
from .data_files import check_test_data


def build_parser() -> options.CommandParser:
    """Build a parser of what mmdet's script takes, whose own help and errors
    come after seconds of imports."""
    parser = options.CommandParser(
        'mmdet-diffmap test', 'CONFIG CHECKPOINT [options]',
        'Run mmdet\'s tools/test.py, also where mmcv has no compiled ops. An '
        'ExplainHook in the config writes explanations.', [
            'my_config.py my_weights.pth',
            'my_config.py my_weights.pth --work-dir tested --show-dir '
            'pictures',
        ], {'--out-dir': '--work-dir'})
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument('config', metavar='CONFIG', help='a config file')
    inputs.add_argument('checkpoint', metavar='CHECKPOINT',
                        help='its weights, a file or URL')
    options.add_options(inputs, '--cfg-options',
                        'override settings of the config')
    output = parser.add_argument_group('output')
    output.add_argument('--work-dir', metavar='FOLDER',
                        help='gets the log and the results')
    output.add_argument('--out', metavar='FILE',
                        help='gets the predictions, as a pickle file')
    output.add_argument('--show', action='store_true',
                        help='show images with their predictions ...')
    output.add_argument(
        '--wait-time',
        type=lambda text: options.number(
            text, float, 'a number of seconds, 0 or more',
            lambda value: 0 <= value < float('inf')),
        default=2, metavar='SECONDS',
        help='... each for so long; default: 2')
    output.add_argument(
        '--show-dir', metavar='FOLDER',
        help='write those images, into WORK_DIR/TIME/FOLDER')
    run = parser.add_argument_group('the run')
    run.add_argument('--tta', action='store_true',
                     help='test with augmented images')
    run.add_argument(
        '--launcher', choices=options.LAUNCHERS, default='none',
        help='what started several processes; default: none')
    run.add_argument('--local_rank', '--local-rank', type=int,
                     help=argparse.SUPPRESS)
    return parser


def check(args: argparse.Namespace) -> int:
    """Raise an error about what mmdet's script would not find."""
    from ..apis.loading import load_config, overridden
    from ..io.checkpoint import is_url
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'config {args.config} does not exist')
    cfg, _ = load_config(args.config)
    if args.cfg_options:
        cfg = overridden(cfg, args.cfg_options)
    if not is_url(args.checkpoint) and not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'weights {args.checkpoint} do not exist')
    if cfg.get('test_dataloader'):
        check_test_data(cfg, evaluator=True)
    return 0


def run_script(arguments: list[str]) -> int:
    """Run mmdet's script."""
    import mmdet

    from .quiet import quiet_runners
    script = Path(mmdet.__file__).parent / '.mim/tools/test.py'
    if not script.is_file():
        print(f'error: {script} is missing: install mmdet from its wheel',
              file=sys.stderr)
        return 1
    before = sys.argv
    sys.argv = ['mmdet-diffmap test', *arguments]
    try:
        with quiet_runners():
            runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv = before
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    parser = build_parser()
    arguments = list(map(parser.current, sys.argv[1:] if argv is None
                         else argv))
    args = parser.read(arguments)
    # what goes wrong in the script may be the user's own code: it is not put
    # into a line
    return options.run(lambda: check(args)) or options.run(
        lambda: run_script(arguments), mistakes=())

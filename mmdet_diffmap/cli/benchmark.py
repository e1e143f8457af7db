# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deletion and Insertion over a data set: the paper's Table 1 and Fig. 5."""
from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import options
from .data_files import check_test_data

if TYPE_CHECKING:
    from mmengine.config import Config

#: What can be measured; as in ``evaluation``.
METRICS = ('del_ins', 'localization', 'shape', 'parts')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'mmdet-diffmap benchmark', 'CONFIG [CHECKPOINT] [options]',
        'Measure by Deletion and Insertion how well explanations find what a '
        'detector looks at, over the test set of a config. Writes '
        'del_ins.json, table.md, table.tex, table.csv, curves.png, curves.pdf '
        'and objects.parquet.',
        [
            'my_config.py my_weights.pth --work-dir measured',
            'my_config.py my_weights.pth --work-dir measured --resume',
            'my_config.py my_weights.pth --explainer odam odam-diff '
            '--metrics del_ins shape --num-images 50',
        ], {'--out-dir': '--work-dir'})
    inputs = parser.add_argument_group('inputs')
    options.add_annotated_detector(inputs)
    inputs.add_argument(
        '--num-images',
        type=options.count,
        metavar='N',
        help='only the first so many images')
    options.add_options(inputs, '--cfg-options',
                        'override settings of the config')
    method = parser.add_argument_group('method')
    method.add_argument(
        '--explainer',
        nargs='+',
        metavar='NAME',
        help='methods: odam, grad-cam …, NAME-diff for a difference map, or '
        'names of the config\'s own `explainers`; default: the eight of the '
        'paper\'s Table 1')
    method.add_argument(
        '--against',
        metavar='NAME',
        help='a method that all others are compared with, object by object; '
        'difference maps are compared with their own method in any case')
    measure = parser.add_argument_group('what is measured')
    measure.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        metavar='NAME',
        help=f'{", ".join(METRICS)}; default: del_ins; the others need '
        'instance masks')
    measure.add_argument(
        '--steps', type=options.count, metavar='N',
        help='of deletion and of insertion; default: 10')
    measure.add_argument(
        '--seed', type=options.whole_number, metavar='N',
        help='of the noise; default: 0')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--work-dir', metavar='FOLDER',
        help='gets all files; default: work_dirs/ and the config\'s name')
    output.add_argument(
        '--profile',
        action='store_true',
        help='run the bare forward passes as well, and print how the run '
        'compares with them and what its stages take')
    run = parser.add_argument_group('the run')
    options.add_run(run)
    run.add_argument(
        '--forward-batch-size',
        type=options.count,
        metavar='N',
        help='so many changed images go through the detector at once; '
        'halved when memory runs out; default: 16')
    run.add_argument(
        '--amp', action='store_true', help='detect in mixed precision')
    return parser.read(argv)


def prepare(args: argparse.Namespace) -> Config:
    """Return the config with the loop and the metric, and what the arguments
    say."""
    from ..evaluation import TABLE_1
    from ..evaluation.runner import LOOP, METRIC, own_settings
    cfg = options.test_config(args)
    check_test_data(cfg)
    loop = own_settings(cfg.get('test_cfg'), LOOP)
    metric = own_settings(cfg.get('test_evaluator'), METRIC)
    configs = options.explainer_configs(cfg)
    names = loop.get('explainers') or TABLE_1
    if isinstance(names, dict):
        configs.update(names)
    loop['explainers'] = {name: configs.get(name, name)
                          for name in args.explainer or names}
    for name in ('metrics', 'num_images', 'steps', 'seed',
                 'forward_batch_size', 'amp', 'profile'):
        value = getattr(args, name)
        if value is not None and value is not False:
            loop[name] = value
    metric = dict(metric, resume=args.resume)
    if args.against:
        metric['against'] = args.against
    cfg.test_cfg, cfg.test_evaluator = loop, metric
    cfg.default_hooks = dict(
        cfg.get('default_hooks') or {},
        logger=dict(type='LoggerHook', interval=10))
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or \
        f'work_dirs/{Path(args.config).stem}'
    return cfg


def print_profile(profile: dict[str, Any], console: Console) -> None:
    """Print what the stages of a run took."""
    table = Table(title='Profile of the first process', title_justify='left')
    for column in 'stage', 'seconds', 'share':
        table.add_column(column, justify='right')
    for name, seconds in sorted(profile['stages'].items(),
                                key=lambda item: -item[1]):
        table.add_row(name, f'{seconds:.2f}',
                      f'{seconds / profile["whole_run"]:.1%}')
    console.print(table)
    ratio = profile['ratio']
    console.print(
        f'{profile["forwards"]} forward passes: whole run '
        f'{profile["whole_run"]:.2f} s, bare forward passes '
        f'{profile["bare_forwards"]:.2f} s' +
        (f', ratio {ratio:.3f}' if ratio else ''))


def benchmark(args: argparse.Namespace) -> int:
    """Measure, and print what was measured."""
    from mmengine.dist import is_main_process

    from ..evaluation.runner import build_runner
    from ..evaluation.tables import tables
    from .distributed import distributed
    from .quiet import quiet_runners
    from .terminal_tables import print_table
    cfg = prepare(args)
    with distributed(args.launcher), quiet_runners(logging.WARNING):
        runner = build_runner(cfg, args.checkpoint)
        runner.test()
        if not is_main_process():
            return 0
    record = runner.test_loop.metric.record
    figures = record.figures
    console = Console(
        width=None if sys.stdout.isatty() else 160, highlight=False)
    for table in tables(record):
        print_table(table, console)
    if args.profile:
        print_profile(
            json.loads(Path(cfg.work_dir, 'profile.json').read_text()),
            console)
    console.print(
        f'{figures.num_objects} objects on {figures.num_images} images, '
        f'{figures.num_skipped} images with too few objects; results in '
        f'{Path(cfg.work_dir).resolve()}', soft_wrap=True)
    for image, reason in record.failed.items():
        print(f'failed: image {image}: {reason}', file=sys.stderr)
    return 1 if record.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: benchmark(args), resume=True)


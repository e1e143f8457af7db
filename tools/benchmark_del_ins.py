# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deletion and Insertion over a data set: the paper's Table 1 and Fig. 5."""
import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

from mmengine.config import Config
from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.apis.loading import load_config, overridden
from mmdet_diffmap.cli import options as command_line
from mmdet_diffmap.cli.distributed import LAUNCHERS, distributed
from mmdet_diffmap.evaluation import METRICS, TABLE_1
from mmdet_diffmap.evaluation.results import tables
from mmdet_diffmap.evaluation.runner import (
    LOOP,
    METRIC,
    build_runner,
    own_settings,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure by Deletion and Insertion how well explanations '
        'find what a detector looks at, over the test set of a config. Writes '
        'del_ins.json, table.md, curves.png, curves.pdf and objects.parquet.')
    parser.add_argument(
        'config',
        help='any config of a detector with an annotated test set: a file, '
        'a config of mmdet\'s wheel (mmdet::...), or a name of its model zoo')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='its weights, a file or URL; default: those that the config or '
        'the model zoo names')
    parser.add_argument(
        '--explainers',
        nargs='+',
        metavar='NAME',
        help='methods: names of configs/_base_/explainers.py, or of the '
        f'config\'s own `explainers`; default: {" ".join(TABLE_1)}')
    parser.add_argument(
        '--against',
        metavar='NAME',
        help='a method that all others are compared with, object by object; '
        'difference maps are compared with their own method in any case')
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        help='default: del_ins; the others need instance masks')
    parser.add_argument(
        '--work-dir', help='default: work_dirs/ and the config\'s name')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with what is in the work dir, with any number of '
        'processes')
    parser.add_argument(
        '--num-images', type=int, help='only the first so many images')
    parser.add_argument(
        '--steps', type=int, help='of deletion and of insertion; default: 10')
    parser.add_argument('--seed', type=int, help='of the noise; default: 0')
    parser.add_argument(
        '--forward-batch-size',
        type=int,
        help='so many changed images go through the detector at once; '
        'halved when memory runs out; default: 16')
    parser.add_argument(
        '--amp', action='store_true', help='detect in mixed precision')
    parser.add_argument(
        '--profile',
        action='store_true',
        help='run the bare forward passes as well, and print how the run '
        'compares with them and what its stages take')
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started several processes; default: none')
    command_line.add_options(parser, '--cfg-options',
                             'override settings of the config')
    # torch.distributed.launch of old passes it
    parser.add_argument('--local_rank', '--local-rank', type=int,
                        help=argparse.SUPPRESS)
    return command_line.parse_args(parser)


def prepare(args: argparse.Namespace) -> Config:
    """The config with the loop and the metric, and what the arguments say."""
    cfg, zoo_weights = load_config(args.config)
    if args.cfg_options:
        cfg = overridden(cfg, args.cfg_options)
    args.checkpoint = args.checkpoint or cfg.get('load_from') or zoo_weights
    if not args.checkpoint:
        raise ValueError(f'no weights for {args.config}: neither given, nor '
                         'named by the config (load_from)')
    if not cfg.get('test_dataloader'):
        raise ValueError(f'config {args.config} has no test_dataloader, whose '
                         'images could be measured')
    loop = own_settings(cfg.get('test_cfg'), LOOP)
    metric = own_settings(cfg.get('test_evaluator'), METRIC)
    known = command_line.known_explainers(cfg)
    names = loop.get('explainers') or TABLE_1
    if isinstance(names, dict):
        known.update(names)
    loop['explainers'] = {name: known.get(name, name)
                          for name in args.explainers or names}
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


def print_tables(record: dict[str, Any], console: Console) -> None:
    for title, head, rows in tables(record):
        table = Table(title=title, title_justify='left')
        for column in head:
            table.add_column(column)
        for row in rows:
            table.add_row(*map(terminal_marks, row))
        console.print(table)


def terminal_marks(text: str) -> str:
    """Bold and underlined as a terminal shows them."""
    for mark, style in ('**', 'bold'), ('u', 'underline'):
        begin, end = (mark, mark) if mark == '**' else (f'<{mark}>',
                                                        f'</{mark}>')
        if text.startswith(begin):
            inner, _, rest = text[len(begin):].partition(end)
            return f'[{style}]{inner}[/{style}]{rest}'
    return text


def print_profile(profile: dict[str, Any], console: Console) -> None:
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
    cfg = prepare(args)
    with distributed(args.launcher):
        runner = build_runner(cfg, args.checkpoint)
        runner.test()
        if not is_main_process():
            return 0
    record = runner.test_loop.metric.record
    console = Console(
        width=None if sys.stdout.isatty() else 160, highlight=False)
    print_tables(record, console)
    if args.profile:
        print_profile(
            json.loads(Path(cfg.work_dir, 'profile.json').read_text()),
            console)
    console.print(
        f'{record["num_objects"]} objects on {record["num_images"]} images, '
        f'{record["num_skipped"]} images with too few objects; results in '
        f'{Path(cfg.work_dir).resolve()}', soft_wrap=True)
    for image, reason in record['failed'].items():
        print(f'failed: image {image}: {reason}', file=sys.stderr)
    return 1 if record['failed'] else 0


def main() -> int:
    args = parse_args()
    return command_line.run(lambda: benchmark(args))


if __name__ == '__main__':
    sys.exit(main())

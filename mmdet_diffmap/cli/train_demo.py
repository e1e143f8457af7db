# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Train a demo detector on the synthetic scenes and publish its weights, or
check what the published ones reach.

Writes beside the config, when the training has ended: NAME.pth (the weights
alone, in half precision) and NAME.json (the average precision that these very
weights reach on the validation set, how they were trained, and the log).
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import options

if TYPE_CHECKING:
    from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/usage.md'
#: A row of that page's table: config, AP and AP50.
FIGURES = re.compile(
    r'\| `(configs/demo/\w[\w-]*\.py)` \| ([\d.]+) \| ([\d.]+) \|')
MEASURES = {'AP': 'coco/bbox_mAP', 'AP50': 'coco/bbox_mAP_50'}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/train_demo.py', '[CONFIG] [options]',
        'Train a demo detector on the synthetic scenes, or check the '
        'published ones.', [
            'configs/demo/fcos_scenes.py',
            '--check',
        ], {'--out-dir': '--work-dir'})
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument('config', nargs='?', metavar='CONFIG',
                        help='config of configs/demo')
    options.add_options(inputs, '--cfg-options',
                        'override settings of the config')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--work-dir', metavar='FOLDER',
        help='default: work_dirs/ and the config\'s name')
    output.add_argument(
        '--out', metavar='FILE',
        help='published weights; default: beside the config')
    run = parser.add_argument_group('the run')
    run.add_argument(
        '--check',
        action='store_true',
        help='measure the published weights of CONFIG, or of all that the '
        'docs/usage.md has figures of, and fail where one is not reached')
    run.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last checkpoint of the work dir')
    args = parser.read(argv)
    if not args.config and not args.check:
        parser.error('give a CONFIG to train, or --check')
    if args.check and (args.resume or args.work_dir or args.out):
        parser.error('--check does not go with --resume, --work-dir or --out')
    return args


def publish(runner: Runner, out: Path, revision: str,
            log: list[dict[str, Any]]) -> None:
    """Store the model's weights in half precision with what they reach."""
    import mmengine
    import torch
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu()
        for name, tensor in runner.model.state_dict().items()
    }
    runner.model.load_state_dict(weights)
    metrics = runner.test()
    torch.save(
        dict(
            state_dict=weights,
            meta=dict(dataset_meta=runner.test_dataloader.dataset.metainfo)),
        out)
    record = dict(
        metrics={name: round(value, 4) for name, value in metrics.items()},
        parameters=sum(p.numel() for p in runner.model.parameters()),
        minutes=round(sum(row.pop('seconds', 0) for row in log) / 60),
        cores=torch.get_num_threads(),
        seed=runner.seed,
        commit=revision,
        versions=dict(torch=torch.__version__, mmengine=mmengine.__version__),
        log=log)
    out.with_suffix('.json').write_text(json.dumps(record, indent=1) + '\n')
    print(f'{out}: {out.stat().st_size / 1e6:.2f} MB, {record["metrics"]}')


def commit() -> str:
    """Return the checked-out commit of this package."""
    return subprocess.run(['git', 'rev-parse', 'HEAD'],
                          cwd=ROOT,
                          capture_output=True,
                          text=True,
                          check=True).stdout.strip()


def read_log(runs: list[Path]) -> list[dict[str, Any]]:
    """Return the logged losses and validation results of the runs of one
    training, one dict a step, with the seconds since the last one."""
    rows = [
        json.loads(line) for run in runs
        for line in (run / 'vis_data/scalars.json').read_text().splitlines()
    ]
    last = 0
    for row in rows:
        if 'loss' in row:
            row['seconds'] = row['time'] * max(row['step'] - last, 0)
            last = row['step']
        else:  # the host says 0 of a validation
            row['step'] = last
    kept = ('step', 'seconds', 'loss', 'lr', 'coco/bbox_mAP',
            'coco/bbox_mAP_50')
    kept_rows = [{key: row[key] for key in kept if key in row} for row in rows]
    return [row for row in kept_rows if len(row) > 1]


def stated_figures(page: str) -> dict[Path, dict[str, float]]:
    """Return what a page says of each config: AP and AP50."""
    return {
        ROOT / config: {'AP': float(ap), 'AP50': float(ap50)}
        for config, ap, ap50 in FIGURES.findall(page)
    }


def measured_figures(config: Path,
                     options: dict[str, Any]) -> dict[str, float]:
    """Return what the published weights of a config reach on its validation
    set."""
    from mmengine.config import Config

    from ..evaluation.runner import build_runner
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    cfg.work_dir = f'work_dirs/check/{config.stem}'
    metrics = build_runner(cfg, cfg.load_from).test()
    return {name: metrics[key] for name, key in MEASURES.items()}


def check(args: argparse.Namespace) -> int:
    """Compare what weights reach with what docs/usage.md says of
    them."""
    stated = stated_figures(PAGE.read_text())
    if args.config:
        config = Path(args.config).resolve()
        if config not in stated:
            raise ValueError(f'docs/usage.md has no figures of {args.config}')
        stated = {config: stated[config]}
    table = Table(title='Published demo detectors', title_justify='left')
    for column in 'config', 'AP', 'page', 'AP50', 'page', '':
        table.add_column(column)
    missed = 0
    for config, wanted in stated.items():
        measured = measured_figures(config, args.cfg_options)
        good = all(measured[name] >= value for name, value in wanted.items())
        missed += not good
        table.add_row(config.name, *(
            text for name, value in wanted.items()
            for text in (f'{measured[name]:.3f}', f'{value}')),
            'reached' if good else 'MISSED')
    console = Console(width=None if sys.stdout.isatty() else 100,
                      highlight=False)
    console.print(table)
    if missed:
        print(f'error: {missed} of {len(stated)} detectors do not reach what '
              'docs/usage.md says', file=sys.stderr)
    return int(missed > 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args) if args.check else train(args),
                       resume=True)


def train(args: argparse.Namespace) -> int:
    """Train a detector, and publish its weights."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    config = Path(args.config)
    cfg = Config.fromfile(config)
    cfg.work_dir = args.work_dir or f'work_dirs/{config.stem}'
    cfg.resume = args.resume
    cfg.load_from = None  # the published weights, which this makes
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if args.resume:
        cfg.load_from = None  # or mmengine goes on from there
    out = Path(args.out) if args.out else config.with_suffix('.pth')
    revision = commit()  # fails before the training, not after it
    runner = Runner.from_cfg(cfg)
    runner.train()
    last = Path(runner.log_dir)
    runs = sorted(last.parent.glob('*/vis_data')) if args.resume else []
    publish(runner, out, revision,
            read_log([run.parent for run in runs] or [last]))
    return 0


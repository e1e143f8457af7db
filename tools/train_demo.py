# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Train a demo detector on the synthetic scenes and publish its weights.

Writes beside the config, when the training has ended: NAME.pth (the weights
alone, in half precision) and NAME.json (the average precision that these very
weights reach on the validation set, how they were trained, and the log).
"""
import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

import mmdet_diffmap  # noqa: F401, registers the scenes

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a demo detector on the synthetic scenes')
    parser.add_argument('config', help='config of configs/demo')
    parser.add_argument(
        '--work-dir', help='default: work_dirs/ and the config\'s name')
    parser.add_argument(
        '--out', help='published weights; default: beside the config')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last checkpoint of the work dir')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value')
    return parser.parse_args()


def publish(runner: Runner, out: Path, revision: str,
            log: list[dict[str, Any]]) -> None:
    """Store the model's weights in half precision with what they reach."""
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
    """The checked-out commit of this package."""
    return subprocess.run(['git', 'rev-parse', 'HEAD'],
                          cwd=ROOT,
                          capture_output=True,
                          text=True,
                          check=True).stdout.strip()


def read_log(runs: list[Path]) -> list[dict[str, Any]]:
    """The logged losses and validation results of the runs of one training,
    one dict a step, with the seconds since the last one."""
    rows = [
        json.loads(line) for run in runs
        for line in (run / 'vis_data/scalars.json').read_text().splitlines()
    ]
    last = 0
    for row in rows:
        if 'loss' in row:
            row['seconds'] = row['time'] * max(row['step'] - last, 0)
            last = row['step']
    kept = ('step', 'seconds', 'loss', 'lr', 'coco/bbox_mAP',
            'coco/bbox_mAP_50')
    found = [{key: row[key] for key in kept if key in row} for row in rows]
    return [row for row in found if len(row) > 1]


def main() -> None:
    args = parse_args()
    config = Path(args.config)
    cfg = Config.fromfile(config)
    cfg.work_dir = args.work_dir or f'work_dirs/{config.stem}'
    cfg.resume = args.resume
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.load_from = None  # the published weights, which this makes
    out = Path(args.out) if args.out else config.with_suffix('.pth')
    revision = commit()  # fails before the training, not after it
    runner = Runner.from_cfg(cfg)
    runner.train()
    last = Path(runner.log_dir)
    runs = sorted(last.parent.glob('*/vis_data')) if args.resume else []
    publish(runner, out, revision,
            read_log([run.parent for run in runs] or [last]))


if __name__ == '__main__':
    main()

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure how long explanations take and how much memory.

Objects are planted into the detector's predictions, so that weights do not
matter: without --weights the detector is initialised at random.
"""
import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from rich.console import Console
from rich.table import Table
from torch import nn

from ..apis import load_detector
from ..apis.loading import (
    available_device,
    build_detector,
    load_config,
    overridden,
)
from ..explainers import build_explainer
from ..io.files import replacing
from ..lab.speed import (
    Bench,
    CountedOperations,
    Speed,
    coco_boxes,
    input_batch,
    random_boxes,
)
from . import options


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description='Measure how long explanations take: the forward pass, '
        'the naive loop (one backward pass for each output of each object) '
        'and ours, side by side.')
    parser.add_argument(
        'config',
        help='a config, a config of mmdet\'s wheel (mmdet::...), or a name of '
        'its model zoo')
    parser.add_argument(
        '--weights', help='checkpoint file or URL; default: random weights')
    parser.add_argument(
        '--num-objects',
        type=int,
        nargs='+',
        default=[1, 10, 50],
        metavar='N',
        help='how many objects to explain; default: 1 10 50')
    parser.add_argument(
        '--explainers',
        nargs='+',
        default=['odam'],
        metavar='NAME',
        help='default: odam')
    options.add_options(
        parser, '--explainer-options',
        'options of all explainers, such as statistics=frozen')
    parser.add_argument(
        '--input-size',
        type=int,
        nargs=2,
        default=[800, 1333],
        metavar=('H', 'W'),
        help='what the network gets, before padding; default: 800 1333')
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        default=[480, 800],
        metavar=('H', 'W'),
        help='size of the image and its maps; default: 480 800')
    parser.add_argument(
        '--annotations',
        help='COCO annotations whose boxes are planted; default: boxes of '
        'random places and sizes')
    parser.add_argument(
        '--repeat',
        type=int,
        default=3,
        help='times are the median of so many; default: 3')
    parser.add_argument(
        '--naive-objects',
        type=int,
        default=10,
        metavar='N',
        help='run the naive loop for at most so many objects, and scale its '
        'time up; 0 leaves it out; default: 10')
    parser.add_argument(
        '--operations',
        action='store_true',
        help='count operations instead of measuring times: what a GPU starts '
        'one by one')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--json', help='write all figures into this file')
    options.add_detector_options(parser)
    args = parser.parse_args(argv)
    smallest = min(*args.num_objects, *args.input_size, *args.image_size,
                   args.repeat)
    if smallest < 1 or args.naive_objects < 0:
        parser.error('numbers must be 1 or more')
    return args


def every_object_stays(cfg: Config, count: int) -> None:
    """Switch off what would drop planted objects after the head."""
    test_cfg = cfg.model.get('test_cfg') or {}
    parts: list[Any] = [test_cfg, test_cfg.get('rcnn') or {}]
    for part in parts:
        if 'nms' in part:
            part.nms.iou_threshold = 1.0
        if 'max_per_img' in part:
            part.max_per_img = max(count, part.max_per_img)


def without_pretrained(cfg: Any) -> None:
    """Leave out the weights that parts of a model would load."""
    if isinstance(cfg, ConfigDict):
        if 'checkpoint' in (cfg.get('init_cfg') or {}):
            cfg.init_cfg = None
        cfg = list(cfg.values())
    if isinstance(cfg, list):
        for part in cfg:
            without_pretrained(part)


def make_detector(args: argparse.Namespace) -> nn.Module:
    """Return the detector with its weights or with random ones."""
    cfg, _ = load_config(args.config)
    if args.cfg_options:
        cfg = overridden(cfg, args.cfg_options)
    every_object_stays(cfg, max(args.num_objects))
    if args.weights:
        return load_detector(cfg, args.weights, args.device)
    without_pretrained(cfg.model)
    torch.manual_seed(args.seed)
    detector: Any = build_detector(cfg)
    logging.disable(logging.INFO)  # a line for every parameter
    detector.init_weights()
    logging.disable(logging.NOTSET)
    return detector.to(available_device(args.device)).eval()


def print_speeds(console: Console, title: str, speeds: list[Speed]) -> None:
    table = Table(title=title)
    for column in ('objects', 'forward', 'trace', 'explain', '/ forward',
                   'naive loop', 'faster', 'memory', '/ forward',
                   'largest difference'):
        table.add_column(column, justify='right')
    for speed in speeds:
        scaled = '' if speed.naive_objects == speed.objects else '~'
        table.add_row(
            str(speed.objects), f'{speed.forward:.3g} s',
            f'{speed.trace:.3g} s', f'{speed.explain:.3g} s',
            f'{speed.against_forward:.2f}', f'{scaled}{speed.naive:.3g} s',
            f'{speed.against_naive:.3g} x', f'{speed.memory / 1e9:.2f} GB',
            f'{speed.memory / speed.forward_memory:.2f}',
            f'{speed.difference:.1e}')
    console.print(table)
    console.print('~ scaled up from fewer objects' if any(
        speed.naive_objects < speed.objects for speed in speeds) else '')


def print_operations(console: Console, title: str,
                     counted: list[CountedOperations]) -> None:
    table = Table(title=title)
    for column in ('objects', 'forward', '+ trace', '+ explain', 'total',
                   'waits'):
        table.add_column(column, justify='right')
    for each in counted:
        waits = each.trace.waits + each.explain.waits
        table.add_row(
            str(each.objects), str(each.forward.total), str(each.trace.total),
            str(each.explain.total), str(each.total), str(waits))
    console.print(table)
    console.print('operations without views; waits: those among the added '
                  'ones for which the processor waits')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: measure(args))


def measure(args: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    explainers = {
        name: build_explainer(name, **args.explainer_options)
        for name in args.explainers
    }
    boxes = coco_boxes(args.annotations, args.seed) if args.annotations \
        else random_boxes(max(args.num_objects), args.seed)
    if len(boxes) < max(args.num_objects):
        raise ValueError(f'{args.annotations} has {len(boxes)} boxes, '
                         f'fewer than {max(args.num_objects)} objects')
    detector = make_detector(args)
    image = np.random.default_rng(args.seed).integers(
        0, 256, (*args.image_size, 3), dtype=np.uint8)
    bench = Bench(detector, input_batch(image, tuple(args.input_size)), boxes,
                  args.repeat, args.naive_objects)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, explainer in explainers.items():
        title = f'{args.config}, {name}'
        if args.operations:
            counted = list(bench.operations(explainer, args.num_objects))
            print_operations(console, title, counted)
            results[name] = [asdict(each) for each in counted]
            continue
        speeds = list(bench.measure(explainer, args.num_objects))
        print_speeds(console, title, speeds)
        results[name] = [speed.as_dict() for speed in speeds]
    if args.json:
        device = next(detector.parameters()).device
        record = dict(
            arguments=vars(args),
            machine=dict(
                processor=platform.machine(),
                cores=os.cpu_count(),
                threads=torch.get_num_threads(),
                device=torch.cuda.get_device_name(device)
                if device.type == 'cuda' else device.type,
                torch=torch.__version__),
            explainers=results)
        with replacing(Path(args.json)) as file:
            file.write(json.dumps(record, indent=2).encode())
    return 0


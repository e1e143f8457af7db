# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure how long explanations take and how much memory.

Objects are planted into the detector's predictions, so that weights do not
matter: without a CHECKPOINT the detector is initialised at random.
"""
from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import options

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

    from ..lab.speed import CountedOperations, Speed


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/benchmark_speed.py', 'CONFIG [CHECKPOINT] [options]',
        'Measure how long explanations take: the forward pass, the naive loop '
        '(one backward pass for each output of each object) and ours, side by '
        'side.', [
            'my_config.py --num-objects 1 10',
            'configs/demo/fcos_scenes.py --operations',
        ])
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument(
        'config',
        metavar='CONFIG',
        help='a config, a config of mmdet\'s wheel (mmdet::...), or a name of '
        'its model zoo')
    options.add_checkpoint(inputs, 'random weights')
    add_sizes(inputs)
    options.add_method(parser.add_argument_group('method'))
    objects = parser.add_argument_group('which objects')
    objects.add_argument(
        '--num-objects',
        type=options.count,
        nargs='+',
        default=[1, 10, 50],
        metavar='N',
        help='how many objects to explain; default: 1 10 50')
    objects.add_argument(
        '--annotations',
        metavar='FILE',
        help='COCO annotations whose boxes are planted; default: boxes of '
        'random places and sizes')
    output = parser.add_argument_group('output')
    options.add_repeat(output)
    output.add_argument(
        '--naive-objects',
        type=options.whole_number,
        default=10,
        metavar='N',
        help='run the naive loop for at most so many objects, and scale its '
        'time up; 0 leaves it out; default: 10')
    output.add_argument(
        '--operations',
        action='store_true',
        help='count operations instead of measuring times: what a GPU starts '
        'one by one')
    options.add_json(output)
    detector = parser.add_argument_group('detector')
    options.add_detector_options(detector)
    detector.add_argument(
        '--seed', type=options.whole_number, default=0, metavar='N',
        help='of random weights, boxes and pixels; default: 0')
    return parser.read(argv)


def add_sizes(group: argparse._ArgumentGroup) -> None:
    """Add the sizes of the image, and of what the network gets of it."""
    group.add_argument(
        '--input-size',
        type=options.count,
        nargs=2,
        default=[800, 1333],
        metavar=('H', 'W'),
        help='what the network gets, before padding; default: 800 1333')
    group.add_argument(
        '--image-size',
        type=options.count,
        nargs=2,
        default=[480, 800],
        metavar=('H', 'W'),
        help='size of the image and its maps; default: 480 800')


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
    from mmengine.config import ConfigDict
    if isinstance(cfg, ConfigDict):
        if 'checkpoint' in (cfg.get('init_cfg') or {}):
            cfg.init_cfg = None
        cfg = list(cfg.values())
    if isinstance(cfg, list):
        for part in cfg:
            without_pretrained(part)


def make_detector(args: argparse.Namespace) -> nn.Module:
    """Return the detector with its weights or with random ones."""
    import torch

    from ..apis import load_detector
    from ..apis.loading import (
        available_device,
        build_detector,
        load_config,
        overridden,
    )
    cfg, _ = load_config(args.config)
    if args.cfg_options:
        cfg = overridden(cfg, args.cfg_options)
    every_object_stays(cfg, max(args.num_objects))
    if args.checkpoint:
        return load_detector(cfg, args.checkpoint, args.device)
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
    """Measure, and print what comes out."""
    import numpy as np
    import torch

    from ..explainers import build_explainer
    from ..io.files import replacing
    from ..lab.speed import Bench, coco_boxes, input_batch, random_boxes
    console = Console(width=None if sys.stdout.isatty() else 120)
    explainers = {
        name: build_explainer(name, **args.explainer_options)
        for name in args.explainer
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


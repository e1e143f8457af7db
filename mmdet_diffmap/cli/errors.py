# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector's errors over a data set: what is missed or wrong, why, and what
it costs."""
from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from . import options
from .data_files import check_test_data

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ..explainers import Explainer


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = build_parser()
    args = parser.read(argv)
    if args.against and len(args.against) > 2:
        parser.error('--against takes a config and a checkpoint')
    if args.background >= args.foreground:
        parser.error(f'--background {args.background} is not below '
                     f'--foreground {args.foreground}')
    if args.pictures and not args.report_images:
        parser.error('--pictures are of the images in the report, and there '
                     'is none')
    if args.annotations and len(args.images) != 1:
        parser.error('--annotations needs one folder of images: --images '
                     'FOLDER')
    return args


def build_parser() -> options.CommandParser:
    """Build the parser of the command."""
    parser = options.CommandParser(
        'mmdet-diffmap errors', 'CONFIG [CHECKPOINT] [options]',
        'Find out which detections over the test set of a config are wrong, '
        'what is missed, why, and what it costs. Writes errors.json, '
        'errors.parquet, table.md, table.tex, table.csv, errors.png, '
        'errors.pdf and report.html, in which each error opens its maps.', [
            'my_config.py my_weights.pth --work-dir errors',
            'my_config.py my_weights.pth --annotations my.json --images '
            'photos',
            'my_config.py my_weights.pth --against other_config.py '
            'other_weights.pth --report-images 20',
        ], {'--out-dir': '--work-dir'})
    inputs = parser.add_argument_group('inputs')
    options.add_annotated_detector(inputs)
    inputs.add_argument(
        '--against',
        nargs='+',
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another detector: which errors does it mend, and which does it '
        'make')
    inputs.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='NAME',
        help='only these images of the test set: names or ids, in which * '
        'stands for anything; with --annotations: a folder of images')
    inputs.add_argument(
        '--annotations',
        metavar='FILE',
        help='annotations in COCO\'s format in place of the test set; the '
        'images lie in the folder --images')
    inputs.add_argument(
        '--num-images',
        type=options.count,
        metavar='N',
        help='only the first so many images')
    options.add_options(inputs, '--cfg-options',
                        'override settings of the config')
    add_thresholds(parser.add_argument_group('what is an error'))
    method = parser.add_argument_group('method')
    method.add_argument(
        '--explainer',
        default='odam',
        metavar='NAME',
        help='the method of the maps; default: odam')
    options.add_options(
        method, '--explainer-options', 'its options, such as extents=True')
    method.add_argument(
        '--target-layer',
        metavar='LAYER',
        help='module whose features are explained; default: neck')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--work-dir',
        metavar='FOLDER',
        help='gets all files; default: work_dirs/, the config\'s name and '
        '_errors')
    output.add_argument(
        '--report-images',
        type=options.whole_number,
        default=100,
        metavar='N',
        help='the report shows the N images whose errors cost most; 0 for no '
        'report; default: 100')
    output.add_argument(
        '--pictures',
        action='store_true',
        help='also write a picture of the errors of each image in the report, '
        'vis/NAME.png')
    options.add_colours(output)
    options.add_run(parser.add_argument_group('the run'))
    return parser


def add_thresholds(group: argparse._ArgumentGroup) -> None:
    """Add which detections count, and where kinds of errors part."""
    options.add_score_threshold(group)
    group.add_argument(
        '--foreground',
        type=options.score,
        default=0.5,
        metavar='IOU',
        help='from which a box is at an object; default: 0.5')
    group.add_argument(
        '--background',
        type=options.score,
        default=0.1,
        metavar='IOU',
        help='up to which a box is at none; default: 0.1')


def prepare(args: argparse.Namespace) -> Config:
    """Return the config with the loop and the metric, and what the arguments
    say."""
    from ..apis.loading import dataset_meta
    from ..io.checkpoint import read_checkpoint
    cfg = options.test_config(args)
    names = args.images
    if args.annotations:
        classes = dataset_meta(read_checkpoint(args.checkpoint),
                               cfg).get('classes') or ()
        cfg.test_dataloader.dataset = annotated_images(
            cfg, args.annotations, args.images[0], classes)
        names = []
    check_test_data(cfg, instead='--annotations FILE --images FOLDER')
    against = None
    if args.against:
        against = dict(zip(('config', 'checkpoint'), args.against))
    cfg.test_cfg = dict(
        type='ErrorTestLoop', score_thr=args.score_thr,
        foreground=args.foreground, background=args.background,
        against=against, num_images=args.num_images, images=names)
    cfg.test_evaluator = dict(type='ErrorMetric', resume=args.resume)
    cfg.default_hooks = dict(
        cfg.get('default_hooks') or {},
        logger=dict(type='LoggerHook', interval=10))
    cfg.work_dir = args.work_dir or \
        f'work_dirs/{Path(args.config).stem}_errors'
    return cfg


def annotated_images(cfg: Config, annotations: str, folder: str,
                     classes: Sequence[str]) -> dict[str, Any]:
    """Return the config of a data set of a folder of images, with the pipeline
    of the config's test set.

    Args:
        cfg (Config): Of the detector.
        annotations (str): Their file, in COCO's format.
        folder (str): Where the images lie.
        classes (Sequence[str]): Of the detector; see
            :class:`~mmdet_diffmap.datasets.NamedCocoDataset`.

    Raises:
        OSError: If one of them does not exist.
        ValueError: If the annotations are not in COCO's format.
    """
    import json

    from ..datasets.named_coco import plain_class_name
    if not Path(folder).is_dir():
        raise NotADirectoryError(f'{folder} is no folder of images')
    try:
        content = json.loads(Path(annotations).read_text())
    except OSError as error:
        raise OSError(f'annotations {annotations} cannot be read: '
                      f'{error.strerror}') from error
    except ValueError as error:
        raise ValueError(f'annotations {annotations} are no JSON: '
                         f'{error}') from error
    if not isinstance(content, dict) or \
            not {'images', 'annotations', 'categories'} <= set(content):
        raise ValueError(f'annotations {annotations} are not in COCO\'s '
                         'format: they need images, annotations and '
                         'categories')
    given = cfg.test_dataloader.dataset
    while 'dataset' in given:  # wrapped
        given = given.dataset
    used = {annotation['category_id'] for annotation in
            content['annotations']}
    known = set(map(plain_class_name, classes))
    for category in content['categories']:
        if category['id'] in used and plain_class_name(
                category['name']) not in known:
            print(f'warning: the detector does not know the class '
                  f'{category["name"]}: its objects are left out',
                  file=sys.stderr)
    return dict(
        type='NamedCocoDataset', ann_file=str(Path(annotations).resolve()),
        data_prefix=dict(img=f'{Path(folder)}/'), test_mode=True,
        metainfo=dict(classes=list(classes)),
        pipeline=given.get('pipeline') or cfg.test_pipeline)


def build_method(args: argparse.Namespace, cfg: Config) -> Explainer:
    """Build the method of the maps.

    Raises:
        ValueError: If there is none of that name, or it is a difference map.
    """
    from ..errors.maps import check_method
    from ..explainers import build_explainers
    configs = options.explainer_configs(cfg)
    method_options = dict(args.explainer_options)
    if args.target_layer:
        method_options['target_layer'] = args.target_layer
    name = args.explainer
    (method, ) = build_explainers({name: configs.get(name, name)},
                                  **method_options).values()
    check_method(method)
    return method


def write_report(args: argparse.Namespace, runner: Runner,
                 method: Explainer, failed: dict[str, str]) -> dict[str, str]:
    """Write the page; return the images that failed, with the reason, and
    those that had failed before."""
    from ..errors.pages import write_error_report
    from ..explainers.explainer import as_config
    from .explain import options_text
    metric = runner.test_loop.metric
    path = Path(runner.work_dir, 'report.html')
    settings = {
        'detector': args.config,
        'weights': args.checkpoint,
        **({'against': ' '.join(args.against)} if args.against else {}),
        'cfg-options': str(args.cfg_options or 'none'),
        'images': args.annotations or 'the config\'s test set',
        'score threshold': str(args.score_thr),
        'IoU of foreground and background':
            f'{args.foreground}, {args.background}',
        f'method {args.explainer}': options_text(as_config(method)),
    }
    failures = write_error_report(
        runner.test_loop, metric.summary, method, path, args.report_images,
        settings, path.parent / 'vis' if args.pictures else None, failed)
    print(f'report: {path.resolve()}')
    return failures


def find_errors(args: argparse.Namespace) -> int:
    """Find the errors, and print what was found."""
    from mmengine.dist import is_main_process

    from ..evaluation.runner import build_runner
    from ..explainers.engine import check_explainable
    from ..visualization import use_colours
    from .distributed import distributed
    from .quiet import quiet_runners
    from .terminal_tables import print_table
    use_colours(args.colours)
    cfg = prepare(args)
    method = build_method(args, cfg)
    with distributed(args.launcher), quiet_runners(logging.WARNING):
        runner = build_runner(cfg, args.checkpoint)
        if args.report_images:  # before the work
            check_explainable(runner.model, [method])
        try:
            runner.test()
        except NotImplementedError as error:  # of all its images
            raise ValueError(str(error)) from error
        if not is_main_process():
            return 0
    metric = runner.test_loop.metric
    console = Console(
        width=None if sys.stdout.isatty() else 160, highlight=False)
    for table in metric.summary.tables():
        print_table(table, console)
    failed = {f'image {image_id}': why
              for image_id, why in metric.failed.items()}
    if args.report_images:
        failed = write_report(args, runner, method, failed)
    counts = metric.summary.counts()
    console.print(
        f'{counts["found"]} of {counts["objects"]} objects found on '
        f'{counts["images"]} images; results in '
        f'{Path(cfg.work_dir).resolve()}', soft_wrap=True)
    for name, why in failed.items():
        print(f'failed: {name}: {why}', file=sys.stderr)
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: find_errors(args), resume=True)

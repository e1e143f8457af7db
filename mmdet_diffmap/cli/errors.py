# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector's errors over a data set: what is missed or wrong, why, and what
it costs."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import options
from .benchmark import LAUNCHERS

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ..explainers import Explainer


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        prog='mmdet-diffmap errors',
        description='Find out which detections over the test set of a config '
        'are wrong, what is missed, why, and what it costs. Writes '
        'errors.json, errors.parquet, table.md, errors.png, errors.pdf and '
        'report.html, in which each error opens its maps.')
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
        '--against',
        nargs='+',
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another detector: which errors does it mend, and which does it '
        'make')
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='NAME',
        help='only these images of the test set: names or ids, in which * '
        'stands for anything; with --annotations: a folder of images')
    parser.add_argument(
        '--annotations',
        metavar='FILE',
        help='annotations in COCO\'s format in place of the test set; the '
        'images lie in the folder --images')
    parser.add_argument(
        '--num-images',
        type=options.whole_number,
        help='only the first so many images')
    parser.add_argument(
        '--score-thr',
        type=options.score,
        default=0.3,
        help='detections with a larger score count; default: 0.3')
    parser.add_argument(
        '--foreground',
        type=options.score,
        default=0.5,
        metavar='IOU',
        help='from which a box is at an object; default: 0.5')
    parser.add_argument(
        '--background',
        type=options.score,
        default=0.1,
        metavar='IOU',
        help='up to which a box is at none; default: 0.1')
    parser.add_argument(
        '--explainer',
        default='odam',
        metavar='NAME',
        help='the method of the maps; default: odam')
    options.add_options(
        parser, '--explainer-options', 'its options, such as extents=True')
    parser.add_argument(
        '--target-layer',
        help='module whose features are explained; default: neck')
    parser.add_argument(
        '--report-images',
        type=options.whole_number,
        default=100,
        metavar='N',
        help='the report shows the N images whose errors cost most; 0 for no '
        'report; default: 100')
    parser.add_argument(
        '--pictures',
        action='store_true',
        help='also write a picture of the errors of each image in the report, '
        'vis/NAME.png')
    parser.add_argument(
        '--work-dir',
        help='default: work_dirs/, the config\'s name and _errors')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with what is in the work dir, with any number of '
        'processes')
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started several processes; default: none')
    options.add_colours(parser)
    options.add_options(parser, '--cfg-options',
                        'override settings of the config')
    # torch.distributed.launch of old passes it
    parser.add_argument('--local_rank', '--local-rank', type=int,
                        help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.against and len(args.against) > 2:
        parser.error('--against takes a config and a checkpoint')
    if args.num_images == 0:
        parser.error('--num-images 0 leaves no image')
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
                 method: Explainer) -> dict[str, str]:
    """Write the page; return the images that failed, with the reason."""
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
        **{f'failed: image {image_id}': why
           for image_id, why in metric.failed.items()},
    }
    failures = write_error_report(
        runner.test_loop, metric.summary, method, path, args.report_images,
        settings, path.parent / 'vis' if args.pictures else None)
    print(f'report: {path.resolve()}')
    return failures


def find_errors(args: argparse.Namespace) -> int:
    """Find the errors, and print what was found."""
    from mmengine.dist import is_main_process

    from ..evaluation.runner import build_runner
    from ..explainers.engine import check_explainable
    from ..visualization import use_colours
    from .distributed import distributed
    use_colours(args.colours)
    cfg = prepare(args)
    method = build_method(args, cfg)
    with distributed(args.launcher):
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
    for title, head, rows in metric.summary.tables():
        table = Table(title=title, title_justify='left')
        for number, column in enumerate(head):
            table.add_column(column, justify='right' if number else 'left')
        for row in rows:
            table.add_row(*row)
        console.print(table)
    failed = {f'image {image_id}': why
              for image_id, why in metric.failed.items()}
    if args.report_images:
        failed |= write_report(args, runner, method)
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
    return options.run(lambda: find_errors(args))

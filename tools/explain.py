# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explain every object that a detector finds in images and videos.

Without arguments it explains a few bundled scenes with the bundled detector.
"""
import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

from mmengine.config import Config
from torch import nn

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.apis import (
    class_names,
    compare_files,
    explain_files,
    explain_video,
    find_images,
    is_video,
    load_detector,
)
from mmdet_diffmap.apis.each_image import check_folder_names, result_names
from mmdet_diffmap.apis.loading import is_detector_name
from mmdet_diffmap.apis.video import SHOWN
from mmdet_diffmap.cli import options as command_line
from mmdet_diffmap.explainers import Explainer, build_explainers
from mmdet_diffmap.explainers.explainer import (
    described,
    explainer_config,
    registered_explainers,
)
from mmdet_diffmap.report import Report

DEMO = 'mmdet_diffmap::demo/fcos_scenes.py'
DEMO_IMAGES = ['scene://0/2', 'scene://0/17', 'scene://0/35']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Explain every object that a detector finds in images '
        'and videos. Without arguments: the bundled scenes and detector.',
        usage='%(prog)s [INPUTS ... MODEL [MODEL ...]] [options]')
    parser.add_argument(
        'paths',
        nargs='*',
        metavar='INPUTS ... MODEL',
        help='images (files, folders, glob patterns or URLs) and videos '
        '(files that end in .mp4, .avi, .mov …), and last the '
        'detector: a config, a config of mmdet\'s wheel (mmdet::...), or a '
        'name of its model zoo; or several detectors')
    parser.add_argument(
        '--weights',
        nargs='+',
        metavar='WEIGHTS',
        help='checkpoint file or URL, one for each MODEL; default: those that '
        'the configs or the model zoo name')
    parser.add_argument(
        '--explainer',
        nargs='+',
        default=['odam'],
        metavar='NAME',
        help='methods: names of configs/_base_/explainers.py, such as odam '
        'grad-cam d-rise; names in the `explainers` of the (first) '
        'detector\'s config; or all; default: odam')
    command_line.add_options(
        parser, '--explainer-options',
        'options, such as extents=True, of the explainers that have them; '
        'docs/methods.md lists them')
    parser.add_argument(
        '--target-layer',
        help='module whose features are explained, such as backbone.layer4; '
        'default: neck')
    parser.add_argument(
        '--object',
        type=int,
        metavar='I',
        help='compare explainers, or detectors, on the object of this number '
        'in one picture, OUT_DIR/compare/NAME.png; in videos, show the maps '
        'of that object of the first frame alone, and follow it')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='explain detections with a larger score; default: 0.3')
    parser.add_argument(
        '--max-objects',
        type=int,
        help='explain at most so many of an image, best first')
    parser.add_argument(
        '--out-dir', default='outputs', help='default: outputs')
    parser.add_argument(
        '--save-maps',
        action='store_true',
        help='write the maps too, as OUT_DIR/maps/NAME.npz')
    parser.add_argument(
        '--report',
        action='store_true',
        help='write an interactive page too, OUT_DIR/report.html: one file '
        'that needs no network')
    parser.add_argument(
        '--map',
        choices=SHOWN,
        default='difference',
        help='what a video, OUT_DIR/vis/NAME.mp4, shows; default: difference')
    parser.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='explain every N-th frame of a video, and leave out the others; '
        'default: 1')
    command_line.add_detector_options(parser)
    args = command_line.parse_args(parser)
    for name in ('max_objects', 'object'):
        if (getattr(args, name) or 0) < 0:
            parser.error(f'--{name.replace("_", "-")} {getattr(args, name)} '
                         'is negative')
    if args.every < 1:
        parser.error(f'--every {args.every} is less than 1')
    if len(args.paths) == 1:
        parser.error(f'{args.paths[0]} alone: give images and a MODEL')
    for name in 'save_maps', 'report':
        if args.object is not None and getattr(args, name):
            parser.error(f'--{name.replace("_", "-")} does not go with '
                         '--object')
    args.inputs, args.models = split_paths(args.paths)
    if args.weights and len(args.weights) != len(args.models):
        parser.error(f'{len(args.weights)} --weights for {len(args.models)} '
                     'MODELs')
    return args


def split_paths(paths: list[str]) -> tuple[list[str], list[str]]:
    """The images and the detectors. The last path is a detector's, and those
    before it as far as they are names of detectors."""
    if not paths:
        return DEMO_IMAGES, [DEMO]
    first = len(paths) - 1
    while first > 1 and is_detector_name(paths[first - 1]):
        first -= 1
    return paths[:first], paths[first:]


def detector_names(models: list[str]) -> list[str]:
    """Names for results; those of the zoo may have dots."""
    return result_names(
        [name if name.endswith('.py') else f'{name}.py' for name in models])


def load_detectors(args: argparse.Namespace) -> dict[str, nn.Module]:
    """The detectors by their names."""
    weights = args.weights or [None] * len(args.models)
    return {
        name: load_detector(model, one, args.device, args.cfg_options)
        for name, model, one in zip(
            detector_names(args.models), args.models, weights)
    }


def find_explainers(args: argparse.Namespace,
                    config: Config) -> dict[str, Explainer]:
    """The methods by their names."""
    known = command_line.known_explainers(config)
    names: list[str] = list(args.explainer)
    if 'all' in names:
        types = {name: explainer_config(one)['type']
                 for name, one in known.items()}
        every = [name for name in known if types[name] != 'DifferenceMap']
        every += [name for name in registered_explainers()
                  if name not in types.values()]
        names = every + [name for name in names
                         if name != 'all' and name not in every]
    options = dict(args.explainer_options)
    if args.target_layer:
        options['target_layer'] = args.target_layer
    check_folder_names(names)
    return build_explainers({name: known.get(name, name) for name in names},
                            **options)


def make_report(args: argparse.Namespace, number: int, detector: nn.Module,
                explainers: dict[str, Explainer]) -> Report:
    """The page about one detector, without images."""
    settings = {
        'detector': args.models[number],
        'weights': args.weights[number] if args.weights else
                   'those that the config or the model zoo names',
        'cfg-options': str(args.cfg_options or 'none'),
        'score threshold': str(args.score_thr),
        'objects of an image': 'all' if args.max_objects is None else
                               f'the best {args.max_objects}',
        **{f'method {name}': options_text(described(one))
           for name, one in explainers.items()}
    }
    return Report(f'Why this object? {detector_names(args.models)[number]}',
                  class_names(detector), settings)


def options_text(options: dict[str, Any]) -> str:
    """A method and its options as they are written in Python."""
    inner = ', '.join(
        f'{name}={options_text(value) if isinstance(value, dict) else value!r}'
        for name, value in options.items() if name != 'type')
    return f'{options["type"]}({inner})'


def main() -> int:
    args = parse_args()
    return command_line.run(lambda: explain(args))


def explain_videos(args: argparse.Namespace, videos: list[str],
                   detector: nn.Module, explainer: Explainer,
                   folder: Path) -> dict[str, str]:
    """Write a video of explanations for each video; those that failed, with
    the reason."""
    failures = {}
    for path, name in zip(videos, result_names(videos)):
        out = folder / f'vis/{name}.mp4'
        try:
            frames = explain_video(
                detector, path, out, explainer, args.score_thr,
                args.max_objects, args.object, args.map, args.every)
        except (OSError, ValueError, ArithmeticError, RuntimeError,
                MemoryError) as error:
            failures[path] = str(error)
        else:
            print(f'{path}: {frames} frames, {out}')
    return failures


def explain(args: argparse.Namespace) -> int:
    paths = find_images(args.inputs)
    videos = [path for path in paths if is_video(path)]
    images = [path for path in paths if not is_video(path)]
    for name in 'report', 'save_maps':
        if videos and getattr(args, name):
            raise ValueError(f'--{name.replace("_", "-")} is for images: '
                             f'explain {videos[0]} without it')
    detectors = load_detectors(args)
    explainers = find_explainers(args, next(iter(detectors.values())).cfg)
    limits = args.score_thr, args.max_objects
    failures: dict[str, str] = {}
    if images and args.object is not None:
        failures = compare_files(detectors, images, args.object, args.out_dir,
                                 explainers, *limits)
    for number, (title, detector) in enumerate(detectors.items()):
        folder = Path(args.out_dir, title * (len(detectors) > 1))
        if images and args.object is None:
            report = make_report(args, number, detector, explainers) \
                if args.report else None
            failures |= explain_files(detector, images, folder, explainers,
                                      *limits, args.save_maps, report)
            if report is not None:
                print(f'report: {(folder / "report.html").resolve()}')
        for name, explainer in explainers.items():
            failures |= explain_videos(args, videos, detector, explainer,
                                       folder / (name * (len(explainers) > 1)))
    done = len(paths) - len(failures)
    counted = ' and '.join(
        f'{len(some)} {kind}{"s" * (len(some) != 1)}'
        for some, kind in ((images, 'image'), (videos, 'video')) if some)
    print(f'{done} of {counted} explained' +
          (f', results in {Path(args.out_dir).resolve()}' if done else ''))
    for path, reason in failures.items():
        print(f'failed: {path}: {reason}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())

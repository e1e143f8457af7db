# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explain every object that a detector finds in images.

Without arguments it explains a few bundled scenes with the bundled detector.
"""
import argparse
import sys
import warnings
from pathlib import Path

# remarks of the host's packages about each other; ours are errors or logged
warnings.simplefilter('ignore')

from mmengine.config import DictAction

import mmdet_diffmap  # noqa: F401, makes mmdet importable
from mmdet_diffmap.apis import explain_files, find_images, load_detector
from mmdet_diffmap.explainers import build_explainer

DEMO = Path(__file__).resolve().parents[1] / 'configs/demo/fcos_scenes.py'
DEMO_IMAGES = ['scene://0/2', 'scene://0/17', 'scene://0/35']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Explain every object that a detector finds in images. '
        'Without arguments: the bundled scenes and detector.',
        usage='%(prog)s [options] [INPUTS ... MODEL]')
    parser.add_argument(
        'paths',
        nargs='*',
        metavar='INPUTS ... MODEL',
        help='images (files, folders, glob patterns or URLs), and last the '
        'detector: a config, a config of mmdet\'s wheel (mmdet::...), or a '
        'name of its model zoo')
    parser.add_argument(
        '--weights',
        help='checkpoint file or URL; default: the one that the config or '
        'the model zoo names')
    parser.add_argument('--explainer', default='odam', help='default: odam')
    parser.add_argument(
        '--explainer-options',
        nargs='+',
        action=DictAction,
        default={},
        help='options of the explainer, such as extents=True; docs/methods.md '
        'lists them')
    parser.add_argument(
        '--target-layer',
        help='module whose features are explained, such as backbone.layer4; '
        'default: neck')
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
        '--device', help='default: the GPU where there is one, else the CPU')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value')
    try:
        args = parser.parse_args()
    except ValueError:  # mmengine's DictAction splits at '='
        parser.error('options are given as KEY=VALUE')
    if args.max_objects is not None and args.max_objects < 0:
        parser.error(f'--max-objects {args.max_objects} is negative')
    if len(args.paths) == 1:
        parser.error(f'{args.paths[0]} alone: give images and a MODEL')
    return args


def main() -> int:
    args = parse_args()
    *inputs, model = args.paths or [*DEMO_IMAGES, str(DEMO)]
    weights = args.weights
    if not args.paths and weights is None:
        weights = DEMO.with_suffix('.pth')
    options = dict(args.explainer_options)
    if args.target_layer:
        options['target_layer'] = args.target_layer
    try:
        images = find_images(inputs)
        failures = explain_files(
            load_detector(model, weights, args.device, args.cfg_options),
            images, args.out_dir, build_explainer(args.explainer, **options),
            args.score_thr, args.max_objects, args.save_maps)
    except (OSError, ValueError, TypeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    done = len(images) - len(failures)
    pictures = Path(args.out_dir, 'vis').resolve()
    print(f'{done} of {len(images)} images explained' +
          (f', pictures in {pictures}' if done else ''))
    for path, reason in failures.items():
        print(f'failed: {path}: {reason}', file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())

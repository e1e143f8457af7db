# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The arguments of ``explain``, and of ``report``, which has fewer."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import options, results

DEMO = 'mmdet_diffmap::demo/fcos_scenes.py'
DEMO_IMAGES = ['scene://0/2', 'scene://0/17', 'scene://0/35']
#: What a video can show.
MAPS = ('heatmap', 'difference', 'positive')
#: What each command does, and examples of it.
HELP = {
    'explain': (
        'Explain every object that a detector finds in images and videos: '
        'write a picture of the objects of each image, with their heat maps '
        'and difference maps. Without arguments: the bundled scenes and '
        'detector.', [
            'photo.jpg my_config.py --weights my_weights.pth',
            'photo.jpg my_config.py --weights my_weights.pth '
            '--explainer odam grad-cam --object 0',
            'photos rtmdet_tiny_8xb32-300e_coco --max-objects 5',
        ]),
    'report': (
        'Explain every object that a detector finds in images, and write a '
        'page that shows the maps interactively, OUT_DIR/report.html: one '
        'file that needs no network. Click an object to see its heat map, '
        'and a second one to see what matters to the first and not to the '
        'second. Several detectors are in one page, to be seen side by side. '
        'Writes the pictures of explain, too. Without arguments: the bundled '
        'scenes and detector.', [
            'photos my_config.py --weights my_weights.pth',
            'photos my_config.py --weights my_weights.pth '
            '--explainer odam ss-grad-cam --max-objects 10',
        ]),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    report = '--report' in (sys.argv[1:] if argv is None else argv)
    parser = build_parser(report)
    args = parser.read(argv)
    # one object takes the place of all, so that no two are compared
    args.phrases_of = args.object if args.phrases is not None else None
    if args.phrases is not None:
        args.object = None
        args.outputs = args.outputs or ['score']  # sides know no phrases
    check_combinations(parser, args)
    if args.contrast is not None:
        args.outputs = [f'contrast:{args.contrast}' if args.contrast
                        else 'contrast']
        args.evidence = args.evidence or 'both'
    args.inputs, args.models = split_paths(args.paths)
    if args.weights and len(args.weights) != len(args.models):
        parser.error(f'{len(args.weights)} --weights for {len(args.models)} '
                     'MODELs')
    return args


def build_parser(report: bool) -> options.CommandParser:
    """Build the parser of ``explain``, or that of ``report``, whose help
    leaves out what does not go with a page."""
    name = 'report' if report else 'explain'
    description, examples = HELP[name]
    parser = options.CommandParser(
        f'mmdet-diffmap {name}', '[INPUTS ... MODEL [MODEL ...]] [options]',
        description, examples,
        {'--work-dir': '--out-dir', '--checkpoint': '--weights'})
    inputs = parser.add_argument_group('inputs')
    videos = '' if report else \
        ' and videos (files that end in .mp4, .avi, .mov …)'
    inputs.add_argument(
        'paths',
        nargs='*',
        metavar='INPUTS ... MODEL',
        help=f'images (files, folders, glob patterns or URLs){videos}, and '
        'last the detector: a config, a config of mmdet\'s wheel '
        '(mmdet::...), or a name of its model zoo; or several detectors')
    add_prompt(parser.add_argument_group(
        'what is looked for', 'of text-prompted detectors'))
    add_questions(parser.add_argument_group('what is explained'), report)
    add_method(parser.add_argument_group('method'), report)
    objects = parser.add_argument_group('which objects')
    options.add_selection(objects)
    objects.add_argument(
        '--object',
        type=options.whole_number,
        metavar='I',
        help='the object of --phrases' if report else
        'compare explainers, or detectors, on the object of this number in '
        'one picture, OUT_DIR/compare/NAME.png; in videos, show the maps of '
        'that object of the first frame alone, and follow it; of a tracker, '
        'that with its number I')
    objects.add_argument(
        '--phrases',
        nargs='*',
        metavar='NAME',
        help='explain the object of --object alone, once for each phrase of '
        'the text, or for each of these phrases or classes')
    add_output(parser.add_argument_group('output'), report)
    results.add_figures(parser.add_argument_group('pictures'))
    detector = parser.add_argument_group('detector')
    detector.add_argument(
        '--weights',
        nargs='+',
        metavar='WEIGHTS',
        help='checkpoint file or URL, one for each MODEL; default: those that '
        'the configs or the model zoo name')
    options.add_detector_options(detector)
    return parser


def add_prompt(group: argparse._ArgumentGroup) -> None:
    """Add the text that a detector is asked with, as mmdet's own demo has
    it."""
    group.add_argument(
        '--texts',
        metavar='TEXT',
        help='what to look for, such as "a red car . a dog", or "$: coco" for '
        'the classes of a data set')
    group.add_argument(
        '-c', '--custom-entities',
        action='store_true',
        help='the text is phrases with " . " between them; otherwise its noun '
        'phrases are found, which takes nltk and its data')
    group.add_argument(
        '--tokens-positive',
        metavar='PLACES',
        help='where the phrases stand in the text, as "[[[0, 9]], [[14, '
        '19]]]", or -1 for the whole text as one phrase')


def check_prompt(parser: argparse.ArgumentParser,
                 args: argparse.Namespace) -> None:
    """End with an error where something is said about a text that is not
    given."""
    if args.texts is None and (args.custom_entities or
                               args.tokens_positive is not None):
        parser.error('--custom-entities and --tokens-positive are about the '
                     'text: give it with --texts')


def add_questions(group: argparse._ArgumentGroup, report: bool) -> None:
    """Add what is explained of each object."""
    group.add_argument(
        '--outputs',
        nargs='+',
        metavar='NAME',
        help='what is explained, of methods that need gradients: score, x1, '
        'y1, x2, y2, mask, width, height, area, probability:CLASS, '
        'logit:CLASS, contrast, iou:J, giou:J, gap:J, similarity …; '
        'docs/contrasts.md lists them')
    group.add_argument(
        '--evidence',
        choices=('for', 'against', 'both'),
        help='show what raises the outputs, what lowers them, or both in a '
        'signed map; default: for, and with --contrast both')
    group.add_argument(
        '--contrast',
        nargs='?',
        const='',
        metavar='CLASS',
        help='explain why each object has its class and not CLASS, or the '
        'most probable of the others; CLASS/OTHER for two classes')
    group.add_argument(
        '--pair',
        nargs=2,
        type=options.whole_number,
        metavar=('I', 'J'),
        help=argparse.SUPPRESS if report else
        'show why the objects of these numbers are two, and not one, in one '
        'picture, OUT_DIR/pair/NAME.png')
    group.add_argument(
        '--target-layer',
        metavar='LAYER',
        help='module whose features are explained, such as backbone.layer4; '
        'default: neck')


def add_method(group: argparse._ArgumentGroup, report: bool) -> None:
    """Add how it is explained."""
    pair = '' if report else ', and with --pair odam with each output ' \
        'normalised and extents'
    group.add_argument(
        '--explainer',
        nargs='+',
        metavar='NAME',
        help='methods: odam, grad-cam, d-rise …; NAME-diff for a difference '
        'map; names in the `explainers` of the (first) detector\'s config; '
        f'or all; default: odam{pair}')
    options.add_options(
        group, '--explainer-options',
        'options, such as extents=True, of the explainers that have them; '
        'docs/methods.md lists them')


def add_output(group: argparse._ArgumentGroup, report: bool) -> None:
    """Add what is written."""
    group.add_argument(
        '--out-dir',
        default='outputs',
        metavar='FOLDER',
        help='gets all files; default: outputs')
    group.add_argument(
        '--save-maps',
        action='store_true',
        help='write the maps too, as OUT_DIR/maps/NAME.npz')
    group.add_argument(
        '--report',
        action='store_true',
        help=argparse.SUPPRESS if report else
        'write an interactive page too, as mmdet-diffmap report does')
    results.add_data(group)
    options.add_colours(group)
    group.add_argument(
        '--map',
        choices=MAPS,
        default='difference',
        help=argparse.SUPPRESS if report else
        'what a video, OUT_DIR/vis/NAME.mp4, shows; default: difference')
    group.add_argument(
        '--every',
        type=options.count,
        default=1,
        metavar='N',
        help=argparse.SUPPRESS if report else
        'explain every N-th frame of a video, and leave out the others; '
        'default: 1')


def check_combinations(parser: argparse.ArgumentParser,
                       args: argparse.Namespace) -> None:
    """End with an error where options do not go together."""
    options.check_inputs(parser, args.paths)
    one_picture = '--object' if args.object is not None else \
        '--pair' if args.pair else ''
    if one_picture and args.report:
        parser.error(f'{one_picture} makes one picture and no report: give '
                     'it to mmdet-diffmap explain')
    results.check_results(parser, args)
    if args.pair and args.object is not None:
        parser.error('--object does not go with --pair')
    if args.pair and args.pair[0] == args.pair[1]:
        parser.error(f'--pair: object {args.pair[0]} twice is no pair')
    if args.pair and args.explainer and len(args.explainer) > 1:
        parser.error('--pair takes one explainer')
    check_prompt(parser, args)
    if args.phrases is not None and args.phrases_of is None:
        parser.error('--phrases is about one object: give its number with '
                     '--object')
    if args.phrases is not None and (args.pair or args.contrast is not None):
        parser.error('--phrases goes neither with --pair nor with --contrast')
    if args.contrast is not None and args.outputs:
        parser.error('--contrast is an output of its own: give it without '
                     '--outputs')


def split_paths(paths: list[str]) -> tuple[list[str], list[str]]:
    """Tell the images from the detectors. The last path is a detector's, and
    those before it as far as they are names of detectors."""
    if not paths:
        return DEMO_IMAGES, [DEMO]
    first = len(paths) - 1
    while first > 1 and is_detector_name(paths[first - 1]):
        first -= 1
    return paths[:first], paths[first:]


def is_detector_name(name: str) -> bool:
    """Whether a path is not that of an image: a config file, a config of
    mmdet's wheel or a name of its model zoo."""
    if Path(name).suffix == '.py' or '::' in name:
        return True
    if Path(name).exists() or '/' in name:
        return False
    from .. import plugin  # noqa: F401, makes mmdet importable
    from ..apis.loading import is_in_zoo
    return is_in_zoo(name)

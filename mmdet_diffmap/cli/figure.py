# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Draw a figure of the paper, of any images and detectors, as it goes into a
paper: as PDF and PNG, as wide as a column or a page."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .explain import (
    build_methods,
    load_detectors,
    make_prompt,
    make_selection,
)
from .explain_arguments import (
    DEMO,
    DEMO_IMAGES,
    add_prompt,
    check_prompt,
    split_paths,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The figures of the paper, and the images that each shows by default.
FIGURES = {
    2: DEMO_IMAGES[:2],
    3: DEMO_IMAGES,
    4: DEMO_IMAGES[:1],
    5: [],
}
DETECTORS = {
    'FCOS': DEMO,
    'Faster R-CNN': 'mmdet_diffmap::demo/faster-rcnn_scenes.py',
    'DETR': 'mmdet_diffmap::demo/detr_scenes.py',
    'PVT': 'mmdet_diffmap::demo/retinanet-pvt_scenes.py',
}
METHODS = ['odam', 'grad-cam', 'd-rise', 'ss-grad-cam', 'ss-grad-cam++']


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = build_parser()
    args = parser.read(argv)
    if args.number == 5:
        check_curves(parser, args)
    else:
        complete(parser, args)
    args.width = args.width or ('column' if args.number == 3 else 'page')
    return args


def build_parser() -> options.CommandParser:
    """Build the parser."""
    parser = options.CommandParser(
        'mmdet-diffmap figure',
        'NUMBER [INPUTS ... MODEL | WORK_DIR] [options]',
        'Draw a figure of the paper, as wide as a column or a page, as PDF '
        'and PNG: 2, one object by several detectors; 3, objects of images; '
        '4, one object by several methods; 5, the curves of a benchmark. '
        'Without more arguments, figures 2 to 4 show bundled scenes and '
        'detectors.', [
            '2 photo.jpg first.py second.py --titles FCOS DETR',
            '3 photo.jpg my_config.py --weights my_weights.pth --object 0 3',
            '4 photo.jpg my_config.py --explainer odam grad-cam --object 2',
            '5 work_dirs/my_config --explainer odam odam-diff',
        ], {'--checkpoint': '--weights'})
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument('number', type=int, choices=FIGURES, metavar='NUMBER',
                        help='which figure: 2, 3, 4 or 5')
    inputs.add_argument(
        'paths', nargs='*', metavar='INPUTS ... MODEL',
        help='images and, last, the detectors, as of the command explain; of '
        'figure 5, the --work-dir of a benchmark')
    add_prompt(parser.add_argument_group(
        'what is looked for', 'of text-prompted detectors'))
    add_maps(parser.add_argument_group('what is explained'))
    add_output(parser.add_argument_group('output'))
    detector = parser.add_argument_group('detector')
    detector.add_argument(
        '--weights', nargs='+', metavar='WEIGHTS',
        help='checkpoint file or URL, one for each MODEL; default: those that '
        'the configs or the model zoo name')
    options.add_detector_options(detector)
    # what the command explain also takes
    parser.set_defaults(outputs=None, evidence=None, pair=None,
                        phrases_of=None)
    return parser


def add_maps(group: argparse._ArgumentGroup) -> None:
    """Add which objects are explained, and how."""
    group.add_argument(
        '--object', nargs='+', type=options.whole_number, metavar='I',
        help='the objects that are shown: of figures 2 and 4 one number for '
        'each image, or one for all (default: 0); of figure 3 those of each '
        'image (default: the best two)')
    group.add_argument(
        '--phrases', nargs='*', metavar='NAME',
        help='figure 3 shows the object of --object alone, once for each '
        'phrase of the text, or for each of these phrases or classes')
    group.add_argument(
        '--explainer', nargs='+', metavar='NAME',
        help='the method; of figure 4 the methods (default: '
        f'{" ".join(METHODS)}); of figure 5 those of the benchmark that are '
        'shown (default: all)')
    options.add_options(
        group, '--explainer-options',
        'options of the explainers that have them, such as masks=1000')
    group.add_argument('--target-layer', metavar='LAYER',
                       help='module whose features are explained')
    options.add_selection(group)


def add_output(group: argparse._ArgumentGroup) -> None:
    """Add how the figure looks, and where it goes."""
    group.add_argument(
        '--titles', nargs='+', metavar='TITLE',
        help='what the detectors of figure 2 are called; default: their '
        'configs\' names')
    group.add_argument(
        '--width', choices=('column', 'page'),
        help='3.3 or 6.9 inches; default: a page, and of figure 3 a column')
    options.add_colours(group)
    group.add_argument(
        '--out-dir', default='outputs', metavar='FOLDER',
        help='gets figure-NUMBER.pdf and figure-NUMBER.png; default: outputs')


def check_curves(parser: argparse.ArgumentParser,
                 args: argparse.Namespace) -> None:
    """End with an error unless one folder is given, and nothing that curves
    do not have."""
    if len(args.paths) != 1:
        parser.error('figure 5 takes the --work-dir of one benchmark')
    for name in ('weights', 'object', 'explainer_options', 'target_layer',
                 'titles', 'score_thr', 'max_objects', 'colours', 'device',
                 'cfg_options', 'texts', 'custom_entities', 'tokens_positive',
                 'phrases'):
        if getattr(args, name) != parser.get_default(name):
            parser.error(f'figure 5 shows what a benchmark measured: give it '
                         f'without --{name.replace("_", "-")}')


def complete(parser: argparse.ArgumentParser,
             args: argparse.Namespace) -> None:
    """Fill in images, detectors and methods; end with an error where there
    are too many."""
    number = args.number
    options.check_inputs(parser, args.paths)
    if args.paths:
        args.inputs, args.models = split_paths(args.paths)
    else:
        args.inputs = FIGURES[number]
        args.models = list(DETECTORS.values()) if number == 2 else [DEMO]
        args.titles = args.titles or list(DETECTORS)[:len(args.models)]
    if number != 2 and len(args.models) > 1:
        parser.error(f'figure {number} takes one MODEL: several are in '
                     'figure 2')
    if number != 4 and args.explainer and len(args.explainer) > 1:
        parser.error(f'figure {number} takes one explainer: several are in '
                     'figure 4')
    for name, what in ('weights', '--weights'), ('titles', '--titles'):
        given = getattr(args, name)
        if given and len(given) != len(args.models):
            parser.error(f'{len(given)} {what} for {len(args.models)} MODELs')
    check_prompt(parser, args)
    if args.phrases is not None:
        choose_phrases(parser, args)
    args.explainer = args.explainer or (METHODS if number == 4 else ['odam'])


def choose_phrases(parser: argparse.ArgumentParser,
                   args: argparse.Namespace) -> None:
    """Let one object be shown once for each phrase; end with an error in
    figures that cannot."""
    if args.number != 3:
        parser.error(f'figure {args.number} shows an object once: --phrases '
                     'is for figure 3')
    if args.object is None or len(args.object) != 1:
        parser.error('--phrases is about one object: give its number with '
                     '--object')
    (args.phrases_of, ), args.object = args.object, None
    args.outputs = ['score']  # sides know no phrases


def figure_of_maps(args: argparse.Namespace, width: float) -> Figure:
    """Draw figure 2, 3 or 4."""
    from ..apis import find_images
    from ..apis.paper_figures import comparison_figure, objects_figure
    paths = find_images(args.inputs)
    prompt = make_prompt(args)  # before detectors are loaded
    models = load_detectors(args)
    if args.titles:
        models = dict(zip(args.titles, models.values()))
    first = next(iter(models.values()))
    methods: dict[str, Any] = build_methods(args, first.cfg)
    selection = make_selection(args)
    if args.number == 3:
        return objects_figure(first, paths, args.object, methods, selection,
                              width, prompt)
    return comparison_figure(models, paths, args.object or [0], methods,
                             selection, width, prompt)


def figure_of_curves(args: argparse.Namespace, width: float) -> Figure:
    """Draw figure 5."""
    from ..evaluation.results import read_curves
    from ..visualization.curves import draw_curves
    curves = read_curves(Path(args.paths[0]), args.explainer)
    if not curves.has_intervals:
        print(f'no intervals in {args.paths[0]}: an older version measured '
              'it, or one image alone; of several images, mmdet-diffmap '
              'benchmark --resume adds them', file=sys.stderr)
    return draw_curves(curves.curves, curves.bases, curves.num_images,
                       curves.num_objects, width)


def draw(args: argparse.Namespace) -> int:
    """Draw a figure, and write it."""
    from ..apis.each_image import writable_folder
    from ..io.files import save_figure
    from ..visualization import use_colours
    from ..visualization.lines import COLUMN, PAGE
    use_colours(args.colours)
    folder = writable_folder(Path(args.out_dir))  # before the work
    work: Callable[[argparse.Namespace, float], Figure] = \
        figure_of_curves if args.number == 5 else figure_of_maps
    figure = work(args, COLUMN if args.width == 'column' else PAGE)
    path = folder / f'figure-{args.number}'
    save_figure(figure, path)
    print(f'{path.resolve()}.pdf and .png')
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: draw(args))

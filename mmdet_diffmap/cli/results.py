# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The options of what ``explain`` writes, beside maps and report."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .options import whole_number

if TYPE_CHECKING:
    from ..apis.result_writers import ResultWriter
    from ..visualization.figure import FigureStyle

FORMATS = ('png', 'jpg', 'pdf', 'svg')
#: Options of pictures, of all that is no picture, and of images alone.
PICTURES = ('crop', 'max_rows', 'format')
DATA = ('save_maps', 'report', 'json', 'fiftyone')
IMAGES = (*DATA, *PICTURES, 'no_pictures')


def add_data(group: argparse._ArgumentGroup) -> None:
    """Add files for other programs."""
    group.add_argument(
        '--json',
        action='store_true',
        help='write the detections too, as OUT_DIR/detections.json, a data '
        'set of COCO with scores and with the places of saved maps')
    group.add_argument(
        '--fiftyone',
        metavar='NAME',
        help='write a data set of FiftyOne too, which must be installed: '
        'images, detections and heat maps')


def add_figures(group: argparse._ArgumentGroup) -> None:
    """Add how pictures look, and whether there are any."""
    group.add_argument(
        '--no-pictures',
        action='store_true',
        help='write no pictures, only what else is asked for')
    group.add_argument(
        '--format',
        choices=FORMATS,
        help='of pictures; pdf and svg keep text and boxes as such; default: '
        'png')
    group.add_argument(
        '--crop',
        action='store_true',
        help='show each object enlarged, with what is around it')
    group.add_argument(
        '--max-rows',
        type=whole_number,
        metavar='N',
        help='show at most so many objects in a picture, best first; 0: all; '
        'default: 20')


def check_results(parser: argparse.ArgumentParser,
                  args: argparse.Namespace) -> None:
    """End with an error where options do not go together."""
    other = '--object' if args.object is not None else \
        '--pair' if args.pair else \
        '--no-pictures' if args.no_pictures else ''
    refused = {'--object': (*DATA, 'no_pictures', 'max_rows'),
               '--pair': (*DATA, 'no_pictures', 'max_rows', 'crop'),
               '--no-pictures': PICTURES}
    for name in refused.get(other, ()):
        if is_given(args, name):
            parser.error(f'{option(name)} does not go with {other}')
    if args.fiftyone is not None and find_spec('fiftyone') is None:
        parser.error('--fiftyone needs FiftyOne, which is not installed: pip '
                     'install fiftyone')
    if args.no_pictures and not any(is_given(args, name) for name in DATA):
        parser.error('--no-pictures leaves nothing to write: add '
                     f'{" or ".join(map(option, DATA))}')


def check_video(args: argparse.Namespace, path: str) -> None:
    """Raise a ValueError for an option that videos do not have."""
    for name in IMAGES:
        if is_given(args, name):
            raise ValueError(f'{option(name)} is for images: explain {path} '
                             'without it')


def is_given(args: argparse.Namespace, name: str) -> bool:
    """Whether an option was given; 0 is a value."""
    value = getattr(args, name)
    return value is not None and value is not False


def option(name: str) -> str:
    """Write the name of an argument as the option of the command."""
    return f'--{name.replace("_", "-")}'


def figure_style(args: argparse.Namespace) -> FigureStyle:
    """Return how pictures look."""
    from ..visualization.figure import FigureStyle
    rows = 20 if args.max_rows is None else args.max_rows or None
    return FigureStyle(args.format or 'png', args.crop, rows)


def result_writers(args: argparse.Namespace, dataset: str,
                   settings: Mapping[str, str]) -> list[ResultWriter]:
    """Make what writes the results of one detector, but for maps and report.

    Args:
        args (argparse.Namespace): The arguments.
        dataset (str): The name of a data set of FiftyOne.
        settings (Mapping): What makes the maps, by name.
    """
    from ..apis import CocoWriter, FiftyOneWriter, PictureWriter
    writers: list[ResultWriter] = []
    if not args.no_pictures:
        writers.append(PictureWriter(figure_style(args)))
    if args.json:
        writers.append(CocoWriter(
            {name: settings[name]
             for name in ('detector', 'weights', 'cfg-options')}))
    if args.fiftyone is not None:
        writers.append(FiftyOneWriter(dataset))
    return writers

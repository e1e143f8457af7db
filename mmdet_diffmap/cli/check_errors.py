# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check that errors are named as what they are.

Makes the bundled detectors err in ways that are known, and prints what the
errors are called; and how much of a class contrast lies on what alone decides
the class.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import options

DETECTORS = ('fcos', 'faster-rcnn', 'detr', 'retinanet-pvt')
HEAD = ['what is done', 'detector', 'the errors are', 'errors',
        'named so', 'others are called']


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/check_errors.py', '[options]',
        'Make the bundled detectors err in ways that are known, and print '
        'what the errors are called.', [
            '--scenes 2 --twins 0',
        ])
    scenes = parser.add_argument_group('inputs')
    scenes.add_argument(
        '--scenes', type=options.count, default=8, metavar='N',
        help='so many scenes for each way; default: 8')
    scenes.add_argument(
        '--twins', type=options.whole_number, default=50, metavar='N',
        help='so many scenes of twins for the class contrast; default: 50')
    scenes.add_argument(
        '--seed', type=options.whole_number, default=0, metavar='N',
        help='of the scenes; default: 0, those of the test set')
    options.add_page(parser.add_argument_group('output'), 'docs/errors.md')
    return parser.read(argv)


def named_errors(args: argparse.Namespace) -> str:
    """Plant errors, and write what they are called as Markdown."""
    from ..io.markdown import markdown
    from ..io.progress import progress_bar
    from ..lab.planted_errors import PLANTS, confusion, named
    rows = []
    with progress_bar('planting', sum(
            len(plant.detectors) for plant in PLANTS)) as advance:
        for plant in PLANTS:
            for detector in plant.detectors:
                counts = named(plant, detector, args.scenes, args.seed)
                right, others = confusion(plant, counts)
                meant = plant.kind.value if plant.mechanism is None else \
                    f'{plant.kind.value}: {plant.mechanism.value}'
                rows.append([plant.text, detector, meant,
                             str(sum(counts.values())), str(right), others])
                advance(1)
    return markdown(HEAD, rows)


def contrasts(args: argparse.Namespace) -> str:
    """Measure class contrasts, and write the table as Markdown."""
    from ..io.markdown import markdown
    from ..lab.planted_errors import badge_shares
    rows = []
    for detector in DETECTORS:
        shares = badge_shares(detector, args.twins, args.seed)
        rows.append([detector, *(
            shares[name].written('.0f')
            for name in ('contrast', 'score', 'area'))])
    return markdown(['detector', 'contrast of the two classes',
                     'heat map of the score', 'area'], rows)


def check(args: argparse.Namespace) -> int:
    """Plant errors, and print the tables."""
    from ..io.files import replacing
    from ..io.markdown import with_tables
    tables = {'planted': named_errors(args)}
    if args.twins:
        tables['badges'] = contrasts(args)
    print('\n\n'.join(tables.values()))
    if args.page:
        page = Path(args.page)
        content = with_tables(page.read_text(), tables)
        with replacing(page) as file:
            file.write(content.encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))

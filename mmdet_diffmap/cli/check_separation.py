# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Compare maps that may show what keeps two objects of a class apart.

Removes the pixels that a map names from images with two such objects, and
looks whether both are still found.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from torch import nn

    from ..evaluation.intervals import Estimate
    from ..lab.separation import PairCase, SeparationFigures


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/check_separation.py', 'CONFIG [CHECKPOINT] [options]',
        'Compare maps that may show what keeps two objects of a class apart.',
        [
            'configs/demo/fcos_pairs.py --scenes 10',
            'my_config.py my_weights.pth --annotations my.json --images '
            'photos',
        ])
    inputs = parser.add_argument_group('inputs')
    options.add_detector(inputs)
    options.add_annotated_images(inputs)
    inputs.add_argument(
        '--scenes', type=options.count, metavar='N', default=0,
        help='take N generated scenes in which two objects touch')
    options.add_score_threshold(parser.add_argument_group('which objects'))
    parser.add_argument_group('output').add_argument(
        '--page', nargs=2, metavar=('FILE', 'TABLE'),
        help='put the table into a place of this page')
    options.add_detector_options(parser.add_argument_group('detector'))
    args = parser.read(argv)
    if bool(args.annotations and args.images) == bool(args.scenes):
        parser.error('give either --annotations and --images, or --scenes')
    return args


def photographs(args: argparse.Namespace,
                model: nn.Module) -> tuple[int, Iterator[PairCase]]:
    """Return the number of annotated photographs, and an iterator that loads
    them."""
    from ..lab.separation import PairCase, overlapping_pairs
    from .check_evidence import photographs
    number, cases = photographs(args, model)
    return number, (PairCase(case.data, case.instances,
                             overlapping_pairs(case.instances))
                    for case in cases)


def scenes(count: int, model: nn.Module) -> Iterator[PairCase]:
    """Draw scenes, each with its counterpart without the cue."""
    import numpy as np

    from ..apis.image_pipeline import image_pipeline
    from ..datasets.pairs import render_pairs
    from ..lab.planted_errors import instances_of
    from ..lab.separation import PairCase
    pipeline = image_pipeline(model)
    for index in range(count):
        scene, other = render_pairs(0, index), render_pairs(0, index ^ 1)
        assert scene.parts is not None
        first, second = np.flatnonzero(scene.parts.any(axis=(1, 2))).tolist()
        yield PairCase(
            pipeline(scene.image).batch, instances_of(scene),
            [(first, second)], scene.parts[first],
            pipeline(other.image).batch)


def table_of(figures: SeparationFigures, fills: Sequence[str]) -> str:
    """Write the figures as Markdown."""
    from ..io.markdown import markdown
    from ..lab.separation import CONTROLS, FORMULATIONS
    quantity = 'merged' if 'hidden' in fills else 'lost'
    names = [name for name in (*FORMULATIONS, *CONTROLS)
             if (name, fills[-1], 'both') in figures.of_maps]
    rows = []
    for name in names:
        row = [name]
        if figures.on_cue:
            row.append(text(figures.on_cue.get(name)))
        for fill in fills:
            row += [text(figures.of_maps[name, fill, each])
                    for each in ('both', 'one')]
        row.append(text(figures.of_maps[name, fills[-1], quantity]))
        row += [text(figures.differences.get(
            (name, fills[-1], quantity, control)), '+')
            for control in ('odam', 'middle line')]
        rows.append(row)
    head = ['map', *(['energy on the cue'] if figures.on_cue else []),
            *(f'{fill}: {each}' for fill in fills
              for each in ('both found', 'at least one')),
            f'{fills[-1]}: {WORDS[quantity]}',
            'more than odam', 'more than the middle line']
    return markdown(head, rows)


WORDS = {'merged': 'one in the place of both', 'lost': 'one and not both'}


def text(estimate: Estimate | None, sign: str = '') -> str:
    """Write an estimate and its interval."""
    if estimate is None or estimate.mean is None:
        return ''
    return estimate.written(f'{sign}.1f')


def check(args: argparse.Namespace) -> int:
    """Compare, and print what comes out."""
    from ..apis import load_detector
    from ..io.files import replacing
    from ..io.markdown import with_tables
    from ..io.progress import counted, progress_bar
    from ..lab.separation import FILLS, compare_separation
    model = load_detector(args.config, args.checkpoint, args.device,
                          args.cfg_options)
    fills = FILLS if args.scenes else FILLS[:2]
    number, cases = args.scenes, scenes(args.scenes, model)
    if args.annotations:
        number, cases = photographs(args, model)
    with progress_bar('images', number) as advance:
        figures = compare_separation(model, counted(cases, advance), fills,
                                     score_thr=args.score_thr)
    table = f'{figures.pairs} pairs on {figures.images} images, in per cent' \
        + (f'; the cue is {figures.on_cue["area"].mean:.1f} per cent of both '
           'boxes' if figures.on_cue else '') + \
        f'.\n\n{table_of(figures, fills)}\n'
    print(table)
    if args.page:
        page, name = Path(args.page[0]), args.page[1]
        content = with_tables(page.read_text(), {name: table})
        with replacing(page) as file:
            file.write(content.encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))

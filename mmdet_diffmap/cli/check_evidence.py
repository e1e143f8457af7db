# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check whether it is true what maps say speaks for an object, and what
against.

Removes the pixels that a map names from images in which a detector misses or
finds something, and looks whether the object's score falls or rises.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from torch import nn

    from ..evaluation.image_set import FailedImage, TestImage
    from ..lab.evidence import EvidenceCase, EvidenceFigures

NAMES = {'magnitude': 'either way'}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/check_evidence.py', 'CONFIG [CHECKPOINT] [options]',
        'Remove what speaks against objects, and see whether their scores '
        'rise; and what speaks for them, and see whether they fall.', [
            'configs/demo/fcos_scenes.py --scenes 10',
            'my_config.py my_weights.pth --annotations my.json --images '
            'photos',
        ])
    inputs = parser.add_argument_group('inputs')
    options.add_detector(inputs)
    options.add_annotated_images(inputs)
    inputs.add_argument(
        '--scenes', type=options.count, metavar='N', default=0,
        help='take N generated scenes')
    inputs.add_argument(
        '--occluded', type=options.count, metavar='N', default=0,
        help='take N generated scenes, in each of which a patch hides a part '
        'of an object')
    options.add_method(parser.add_argument_group(
        'method', 'Methods that need gradients; the maps of the score are '
        'taken.'))
    objects = parser.add_argument_group('which objects')
    objects.add_argument(
        '--objects', choices=('missed', 'found'), default='missed',
        help='objects that no detection finds, though a candidate of their '
        'class is there, or those that one finds; default: missed')
    options.add_score_threshold(objects)
    parser.add_argument_group('output').add_argument(
        '--page', nargs='+', metavar=('FILE', 'TABLE'),
        help='put the table of what speaks against into a place of this page; '
        'and with the name of a second place, that of what speaks for')
    options.add_detector_options(parser.add_argument_group('detector'))
    args = parser.read(argv)
    if [bool(args.annotations and args.images), bool(args.scenes),
            bool(args.occluded)].count(True) != 1:
        parser.error('give either --annotations and --images, or --scenes, or '
                     '--occluded')
    if args.page and len(args.page) not in (2, 3):
        parser.error('--page takes a file and one or two names of tables')
    return args


def photographs(args: argparse.Namespace, model: nn.Module
                ) -> tuple[int, Iterator[EvidenceCase]]:
    """Return the number of annotated photographs, and an iterator that loads
    them."""
    from ..apis import class_names
    from ..evaluation.image_set import ImageSet, dataset_of
    from .errors import annotated_images
    config: Any = model.cfg
    images = ImageSet(dataset_of(dict(dataset=annotated_images(
        config, args.annotations, args.images, class_names(model)))))
    return len(images), (photograph(images[index])
                         for index in range(len(images)))


def photograph(image: TestImage | FailedImage) -> EvidenceCase:
    """Return an annotated photograph; raise an OSError if it cannot be
    read."""
    from ..evaluation.image_set import FailedImage
    from ..lab.evidence import EvidenceCase
    if isinstance(image, FailedImage):
        raise OSError(f'image {image.image_id}: {image.reason}')
    return EvidenceCase(image.data, image.instances)


def scenes(count: int, model: nn.Module,
           occluded: bool) -> Iterator[EvidenceCase]:
    """Draw scenes, on request with occluders."""
    from ..apis.image_pipeline import image_pipeline
    from ..datasets.scenes import render_scene
    from ..lab.evidence import EvidenceCase, occlude
    from ..lab.planted_errors import instances_of
    pipeline = image_pipeline(model)
    for index in range(count):
        scene = render_scene(0, index)
        whole, instances = pipeline(scene.image).batch, instances_of(scene)
        if not occluded:
            yield EvidenceCase(whole, instances)
            continue
        image, mask = occlude(scene, (0, index))
        yield EvidenceCase(pipeline(image).batch, instances, whole, mask)


def table_of(measured: Mapping[str, EvidenceFigures], side: str) -> str:
    """Write the figures of methods for a side as Markdown."""
    from ..io.markdown import markdown
    from ..lab.evidence import CONTROLS
    controls = CONTROLS[side]
    rows = []
    for name, figures in measured.items():
        method = [name] if len(measured) > 1 else []
        for fill, share in dict.fromkeys(key[1:3] for key in figures.changes):
            rows.append([
                *method, fill, f'{share:.0%}',
                figures.changes[side, fill, share, side].written('+.1f'),
                *(figures.differences[side, fill, share, control].written(
                    '+.1f') for control in controls)])
    head = ['in their place', 'pixels', 'change of the score', *(
        f'more than {NAMES.get(control, control)}' for control in controls)]
    return markdown(['method', *head] if len(measured) > 1 else head, rows)


def remarks(figures: EvidenceFigures, objects: str) -> Iterator[str]:
    """Write what is not in the tables, line by line."""
    yield f'{figures.objects} {objects} objects, scores ' \
        f'{figures.before.written(".1f")} before, in points of 100'
    for side in dict.fromkeys(side for side, _ in figures.removed):
        shares = ', '.join(
            f'{estimate.mean:.1f}' for key, estimate in figures.removed.items()
            if key[0] == side)
        yield f'removed, {side}: {shares} per cent of the box'
    for name, estimate in figures.on_occluder.items():
        yield f'on the patch, {name}, per cent: {estimate.written(".1f")}'


def check(args: argparse.Namespace) -> int:
    """Measure, and print what comes out."""
    from ..apis import load_detector
    from ..explainers import build_explainers
    from ..io.files import replacing
    from ..io.markdown import with_tables
    from ..io.progress import counted, progress_bar
    from ..lab.evidence import (
        CONTROLS,
        FILLS,
        check_evidence,
        check_explainer,
    )
    model = load_detector(args.config, args.checkpoint, args.device,
                          args.cfg_options)
    configs = options.explainer_configs(model.cfg)
    explainers = build_explainers(
        {name: configs.get(name, name) for name in args.explainer},
        **args.explainer_options)
    for explainer in explainers.values():
        check_explainer(explainer)
    measured = {}
    for name, explainer in explainers.items():
        number = args.scenes or args.occluded
        cases = scenes(number, model, bool(args.occluded))
        if args.annotations:
            number, cases = photographs(args, model)
        with progress_bar(f'images, {name}', number) as advance:
            measured[name] = check_evidence(
                model, counted(cases, advance), explainer,
                FILLS if args.occluded else FILLS[:2],
                score_thr=args.score_thr, objects=args.objects)
        for side in CONTROLS:
            print(f'What speaks {side} goes, {name}:\n\n'
                  f'{table_of({name: measured[name]}, side)}\n')
        print('\n'.join(remarks(measured[name], args.objects)) + '\n',
              flush=True)
    if args.page:
        page = Path(args.page[0])
        content = with_tables(page.read_text(), {
            name: table_of(measured, side)
            for name, side in zip(args.page[1:], CONTROLS)})
        with replacing(page) as file:
            file.write(content.encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Check whether it is true what maps say speaks against a missed object.

Removes the pixels that a map names from images in which a detector misses
something, and looks whether the object's score rises.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from torch import nn

    from ..lab.evidence import EvidenceCase, EvidenceFigures

NAMES = {'against': 'against', 'magnitude': 'either way', 'random': 'random',
         'turned': 'against, turned', 'for': 'for'}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description='Remove what speaks against missed objects, and see '
        'whether their scores rise.')
    parser.add_argument('config', help='the detector')
    parser.add_argument(
        'checkpoint', nargs='?',
        help='its weights; default: those that the config names')
    parser.add_argument(
        '--annotations', metavar='FILE',
        help='annotations in COCO\'s format of the images in --images')
    parser.add_argument('--images', metavar='FOLDER')
    parser.add_argument(
        '--occluded', type=options.whole_number, metavar='N', default=0,
        help='take N generated scenes, in each of which a patch hides a part '
        'of an object')
    parser.add_argument(
        '--explainer', default='odam', help='default: odam')
    options.add_options(
        parser, '--explainer-options',
        'its options; default of odam: outputs=score')
    parser.add_argument(
        '--score-thr', type=options.score, default=0.3,
        help='detections with a larger score count; default: 0.3')
    parser.add_argument(
        '--page', nargs=2, metavar=('FILE', 'TABLE'),
        help='put the table into a place of this page')
    options.add_detector_options(parser)
    args = parser.parse_args(argv)
    if bool(args.occluded) == bool(args.annotations and args.images):
        parser.error('give either --annotations and --images, or --occluded')
    return args


def photographs(args: argparse.Namespace,
                model: nn.Module) -> Iterator[EvidenceCase]:
    """Load annotated photographs."""
    from ..apis import class_names
    from ..evaluation.image_set import FailedImage, ImageSet, dataset_of
    from ..lab.evidence import EvidenceCase
    from .errors import annotated_images
    config: Any = model.cfg
    images = ImageSet(dataset_of(dict(dataset=annotated_images(
        config, args.annotations, args.images, class_names(model)))))
    for index in range(len(images)):
        image = images[index]
        if isinstance(image, FailedImage):
            raise OSError(f'image {image.image_id}: {image.reason}')
        yield EvidenceCase(image.data, image.instances)


def occluded_scenes(count: int, model: nn.Module) -> Iterator[EvidenceCase]:
    """Draw scenes with occluders."""
    from ..apis.image_pipeline import image_pipeline
    from ..datasets.scenes import render_scene
    from ..lab.evidence import EvidenceCase, occlude
    from ..lab.planted_errors import instances_of
    pipeline = image_pipeline(model)
    for index in range(count):
        scene = render_scene(0, index)
        image, mask = occlude(scene, (0, index))
        yield EvidenceCase(pipeline(image).batch, instances_of(scene),
                           pipeline(scene.image).batch, mask)


def table_of(figures: EvidenceFigures) -> str:
    """Write the figures as Markdown."""
    from ..io.markdown import markdown

    def text(estimate: Any) -> str:
        return f'{estimate.mean:+.1f} ({estimate.low:+.1f} to ' \
            f'{estimate.high:+.1f})'

    rows = []
    for fill, share in dict.fromkeys(key[:2] for key in figures.changes):
        own = figures.changes[fill, share, 'against']
        rows.append([fill, f'{share:.0%}', text(own), *(
            text(figures.differences[fill, share, ranking])
            for ranking in NAMES if ranking != 'against')])
    head = ['in their place', 'pixels', 'change of the score', *(
        f'more than {name}' for ranking, name in NAMES.items()
        if ranking != 'against')]
    return markdown(head, rows)


def check(args: argparse.Namespace) -> int:
    """Measure, and print what comes out."""
    from ..apis import load_detector
    from ..explainers import build_explainer
    from ..explainers.explainer import method_name
    from ..io.files import replacing
    from ..io.markdown import with_tables
    from ..lab.evidence import FILLS, check_evidence
    model = load_detector(args.config, args.checkpoint, args.device,
                          args.cfg_options)
    method_options = dict(args.explainer_options)
    explainer = build_explainer(args.explainer)
    if method_name(type(explainer)) == 'odam':
        method_options.setdefault('outputs', 'score')
    explainer = build_explainer(args.explainer, **method_options)
    cases = occluded_scenes(args.occluded, model) if args.occluded else \
        photographs(args, model)
    figures = check_evidence(model, cases, explainer,
                             FILLS if args.occluded else FILLS[:2],
                             score_thr=args.score_thr)
    table = table_of(figures)
    print(table)
    before = figures.before
    print(f'{figures.objects} missed objects, scores '
          f'{before.mean:.1f} ({before.low:.1f} to {before.high:.1f}) '
          'before, in points of 100')
    for name, estimate in figures.on_occluder.items():
        print(f'on the patch, {name}: {estimate.mean:.1f} per cent '
              f'({estimate.low:.1f} to {estimate.high:.1f})')
    if args.page:
        page = Path(args.page[0])
        content = with_tables(page.read_text(), {args.page[1]: table})
        with replacing(page) as file:
            file.write(content.encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: check(args))

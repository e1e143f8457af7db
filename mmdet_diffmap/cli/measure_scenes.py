# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure the maps of the demo detectors where the right answer is known.

Scenes: how well maps keep to their own objects, and their shapes. Twins: how
much of a map lies on what tells its object from the other. Writes the tables,
and can put them into docs/scenes.md.
"""
from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io import package_files
from . import options

if TYPE_CHECKING:
    from ..evaluation.summary import RunRecord

#: What maps of the class score alone say, beside the methods of the paper: of
#: twins, the badge decides the class and not the box.
SCORE = dict(type='ODAM', outputs=('score', ))
#: Why each object has its class, and not the most probable of the others.
CONTRAST = dict(type='ODAM', outputs='contrast')
OWN_EXPLAINERS: dict[str, Any] = {
    'odam-score': SCORE,
    'odam-score-diff': dict(type='DifferenceMap', explainer=SCORE),
    'contrast': CONTRAST,
    'contrast-diff': dict(type='DifferenceMap', explainer=CONTRAST),
}
DETECTORS = {
    'fcos': 'FCOS',
    'faster-rcnn': 'Faster R-CNN',
    'detr': 'DETR',
    'retinanet-pvt': 'RetinaNet, PVT',
}


@dataclass(frozen=True)
class Subject:
    """Scenes that are measured.

    Args:
        kind (str): Of the detectors and the scenes: ``scenes`` or ``twins``.
        metrics (tuple): Groups of quantities.
        leaves_out (tuple): Methods with one of these in their names are not
            measured by default.
        first, step (int): Which of the test set's scenes: of twins, those
            with an even number are joined.
    """
    kind: str
    metrics: tuple[str, ...]
    leaves_out: tuple[str, ...]
    first: int = 0
    step: int = 1


NO_SCORE, NO_MASKS = ('score', 'contrast'), ('d-rise', )
SUBJECTS = {
    'scenes': Subject('scenes', ('localization', 'shape'), NO_SCORE),
    'joined': Subject('twins', ('parts', ), NO_MASKS, 0, 2),
    'apart': Subject('twins', ('parts', ), NO_MASKS, 1, 2),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = options.CommandParser(
        'python tools/measure_scenes.py', '[options]',
        'Measure the maps of the demo detectors on generated scenes, where '
        'masks are exact and the right answer is known.', [
            '--detectors fcos --explainer odam odam-diff --scenes 10',
        ], {'--out-dir': '--work-dir', '--num-images': '--scenes'})
    inputs = parser.add_argument_group('inputs')
    inputs.add_argument(
        '--detectors', nargs='+', choices=DETECTORS, default=list(DETECTORS),
        metavar='NAME', help=f'{", ".join(DETECTORS)}; default: all four')
    inputs.add_argument(
        '--scenes', type=options.count, default=50, metavar='N',
        help='so many scenes of each kind; default: 50')
    options.add_options(inputs, '--cfg-options',
                        'override settings of the configs')
    method = parser.add_argument_group('method')
    method.add_argument(
        '--explainer', nargs='+', metavar='NAME',
        help='names of configs/_base_/explainers.py, odam-score, contrast, '
        'odam-score-diff and contrast-diff; default: for scenes all of the '
        'first, for twins all that need gradients')
    method.add_argument(
        '--masks', type=options.count, default=500, metavar='N',
        help='of D-RISE; default: 500')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--work-dir', default='work_dirs/measure_scenes', metavar='FOLDER',
        help='gets tables.md and a folder for each detector and kind of '
        'scenes; default: work_dirs/measure_scenes')
    options.add_page(output, 'docs/scenes.md')
    parser.add_argument_group('the run').add_argument(
        '--resume', action='store_true',
        help='go on with what is in the work dir')
    return parser.read(argv)


def chosen_explainers(names: Sequence[str] | None, subject: Subject,
                      masks: int) -> dict[str, Any]:
    """Return the methods by their names, D-RISE with so many masks.

    Args:
        names (Sequence[str], optional): Of the methods; defaults to the
            subject's.
        subject (Subject): What is measured.
        masks (int): How many.

    Raises:
        ValueError: If there is no such method.
    """
    from mmengine.config import Config
    d_rise = dict(type='DRISE', masks=masks)
    configs = {
        **Config.fromfile(package_files.EXPLAINERS).explainers,
        **OWN_EXPLAINERS,
        'd-rise': d_rise,
        'd-rise-diff': dict(type='DifferenceMap', explainer=d_rise)
    }
    for name in names or ():
        if name not in configs:
            raise ValueError(f'there is no explainer {name} here, but '
                             f'{", ".join(configs)}')
    return {name: configs[name] for name in names or configs
            if names or not any(word in name for word in subject.leaves_out)}


def measure(detector: str, name: str,
            args: argparse.Namespace) -> RunRecord:
    """Return the record of one detector on one kind of scenes."""
    from mmengine.config import Config

    from ..evaluation.runner import LOOP, METRIC, build_runner
    subject = SUBJECTS[name]
    path = package_files.CONFIGS / f'demo/{detector}_{subject.kind}.py'
    cfg = Config.fromfile(path)
    last = subject.first + args.scenes * subject.step
    dataset = cfg.test_dataloader.dataset
    dataset.num_images = max(dataset.num_images, last)
    dataset.indices = list(range(subject.first, last, subject.step))
    cfg.merge_from_dict(args.cfg_options)
    cfg.test_cfg = dict(
        type=LOOP,
        metrics=subject.metrics,
        explainers=chosen_explainers(args.explainer, subject, args.masks))
    cfg.test_evaluator = dict(type=METRIC, resume=args.resume)
    cfg.work_dir = str(Path(args.work_dir, f'{detector}_{name}'))
    runner = build_runner(cfg, cfg.load_from)
    runner.test()
    return runner.test_loop.metric.record


def measure_proposals(count: int, options: dict[str, Any]) -> str:
    """How much of Faster R-CNN's maps lies inside the proposal from which a
    detection came, and inside its box: a table in Markdown."""
    from mmengine.config import Config

    from ..apis import load_detector
    from ..apis.explain import explain
    from ..datasets import scene_path
    from ..evaluation.intervals import Means
    from ..evaluation.localization import box_regions, energy_share
    from ..evaluation.tables import estimated
    from ..io.markdown import markdown
    from ..lab.sanity.held_detections import HeldDetections
    cfg = Config.fromfile(package_files.CONFIGS / 'demo/faster-rcnn_scenes.py')
    cfg.merge_from_dict(options)
    model = load_detector(cfg)
    means = Means()
    for index in range(count):
        path = scene_path(cfg.test_dataloader.dataset.seed, index)
        held = HeldDetections()
        with held.recorded(model):
            sample = explain(model, path, score_thr=0.4)
        instances = sample.pred_instances
        # the proposal that has the detection's score in its class
        scores = held.raw[0][0].softmax(dim=-1)[:, instances.labels]
        own = (scores - instances.scores).abs().argmin(dim=0)
        proposals = held.proposals[0].bboxes[own]
        for place, boxes in ('proposal', proposals), ('box', instances.bboxes):
            regions = box_regions(boxes, *instances.heatmaps.shape[1:])
            for name in 'heatmaps', 'difference_maps':
                means.add((name, place), [
                    energy_share(heatmap, region) for heatmap, region in zip(
                        instances[name].relu(), regions)])
    estimates = means.estimates()
    rows = []
    for name, title in ('heatmaps', 'odam'), ('difference_maps', 'odam-diff'):
        row = [title]
        for place in 'proposal', 'box':
            row.append(estimated(estimates[name, place], 3).markdown())
        rows.append(row)
    return markdown(['explainer', 'inside the proposal', 'inside the box'],
                    rows) + '\n'


def tables(records: dict[str, dict[str, RunRecord]]
           ) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each table.

    Args:
        records (dict): By kind of scenes and detector.
    """
    from ..evaluation.tables import TABLES, result_rows
    from ..io.markdown import markdown
    from ..io.tables import Table
    for name, found in records.items():
        for table in TABLES:
            group = table.columns[0].quantity.group
            if group not in SUBJECTS[name].metrics:
                continue
            rows = [
                [DETECTORS[detector], *row]
                for detector, record in found.items()
                for row in result_rows(record.figures.methods, {}, table)
            ]
            head = ['detector', 'explainer', *table.head]
            counts = ', '.join(
                f'{DETECTORS[detector]} {record.figures.num_objects} objects '
                f'on {record.figures.num_images} scenes'
                for detector, record in found.items())
            yield (name if group == 'parts' else group,
                   f'{counts}.\n\n'
                   f'{markdown(*Table("", head, rows).texts()[1:])}\n')


def run(args: argparse.Namespace) -> int:
    """Measure, and print what comes out."""
    from ..io.files import replacing
    from ..io.markdown import with_tables
    from .quiet import quiet_runners
    page = Path(args.page).read_text() if args.page else ''
    if page:  # raises before the work
        with_tables(page, dict.fromkeys(
            ('localization', 'shape', 'proposals', 'joined', 'apart'), ''))
    records: dict[str, dict[str, RunRecord]] = {}
    for name in SUBJECTS:
        for detector in args.detectors:
            with quiet_runners(logging.WARNING):
                records.setdefault(name, {})[detector] = measure(
                    detector, name, args)
    pieces = dict(tables(records))
    pieces['proposals'] = measure_proposals(args.scenes, args.cfg_options)
    text = '\n'.join(f'## {name}\n\n{table}' for name, table in pieces.items())
    folder = Path(args.work_dir)
    with replacing(folder / 'tables.md') as file:
        file.write(text.encode())
    with replacing(folder / 'tables.json') as file:
        file.write(
            json.dumps({name: {detector: record.as_dict()
                               for detector, record in found.items()}
                        for name, found in records.items()},
                       indent=1).encode())
    if page:
        with replacing(Path(args.page)) as file:
            file.write(with_tables(page, pieces).encode())
    print(text)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: run(args), resume=True)


# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measure the maps of the demo detectors where the right answer is known.

Scenes: how well maps keep to their own objects, and their shapes. Twins: how
much of a map lies on what tells its object from the other. Writes the tables,
and can put them into docs/scenes.md.
"""
import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..apis import load_detector
from ..apis.explain import explain
from ..datasets import scene_path
from ..evaluation.intervals import Means
from ..evaluation.localization import box_regions, energy_share
from ..evaluation.runner import LOOP, METRIC, build_runner
from ..evaluation.summary import RunRecord
from ..evaluation.tables import TABLES, result_rows, result_text
from ..io import package_files
from ..io.files import replacing
from ..io.markdown import markdown, with_tables
from ..lab.sanity.held_detections import HeldDetections
from . import options

#: What maps of the class score alone say, beside the methods of the paper: of
#: twins, the badge decides the class and not the box.
SCORE = dict(type='ODAM', outputs=('score', ))
#: Why each object has its class, and not the most probable of the others.
CONTRAST = dict(type='ODAM', outputs='contrast')
EXPLAINERS: dict[str, Any] = {
    **Config.fromfile(package_files.EXPLAINERS).explainers,
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
        explainers (tuple): Names of methods.
        first, step (int): Which of the test set's scenes: of twins, those
            with an even number are joined.
    """
    kind: str
    metrics: tuple[str, ...]
    explainers: tuple[str, ...]
    first: int = 0
    step: int = 1


NO_SCORE = tuple(name for name in EXPLAINERS
                 if 'score' not in name and 'contrast' not in name)
NO_MASKS = tuple(name for name in EXPLAINERS if 'd-rise' not in name)
SUBJECTS = {
    'scenes': Subject('scenes', ('localization', 'shape'), NO_SCORE),
    'joined': Subject('twins', ('parts', ), NO_MASKS, 0, 2),
    'apart': Subject('twins', ('parts', ), NO_MASKS, 1, 2),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description='Measure the maps of the demo detectors on generated '
        'scenes, where masks are exact and the right answer is known.')
    parser.add_argument(
        '--detectors', nargs='+', choices=DETECTORS, default=list(DETECTORS),
        help='default: all four')
    parser.add_argument(
        '--explainers', nargs='+', metavar='NAME',
        choices=EXPLAINERS,
        help='names of configs/_base_/explainers.py, odam-score, contrast, '
        'odam-score-diff and contrast-diff; default: for scenes all of the '
        'first, for twins all that need gradients')
    parser.add_argument(
        '--masks', type=int, default=500, help='of D-RISE; default: 500')
    parser.add_argument(
        '--num-images', type=int, default=50,
        help='scenes of each kind; default: 50')
    parser.add_argument(
        '--work-dir', default='work_dirs/measure_scenes',
        help='gets tables.md and a folder for each detector and kind of '
        'scenes; default: work_dirs/measure_scenes')
    parser.add_argument(
        '--resume', action='store_true',
        help='go on with what is in the work dir')
    parser.add_argument(
        '--update', metavar='PAGE',
        help='also replace the tables in a page, such as docs/scenes.md')
    options.add_options(parser, '--cfg-options',
                             'override settings of the configs')
    args = parser.parse_args(argv)
    for name in 'num_images', 'masks':
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more')
    return args


def chosen_explainers(names: Sequence[str], masks: int) -> dict[str, Any]:
    """Return the methods by their names, D-RISE with so many masks."""
    d_rise = dict(type='DRISE', masks=masks)
    configs = EXPLAINERS | {
        'd-rise': d_rise,
        'd-rise-diff': dict(type='DifferenceMap', explainer=d_rise)
    }
    return {name: configs[name] for name in names}


def measure(detector: str, name: str,
            args: argparse.Namespace) -> RunRecord:
    """Return the record of one detector on one kind of scenes."""
    subject = SUBJECTS[name]
    path = package_files.CONFIGS / f'demo/{detector}_{subject.kind}.py'
    cfg = Config.fromfile(path)
    last = subject.first + args.num_images * subject.step
    dataset = cfg.test_dataloader.dataset
    dataset.num_images = max(dataset.num_images, last)
    dataset.indices = list(range(subject.first, last, subject.step))
    cfg.merge_from_dict(args.cfg_options)
    cfg.test_cfg = dict(
        type=LOOP,
        metrics=subject.metrics,
        explainers=chosen_explainers(args.explainers or subject.explainers,
                                     args.masks))
    cfg.test_evaluator = dict(type=METRIC, resume=args.resume)
    cfg.work_dir = str(Path(args.work_dir, f'{detector}_{name}'))
    runner = build_runner(cfg, cfg.load_from)
    runner.test()
    return runner.test_loop.metric.record


def measure_proposals(count: int, options: dict[str, Any]) -> str:
    """How much of Faster R-CNN's maps lies inside the proposal from which a
    detection came, and inside its box: a table in Markdown."""
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
            row.append(result_text(estimates[name, place], '', 3))
        rows.append(row)
    return markdown(['explainer', 'inside the proposal', 'inside the box'],
                    rows) + '\n'


def tables(records: dict[str, dict[str, RunRecord]]
           ) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each table.

    Args:
        records (dict): By kind of scenes and detector.
    """
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
                   f'{counts}.\n\n{markdown(head, rows)}\n')


def run(args: argparse.Namespace) -> int:
    page = Path(args.update).read_text() if args.update else ''
    if page:  # raises before the work
        with_tables(page, dict.fromkeys(
            ('localization', 'shape', 'proposals', 'joined', 'apart'), ''))
    records: dict[str, dict[str, RunRecord]] = {}
    for name in SUBJECTS:
        for detector in args.detectors:
            records.setdefault(name, {})[detector] = measure(
                detector, name, args)
    pieces = dict(tables(records))
    pieces['proposals'] = measure_proposals(args.num_images, args.cfg_options)
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
        with replacing(Path(args.update)) as file:
            file.write(with_tables(page, pieces).encode())
    print(text)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    args = parse_args(argv)
    return options.run(lambda: run(args))


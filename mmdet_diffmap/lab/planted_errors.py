# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Are errors named as what they are? Detectors of generated scenes are made to
err in ways that are known."""
from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from torchvision.ops import box_iou

from ..apis import load_detector
from ..apis.image_pipeline import image_pipeline
from ..datasets import scene_path
from ..datasets.scene_files import read_scene
from ..datasets.scenes import Scene
from ..datasets.twins import render_twins
from ..errors.find import ExplainedErrors, find_errors
from ..errors.kinds import ImageErrors, Kind
from ..errors.maps import explain_errors
from ..errors.misses import Mechanism
from ..evaluation.intervals import Estimate, Means
from ..explainers import ODAM
from ..tracing.detector import DetectorAdapter

#: Changes a copy of a detector, in place.
Change = Callable[[Any], None]
#: Changes what is annotated.
Annotate = Callable[[list[dict]], list[dict]]


@dataclass(frozen=True)
class Plant:
    """A way to make a detector err.

    Args:
        text (str): What is done.
        detectors (Sequence[str]): Whose configs, ``fcos`` for example.
        kind (Kind): What the errors are.
        mechanism (Mechanism, optional): Why objects are not found; None where
            they are, or for several reasons.
        change (Callable): Changes the detector.
        annotate (Callable): Changes the annotations.
        scenes (str): ``scene`` or ``twins``.
        step (int): Every so many-th scene; of twins, every second one is
            apart.
    """
    text: str
    detectors: Sequence[str]
    kind: Kind
    mechanism: Mechanism | None
    change: Change = lambda model: None
    annotate: Annotate = lambda instances: instances
    scenes: str = 'scene'
    step: int = 1


def own_test_cfg(model: Any) -> Any:
    """Return the settings by which a copy filters, ready to be changed."""
    owner = model.roi_head if hasattr(model, 'roi_head') else model.bbox_head
    owner.test_cfg = copy.deepcopy(owner.test_cfg)
    return owner.test_cfg


def lower_a_class(model: Any) -> None:
    """Lower the scores of the first class."""
    model.bbox_head.conv_cls.bias.data[0] -= 8


def suppress_neighbours(model: Any) -> None:
    """Let boxes suppress all that touch them."""
    own_test_cfg(model).nms.update(iou_threshold=0.01, class_agnostic=True)


def suppress_nothing(model: Any) -> None:
    """Let boxes suppress none but their own copies."""
    own_test_cfg(model).nms.update(iou_threshold=0.9)


def allow_one(model: Any) -> None:
    """Let one detection be all."""
    own_test_cfg(model).max_per_img = 1


def shift_boxes(widths: float) -> Change:
    """Return what shifts all boxes to the right by so many widths."""
    def change(model: Any) -> None:
        coder = copy.copy(model.roi_head.bbox_head.bbox_coder)
        coder.means = (widths, *coder.means[1:])
        model.roi_head.bbox_head.bbox_coder = coder
    return change


def swap_badges(instances: list[dict]) -> list[dict]:
    """Give each of two twins the class of the other one, as if their badges
    had been swapped in the image."""
    first, second = instances
    return [dict(first, bbox_label=second['bbox_label']),
            dict(second, bbox_label=first['bbox_label'])]


def forget_an_object(instances: list[dict]) -> list[dict]:
    """Leave out the first object that stands apart: its box overlaps no other
    by more than 0.05."""
    boxes = torch.tensor([instance['bbox'] for instance in instances])
    alone = (box_iou(boxes, boxes) > 0.05).sum(dim=1) == 1
    if not alone.any():
        return instances
    number = int(alone.int().argmax())
    return instances[:number] + instances[number + 1:]


#: Kinds that say of an object why it is not found.
ABOUT_OBJECTS = (Kind.MISSED, Kind.WRONG_CLASS, Kind.BADLY_PLACED)

PLANTS = (
    Plant('the bias of a class lowered by 8', ('fcos', ), Kind.MISSED,
          Mechanism.BACKGROUND, lower_a_class),
    Plant('suppression of all classes at an IoU of 0.01',
          ('fcos', 'faster-rcnn'), Kind.MISSED, Mechanism.NEIGHBOUR,
          suppress_neighbours),
    Plant('one detection at most', ('fcos', 'faster-rcnn', 'detr'),
          Kind.MISSED, Mechanism.CUT, allow_one),
    Plant('all boxes shifted by 6 widths', ('faster-rcnn', ), Kind.MISSED,
          Mechanism.MOVED_AWAY, shift_boxes(6.)),
    Plant('all boxes shifted by 0.6 widths', ('faster-rcnn', ),
          Kind.BADLY_PLACED, None, shift_boxes(0.6)),
    Plant('badges of twins swapped', ('fcos', 'faster-rcnn', 'detr'),
          Kind.WRONG_CLASS, Mechanism.OTHER_CLASS, annotate=swap_badges,
          scenes='twins', step=2),
    Plant('badges swapped, and boxes shifted by 0.6 widths',
          ('faster-rcnn', ), Kind.BOTH, None, shift_boxes(0.6), swap_badges,
          'twins', 2),
    Plant('suppression from an IoU of 0.9 on', ('faster-rcnn', ),
          Kind.DUPLICATE, None, suppress_nothing),
    Plant('an object apart from others is not annotated',
          ('fcos', 'faster-rcnn', 'detr'),
          Kind.BACKGROUND, None, annotate=forget_an_object),
)


def named(plant: Plant, detector: str, count: int,
          seed: int = 0) -> Counter[tuple[Kind, Mechanism | None]]:
    """Count what planted errors are called.

    Of kinds that are about objects: those that the detector finds before, and
    not after, by the kind of the error about them and why they are not found.
    Of others: wrong detections that are not there before, by their kind.

    Args:
        plant (Plant): What is done.
        detector (str): To which detector.
        count (int): The number of scenes.
        seed (int): Of the scenes.
    """
    trained_on = 'twins' if plant.scenes == 'twins' else 'scenes'
    before = load_detector(f'mmdet_diffmap::demo/{detector}_{trained_on}.py')
    after = copy.deepcopy(before)
    plant.change(after)
    counts: Counter[tuple[Kind, Mechanism | None]] = Counter()
    first = 1 if plant.scenes == 'twins' else 0
    for index in range(first, first + plant.step * count, plant.step):
        path = scene_path(seed, index, plant.scenes)
        instances = instances_of(read_scene(path))
        right, wrong = (
            errors_of(model, path, annotated) for model, annotated in (
                (before, instances), (after, plant.annotate(instances))))
        counts.update(
            lost_objects(right, wrong) if plant.kind in ABOUT_OBJECTS else
            new_detections(right.errors, wrong.errors))
    return counts


def confusion(plant: Plant,
              counts: Counter[tuple[Kind, Mechanism | None]]) -> tuple[
                  int, str]:
    """Return how many errors are named as what they are, and what the others
    are called, in words."""
    right = 0
    others: Counter[str] = Counter()
    for (kind, mechanism), number in counts.items():
        if kind is plant.kind and plant.mechanism in (None, mechanism):
            right += number
        else:
            others[kind.value if mechanism is None else
                   f'{kind.value}: {mechanism.value}'] += number
    return right, ', '.join(f'{name} {number}'
                            for name, number in others.most_common())


def errors_of(model: BaseDetector, path: str,
              instances: list[dict]) -> ExplainedErrors:
    """Find the errors in a scene."""
    return find_errors(DetectorAdapter(model, None),
                       image_pipeline(model)(path).batch, instances)


def instances_of(scene: Scene) -> list[dict]:
    """Return the annotations of a scene, as mmdet's data sets give them."""
    return [dict(bbox=box.tolist(), bbox_label=int(label))
            for box, label in zip(scene.boxes, scene.labels)]


def lost_objects(before: ExplainedErrors, after: ExplainedErrors
                 ) -> Counter[tuple[Kind, Mechanism | None]]:
    """Count what errors about objects are called that are found no more."""
    counts: Counter[tuple[Kind, Mechanism | None]] = Counter()
    for number, found_by in enumerate(before.errors.found_by.tolist()):
        if found_by < 0 or number not in after.misses:
            continue
        nearly = int(after.errors.nearly_found_by[number])
        kind = after.errors.kinds[nearly] if nearly >= 0 else Kind.MISSED
        counts[kind, after.misses[number].mechanism] += 1
    return counts


def new_detections(before: ImageErrors, after: ImageErrors
                   ) -> Counter[tuple[Kind, Mechanism | None]]:
    """Count the kinds of wrong detections that are not wrong before."""
    counts: Counter[tuple[Kind, Mechanism | None]] = Counter()
    for box, label, kind in zip(after.detections.bboxes,
                                after.detections.labels, after.kinds):
        if kind in (Kind.CORRECT, Kind.IGNORED):
            continue
        same = (before.detections.bboxes - box).abs().amax(dim=1) < 1
        same &= before.detections.labels == label
        wrong = torch.tensor([own is not Kind.CORRECT
                              for own in before.kinds], dtype=torch.bool)
        if not (same & wrong).any():
            counts[kind, None] += 1
    return counts


def badge_shares(detector: str, count: int,
                 seed: int = 0) -> dict[str, Estimate]:
    """Measure how much of a map lies on what alone decides the class: the
    badges of twins that are apart, swapped as in :data:`PLANTS`.

    Args:
        detector (str): ``fcos`` for example.
        count (int): The number of scenes.
        seed (int): Of the scenes.

    Returns:
        dict: Of the ``contrast`` of both classes (its absolute values), and of
        the heat map of the ``score``, the share inside of the box that lies on
        the badge; and the badge's share of the box, its ``area``; in per cent.
    """
    model = load_detector(f'mmdet_diffmap::demo/{detector}_twins.py')
    means = Means()
    for index in range(1, 2 * count, 2):
        scene = render_twins(seed, index)
        assert scene.parts is not None
        shares: dict[str, list[float | None]] = {
            'contrast': [], 'score': [], 'area': []}
        for explanation in explain_errors(
                model, scene.image, swap_badges(instances_of(scene)),
                ODAM(outputs='score')):
            if explanation.error.kind is not Kind.WRONG_CLASS:
                continue
            badge = torch.from_numpy(scene.parts[explanation.error.object])
            x1, y1, x2, y2 = scene.boxes[
                explanation.error.object].astype(int).tolist()
            (_, contrast), (_, heatmap) = explanation.maps
            for name, values in (('contrast', contrast.abs()),
                                 ('score', heatmap),
                                 ('area', torch.ones_like(heatmap))):
                inside = (slice(y1, y2), slice(x1, x2))
                own = values[inside]
                shares[name].append(100 * float(
                    own[badge[inside]].sum() / own.sum()))
        for name, column in shares.items():
            means.add(name, column)
    return means.estimates()

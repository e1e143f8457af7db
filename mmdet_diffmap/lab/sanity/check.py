# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Do maps depend on what the detector has learned?"""
from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector

from ...apis.image_pipeline import image_pipeline
from ...evaluation.summary import Means
from ...explainers import DifferenceMap, ExplainerLike, build_explainer
from ...explainers.engine import (
    Selection,
    check_explainable,
    make_heatmaps,
    trace_image,
)
from ...io.progress import progress_bar
from ...tracing.detector import DetectorAdapter
from ..similarity import rank_correlation, structural
from .held_detections import HeldDetections
from .randomization import parts_from_the_head, randomize

UNCHANGED = 'unchanged'
MEASURES = ('rank_correlation', 'rank_correlation_in_box', 'ssim')
#: Two maps of a method: kind, and what its values may range over.
KINDS = {'': 1., '-diff': 2.}
Maps = dict[str, np.ndarray]


@dataclass
class Checked:
    """The outcome of :func:`check_sanity`.

    Args:
        stages (list[str]): The parts in the order in which they lost their
            weights, each with all before it; the first is ``unchanged``.
        figures (dict): By map (``odam``, ``odam-diff``), measure and stage:
            the mean similarity to the unchanged detector's maps (None where
            all maps were flat), and its 95 % interval over images. The rank
            correlation in the detection's own box tells of the pattern apart
            from the place.
        blank (dict): By map, the mean SSIM of the unchanged detector's maps
            with a map of zeros: how alike maps are that have nothing in
            common but empty surroundings.
        image (str): The first image that has objects.
        maps (list[dict]): For each stage, the maps of its first object, each
            (H, W).
        objects (int): How many objects were looked at.
    """
    stages: list[str]
    figures: dict[str, dict[str, list[dict[str, Any]]]]
    blank: dict[str, float]
    image: str
    maps: list[Maps]
    objects: int


def check_sanity(model: BaseDetector,
                 images: Sequence[str],
                 explainers: Mapping[str, ExplainerLike],
                 score_thr: float = 0.3,
                 max_objects: int | None = None,
                 seed: int = 0) -> Checked:
    """Take a detector's weights away, part by part from the head down, and
    see how alike its maps remain to what they were (cascading randomization;
    Adebayo et al., NeurIPS 2018, and for detectors Padmanabhan et al., arXiv
    2306.02424).

    At each stage the outputs of the same locations, queries or proposals are
    explained, and for D-RISE the same boxes and classes; see
    :class:`~mmdet_diffmap.lab.sanity.held_detections.HeldDetections`. A map
    that stays as it was says nothing about what was learned.

    Args:
        model (BaseDetector): A detector from :func:`load_detector`; it is
            copied, and left as it is.
        images (Sequence[str]): Paths or URLs of images.
        explainers (Mapping): Methods by their names; each is checked plain
            and as a signed difference map.
        score_thr, max_objects: Which objects; see :func:`explain`.
        seed (int): Of the noise that takes the weights' place.

    Returns:
        Checked: The similarities.

    Raises:
        ValueError: If no image has an object above the threshold, or a method
            is a difference map.
        OSError: If an image cannot be read.
    """
    cascade = Cascade(model, images, explainers, score_thr, max_objects)
    if not cascade.objects:
        raise ValueError(f'no object above the score threshold of {score_thr} '
                         'in any image')
    parts = parts_from_the_head(model, images[0])
    generator = torch.Generator().manual_seed(seed)
    means = Means()
    drawn: list[Maps] = []
    stages = [UNCHANGED, *parts]
    with progress_bar('stages', len(stages)) as advance:
        for number, stage in enumerate(stages):
            if number:
                randomize(cascade.model.get_submodule(stage), generator)
            drawn.append(cascade.compare(number, means))
            advance(1)
    return Checked(stages, cascade.figures(means, len(stages)),
                   cascade.blank(), cascade.images[0], drawn,
                   cascade.objects)


class Cascade:
    """The images with the maps of the unchanged detector, and a copy of the
    detector that can be changed; see :func:`check_sanity`."""

    def __init__(self, model: BaseDetector, images: Sequence[str],
                 explainers: Mapping[str, ExplainerLike], score_thr: float,
                 max_objects: int | None) -> None:
        self.model = copy.deepcopy(model)
        self.differences: dict[str, DifferenceMap] = {}
        for name, one in explainers.items():
            explainer = build_explainer(one)
            if isinstance(explainer, DifferenceMap):
                raise ValueError(f'{name} is a difference map, and each '
                                 'method is checked with its own: name the '
                                 'method alone')
            self.differences[name] = DifferenceMap(explainer)
        check_explainable(model, list(self.differences.values()))
        self.select = Selection(score_thr, max_objects)
        pipeline = image_pipeline(model)
        self.images: list[str] = []  # those with objects
        self.data: list[dict] = []
        self.held: list[HeldDetections] = []
        self.originals: list[Maps] = []
        self.boxes: list[list[tuple[slice, slice]]] = []
        for image in images:
            data, held = pipeline(image).batch, HeldDetections()
            with held.recorded(model):
                found = self.select(DetectorAdapter(model, None).trace(data))
            if len(found):
                self.images.append(image)
                self.data.append(data)
                self.held.append(held)
                self.boxes.append([
                    inside(box, found.frame.image_shape)
                    for box in found.detections.bboxes.tolist()
                ])
                self.originals.append(dict(self.maps(len(self.held) - 1)))

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(len(next(iter(maps.values()))) for maps in self.originals)

    def maps(self, number: int) -> Iterator[tuple[str, np.ndarray]]:
        """The maps (N, H, W) of one image, by method and kind."""
        differences = list(self.differences.values())
        runs = trace_image(self.model, self.data[number], 0, differences,
                      self.select)
        for name, difference in self.differences.items():
            with self.held[number].held(self.model):
                trace = next(runs)
            heatmaps, _ = make_heatmaps(difference.explainer, trace)
            yield name, heatmaps.cpu().numpy()
            yield f'{name}-diff', difference.compare(heatmaps).cpu().numpy()

    def compare(self, stage: int, means: Means) -> Maps:
        """Note how alike the maps are to what they were; those of the first
        object of the first image are returned."""
        first: Maps = {}
        for number, originals in enumerate(self.originals):
            for name, found in self.maps(number):
                span = span_of(name)
                pairs = list(zip(originals[name], found))
                means.add((name, 'rank_correlation', stage), [
                    known(rank_correlation(*pair)) for pair in pairs])
                means.add((name, 'rank_correlation_in_box', stage), [
                    known(rank_correlation(one[box], other[box]))
                    for (one, other), box in zip(pairs, self.boxes[number])])
                means.add((name, 'ssim', stage), [
                    structural(*pair, span) for pair in pairs])
                if not number:
                    first[name] = found[0]
        return first

    def blank(self) -> dict[str, float]:
        """See :class:`Checked`."""
        return {
            name: float(np.mean([
                structural(one, np.zeros_like(one), span_of(name))
                for maps in self.originals for one in maps[name]
            ])) for name in self.originals[0]
        }

    def figures(
            self, means: Means,
            stages: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """See :class:`Checked`."""
        limits = means.intervals(list(means.sums))
        return {
            f'{name}{kind}': {
                measure: [
                    dict(
                        mean=means.mean((f'{name}{kind}', measure, stage)),
                        ci95=limits[f'{name}{kind}', measure, stage])
                    for stage in range(stages)
                ] for measure in MEASURES
            } for name in self.differences for kind in KINDS
        }


def span_of(name: str) -> float:
    """What the values of a map of that name may range over."""
    return KINDS['-diff' if name.endswith('-diff') else '']


def inside(box: Sequence[float], size: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns of a box (x1, y1, x2, y2) in an image; at least
    one of each."""
    x1, y1, x2, y2 = map(int, box)
    height, width = size
    top, left = min(max(y1, 0), height - 1), min(max(x1, 0), width - 1)
    return slice(top, max(y2, top + 1)), slice(left, max(x2, left + 1))


def known(value: float) -> float | None:
    """The value, None for NaN."""
    return None if value != value else value

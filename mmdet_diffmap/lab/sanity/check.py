# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Do maps depend on what the detector has learned?"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from mmdet.models.detectors import BaseDetector

from ...evaluation.intervals import Estimate, Means
from ...explainers import ExplainerLike
from ...explainers.engine import DEFAULT_SELECTION, Selection
from ...io.progress import progress_bar
from .cascade import Cascade, Maps
from .methods import CheckedMethods
from .randomization import parts_from_the_head, randomize

UNCHANGED = 'unchanged'
MEASURES = ('rank_correlation', 'rank_correlation_in_box', 'ssim')


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
        bases (dict): By the name of each difference map, which is signed, the
            method whose heat maps it compares.
        image (str): The first image that has objects.
        maps (list[dict]): For each stage, the maps of its first object, each
            (H, W).
        objects (int): How many objects were looked at.
        num_images (int): On how many images.
    """
    stages: list[str]
    figures: dict[str, dict[str, list[Estimate]]]
    blank: dict[str, float]
    bases: dict[str, str]
    image: str
    maps: list[Maps]
    objects: int
    num_images: int


def check_sanity(model: BaseDetector,
                 images: Sequence[str],
                 explainers: Mapping[str, ExplainerLike],
                 selection: Selection = DEFAULT_SELECTION,
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
        selection (Selection): Which detections are looked at.
        seed (int): Of the noise that takes the weights' place.

    Returns:
        Checked: The similarities.

    Raises:
        ValueError: If no image has an object above the threshold, or as
            :class:`~mmdet_diffmap.lab.sanity.methods.CheckedMethods`.
        OSError: If an image cannot be read.
    """
    cascade = Cascade(model, images, CheckedMethods(explainers), selection)
    if not cascade.objects:
        raise ValueError('no object above the score threshold of '
                         f'{selection.score_thr} in any image')
    parts = parts_from_the_head(model, images[0])
    generator = torch.Generator().manual_seed(seed)
    means = Means()
    maps: list[Maps] = []
    stages = [UNCHANGED, *parts]
    with progress_bar('stages', len(stages)) as advance:
        for number, stage in enumerate(stages):
            if number:
                randomize(cascade.model.get_submodule(stage), generator)
            maps.append(cascade.compare(number, means))
            advance(1)
    estimates = means.estimates()
    figures = {
        name: {measure: [estimates[name, measure, number]
                         for number in range(len(stages))]
               for measure in MEASURES}
        for name in cascade.methods.spans
    }
    return Checked(stages, figures, cascade.blank(), cascade.methods.bases,
                   cascade.images[0].path, maps, cascade.objects,
                   len(cascade.images))

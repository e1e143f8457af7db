# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector that loses its weights, and maps of it at every stage."""
from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from mmdet.models.detectors import BaseDetector

from ...apis.image_pipeline import image_pipeline
from ...evaluation.intervals import Means
from ...explainers.engine import (
    Selection,
    check_explainable,
    make_maps,
    trace_image,
)
from ...tracing.detector import DetectorAdapter
from ..similarity import rank_correlation, structural
from .held_detections import HeldDetections
from .methods import CheckedMethods

Maps = dict[str, np.ndarray]


@dataclass
class CascadeImage:
    """An image that has objects.

    Args:
        path (str): Its path.
        data (dict): A batch of it alone.
        held (HeldDetections): What the unchanged detector found.
        boxes (list): The rows and the columns of each object's own box.
        originals (dict): By name, the maps (N, H, W) of the unchanged
            detector.
    """
    path: str
    data: dict
    held: HeldDetections
    boxes: list[tuple[slice, slice]]
    originals: Maps = field(default_factory=dict)


class Cascade:
    """The images with the maps of the unchanged detector, and a copy of the
    detector that can be changed; see
    :func:`~mmdet_diffmap.lab.sanity.check_sanity`.

    Args:
        model (BaseDetector): The detector.
        images (Sequence[str]): Paths or URLs.
        methods (CheckedMethods): The methods.
        selection (Selection): Which detections are objects.

    Attributes:
        model (BaseDetector): The copy.
        images (list[CascadeImage]): Those with objects.
    """

    def __init__(self, model: BaseDetector, images: Sequence[str],
                 methods: CheckedMethods, selection: Selection) -> None:
        self.model = copy.deepcopy(model)
        self.methods = methods
        self.selection = selection
        check_explainable(model, list(methods.differences.values()))
        self.images: list[CascadeImage] = []
        for path in images:
            image = self._find_objects(path)
            if image.boxes:
                image.originals = dict(self.maps(image))
                self.images.append(image)

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(len(image.boxes) for image in self.images)

    def _find_objects(self, path: str) -> CascadeImage:
        data = image_pipeline(self.model)(path).batch
        held = HeldDetections()
        with held.recorded(self.model):
            trace = self.selection(
                DetectorAdapter(self.model, None).trace(data))
        return CascadeImage(path, data, held, [
            slices_of(box, trace.frame.image_shape)
            for box in trace.detections.bboxes.tolist()
        ])

    def maps(self, image: CascadeImage) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the maps (N, H, W) of one image with their names."""
        differences = self.methods.differences
        traces = trace_image(self.model, image.data, 0,
                             list(differences.values()), self.selection)
        for method, difference in differences.items():
            with image.held.held(self.model):
                trace = next(traces)
            heatmaps = make_maps(difference.explainer, trace).heatmaps
            for name, maps in self.methods.maps(method, heatmaps).items():
                yield name, maps.cpu().numpy()

    def compare(self, stage: int, means: Means) -> Maps:
        """Compare the maps with what they were.

        Args:
            stage (int): How many parts have lost their weights.
            means (Means): Gets the similarities, by map, measure and stage.

        Returns:
            dict: By name, the map (H, W) of the first object of the first
            image.
        """
        first: Maps = {}
        for image in self.images:
            for name, maps in self.maps(image):
                first.setdefault(name, maps[0])
                pairs = list(zip(image.originals[name], maps))
                means.add((name, 'rank_correlation', stage), [
                    none_for_nan(rank_correlation(original, heatmap))
                    for original, heatmap in pairs])
                means.add((name, 'rank_correlation_in_box', stage), [
                    none_for_nan(rank_correlation(original[box],
                                                  heatmap[box]))
                    for (original, heatmap), box in zip(pairs, image.boxes)])
                means.add((name, 'ssim', stage), [
                    structural(original, heatmap, self.methods.spans[name])
                    for original, heatmap in pairs])
        return first

    def blank(self) -> dict[str, float]:
        """Return by name the mean SSIM of the unchanged detector's maps with
        a map of zeros."""
        return {
            name: float(np.mean([
                structural(heatmap, np.zeros_like(heatmap), span)
                for image in self.images for heatmap in image.originals[name]
            ])) for name, span in self.methods.spans.items()
        }


def slices_of(box: Sequence[float],
              size: Sequence[int]) -> tuple[slice, slice]:
    """Return the rows and columns of a box in an image; at least one of each.

    >>> slices_of((2.6, 1.2, 7.9, 4.), (10, 20))
    (slice(1, 4, None), slice(2, 7, None))

    Args:
        box (Sequence[float]): (x1, y1, x2, y2) in pixels.
        size (Sequence[int]): Height and width of the image.
    """
    x1, y1, x2, y2 = map(int, box)
    height, width = size
    top, left = min(max(y1, 0), height - 1), min(max(x1, 0), width - 1)
    return slice(top, max(y2, top + 1)), slice(left, max(x2, left + 1))


def none_for_nan(value: float) -> float | None:
    """Return the value, None for NaN."""
    return None if math.isnan(value) else value

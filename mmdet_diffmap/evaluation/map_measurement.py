# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The quantities of the maps of one image."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .curves import DIGITS
from .localization import box_regions
from .map_metrics import MAP_METRICS, MapMetric, Regions
from .objects import ImageObjects
from .stopwatch import Stopwatch


class MapMeasurement:
    """Measures maps by what is annotated of an image.

    Args:
        objects (ImageObjects): The objects.
        groups (Sequence[str]): Some names of ``MAP_METRICS``.
        watch (Stopwatch): Of the stage ``map metrics``.
    """

    def __init__(self, objects: ImageObjects, groups: Sequence[str],
                 watch: Stopwatch) -> None:
        self.objects = objects
        self.watch = watch
        self.values: dict[str, dict[str, dict[str, list[float | None]]]] = {
            name: {} for name in groups}
        size = objects.frame.image_shape
        with watch.stage('map metrics'):
            self.regions = Regions(objects.truth, size,
                                   objects.input.image.device)
            # of the detections' own boxes, bool (N, H, W)
            self.boxes = box_regions(objects.detections.bboxes, *size)

    def add(self, method: str, maps: Tensor) -> None:
        """Measure the maps of a method; of difference maps the positive part.

        Args:
            method (str): The name of the method.
            maps (Tensor): In the original image, shape (N, H, W).
        """
        with self.watch.stage('map metrics'):
            for group, values in self.values.items():
                values[method] = self._measure(MAP_METRICS[group],
                                               maps.relu())

    def result(self) -> dict[str, Any]:
        """Return, by group, method and quantity, the value of every object,
        ready for JSON."""
        return dict(self.values)

    def _measure(self, metric: MapMetric,
                 maps: Tensor) -> dict[str, list[float | None]]:
        rows = [
            metric(heatmap, own, self.regions, box, DIGITS) for heatmap, own,
            box in zip(maps, self.objects.own, self.boxes)
        ]
        return {name: [row[name] for row in rows]
                for name in metric.quantities}

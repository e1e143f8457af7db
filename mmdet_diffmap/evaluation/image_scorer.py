# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""All that is measured of one image: its objects, their maps, and what the
detector finds behind changed pixels."""
from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from ..explainers.engine import make_maps, trace_image
from ..tracing.trace import Trace
from .deletion_insertion import DeletionInsertion
from .forward_passes import ForwardPasses
from .ground_truth import GroundTruth
from .map_measurement import MapMeasurement
from .map_metrics import MAP_METRICS
from .objects import ImageObjects, ObjectChoice
from .protocol import Methods, Protocol
from .stopwatch import Stopwatch

#: What the journal says of an image, in this order.
ENTRY = ('objects', 'untouched', *MAP_METRICS, 'scores')
#: What gets the maps of one method after the other.
Measurement = MapMeasurement | DeletionInsertion


class ImageScorer:
    """Measures explanations, image by image.

    Args:
        model (BaseModel): The detector.
        methods (Methods): The explanation methods.
        protocol (Protocol): What is measured.
        batch_size (int): So many changed images go through the detector at
            once; see :class:`ForwardPasses`.
        profile (bool): Run each batch a second time, to know what the bare
            forward passes take.
    """

    def __init__(self,
                 model: BaseModel,
                 methods: Methods,
                 protocol: Protocol,
                 batch_size: int = 16,
                 profile: bool = False) -> None:
        self.model = model
        self.methods = methods
        self.protocol = protocol
        self.forward = ForwardPasses(model, batch_size, protocol.amp)
        self.profile = profile
        self.watch = Stopwatch(
            model.data_preprocessor.device if profile else None)

    def __call__(self, data: dict, truth: GroundTruth,
                 image_id: Hashable) -> tuple[InstanceData, dict[str, Any]]:
        """Measure one image.

        Args:
            data (dict): A batch of this image alone.
            truth (GroundTruth): Its annotated objects.
            image_id (Hashable): Seeds the noise.

        Returns:
            tuple: The objects, and what was measured of them, ready for JSON:
            ``objects``, see :class:`ObjectRecord`; and, if there are enough
            of them, what :class:`MapMeasurement` and
            :class:`DeletionInsertion` give.

        Raises:
            FloatingPointError: If maps or scores are not finite.
            MemoryError: If a single image does not fit.
        """
        least = self.protocol.min_objects
        if len(truth) < least:
            return no_objects(), dict(objects=[])
        objects, traces = self._detect(data, truth)
        figures: dict[str, Any] = dict(objects=objects.as_json())
        if len(objects) >= least:
            measurements = self._measurements(objects, data, image_id)
            self._add_maps(traces, measurements)
            for measurement in measurements:
                figures.update(measurement.result())
        return objects.detections, {
            name: figures[name] for name in ENTRY if name in figures}

    def _detect(self, data: dict, truth: GroundTruth
                ) -> tuple[ImageObjects, Iterator[Trace]]:
        """Return the objects, and the traces of them for the groups of
        methods."""
        choice = ObjectChoice(truth, self.protocol)
        traces = trace_image(self.model, data, 0, self.methods.explainers,
                             choice)
        with self.watch.stage('detect'):
            waiting = [next(traces)]
        return choice.objects_of(waiting[0]), hand_on(waiting, traces)

    def _measurements(self, objects: ImageObjects, data: dict,
                      image_id: Hashable) -> list[Measurement]:
        """Begin what the protocol asks for."""
        measurements: list[Measurement] = []
        if self.protocol.map_metrics:
            measurements.append(
                MapMeasurement(objects, self.protocol.map_metrics,
                               self.watch))
        if 'del_ins' in self.protocol.metrics:
            measurements.append(
                DeletionInsertion(objects, data, image_id, self.protocol,
                                  self.forward, self.watch, self.profile))
        return measurements

    def _add_maps(self, traces: Iterator[Trace],
                  measurements: list[Measurement]) -> None:
        """Make the maps of one method after the other, and measure them."""
        for group in self.methods.groups:
            with self.watch.stage('explain'):
                heatmaps = make_maps(group.explainer,
                                     next(traces)).heatmaps
                heatmaps = heatmaps.float()
            for method in group.methods:
                with self.watch.stage('explain'):
                    maps = method.maps(heatmaps)
                    if maps.isnan().any():
                        raise FloatingPointError(
                            f'a map of {method.name} holds NaN')
                for measurement in measurements:
                    measurement.add(method.name, maps)


def hand_on(waiting: list[Trace],
            later: Iterator[Trace]) -> Iterator[Trace]:
    """Yield the trace in a list, which is taken out of it, and then all later
    ones; none is kept here, so that its graph is free when its maps are
    made."""
    yield waiting.pop()
    yield from later


def no_objects() -> InstanceData:
    """Return no detections."""
    return InstanceData(
        bboxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.long))

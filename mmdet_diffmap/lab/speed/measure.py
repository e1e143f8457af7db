# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Times and memory of explanations, side by side with a forward pass and with
the naive loop."""
from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample

from ...explainers import Explainer
from ...tracing.detector import DetectorAdapter
from ...tracing.heads import WholeRun
from ...tracing.measuring import clock, peak_memory
from ...tracing.trace import Trace
from .operations import Operations, count_operations
from .planting import planted


@dataclass(frozen=True)
class Speed:
    """What was measured for one number of objects; times in seconds, each the
    median of the repetitions.

    Args:
        objects (int): How many objects were explained.
        trace (float): Forward pass that can be explained.
        explain (float): All that comes after it: gradients and maps.
        naive (float): The same with the naive loop.
        naive_objects (int): For how many objects the naive loop ran; its time
            is scaled up to ``objects`` if it is fewer.
        forward (float): The detector's own forward pass.
        memory (int): Bytes of all tensors, weights too, at the peak.
        forward_memory (int): The same for the detector's own forward pass.
        difference (float): The largest difference between any pixel of a map
            and that of the naive loop, for ``naive_objects`` objects.
        differences (list[float]): The same for each object.
    """
    objects: int
    trace: float
    explain: float
    naive: float
    naive_objects: int
    forward: float
    memory: int
    forward_memory: int
    difference: float
    differences: list[float]

    @property
    def against_naive(self) -> float:
        """How many times as fast as the naive loop."""
        return self.naive / self.explain

    @property
    def against_forward(self) -> float:
        """The time of the explanation as a share of a forward pass."""
        return self.explain / self.forward

    def as_dict(self) -> dict[str, Any]:
        """Return all of this for a JSON file; None for what was not
        measured."""
        figures = dict(
            asdict(self),
            against_naive=self.against_naive,
            against_forward=self.against_forward,
            memory_against_forward=self.memory / self.forward_memory)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else
            value
            for name, value in figures.items()
        }


@dataclass(frozen=True)
class CountedOperations:
    """The operations of an explanation.

    Args:
        objects (int): How many objects were explained.
        forward (Operations): Of the detector's own forward pass.
        trace (Operations): What a forward pass that can be explained adds to
            it.
        explain (Operations): Of all that comes after it.
    """
    objects: int
    forward: Operations
    trace: Operations
    explain: Operations

    @property
    def total(self) -> int:
        """All of them, the forward pass too."""
        return self.forward.total + self.trace.total + self.explain.total


@dataclass(frozen=True)
class Bench:
    """The measurement of a detector on an image with planted objects.

    The naive loop gives the true gradient, whatever the explainer's
    ``statistics``.

    Args:
        model (BaseDetector): The detector.
        data (dict): A batch of one image; see :func:`input_batch`.
        boxes (np.ndarray): The objects; see :func:`coco_boxes`.
        repeat (int): Each time is the median of so many.
        naive_objects (int): The naive loop runs for at most so many objects;
            0 leaves it out.
    """
    model: BaseDetector
    data: dict
    boxes: np.ndarray
    repeat: int = 3
    naive_objects: int = 10

    def measure(self, explainer: Explainer,
                counts: Sequence[int]) -> Iterator[Speed]:
        """Measure an explainer for several numbers of objects."""
        adapter = DetectorAdapter(self.model, explainer.target_layer,
                                  explainer.statistics)
        forward, _ = self._timed(self._forward)
        forward_memory = self._peak(self._forward)
        naive: dict[int, tuple[float, list[float]]] = {
            0: (float('nan'), [float('nan')])
        }
        for count in counts:
            self._explain(adapter, explainer, count)  # probes and caches
            trace_time, trace = self._timed(self._trace, adapter, count)
            time, _ = self._timed(explainer, trace)
            del trace
            memory = self._peak(self._explain, adapter, explainer, count)
            few = min(count, self.naive_objects)
            if few not in naive:
                naive[few] = self._naive(adapter, explainer, few)
            naive_time, differences = naive[few]
            yield Speed(
                objects=count,
                trace=trace_time,
                explain=time,
                naive=naive_time * count / max(few, 1),
                naive_objects=few,
                forward=forward,
                memory=memory,
                forward_memory=forward_memory,
                difference=max(differences),
                differences=differences if few else [])

    def operations(self, explainer: Explainer,
                   counts: Sequence[int]) -> Iterator[CountedOperations]:
        """Count the operations of an explanation for several numbers of
        objects."""
        adapter = DetectorAdapter(self.model, explainer.target_layer,
                                  explainer.statistics)
        for count in counts:
            self._explain(adapter, explainer, count)  # probes and caches
            with planted(self.model, self.boxes[:count],
                         input_shape(self.data)):
                forward = count_operations(self._forward)
            traced = count_operations(self._trace, adapter, count)
            explained = count_operations(
                explainer, self._trace(adapter, count))
            yield CountedOperations(count, forward, traced - forward,
                                    explained)

    def _naive(self, adapter: DetectorAdapter, explainer: Explainer,
               count: int) -> tuple[float, list[float]]:
        """Return the time of the naive loop, and for each object the largest
        difference between its map and ours."""
        trace = self._trace(adapter, count, naive=True)
        time, exact = self._timed(explainer, trace)
        ours = explainer(self._trace(adapter, count))
        return time, (ours - exact).abs().flatten(1).amax(dim=1).tolist()

    def _forward(self) -> None:
        with torch.no_grad():
            self.model.test_step(self.data)

    def _trace(self,
               adapter: DetectorAdapter,
               count: int,
               naive: bool = False) -> Trace:
        run = WholeRun(self.model) if naive else None
        with planted(self.model, self.boxes[:count], input_shape(self.data)):
            trace = adapter.trace(self.data, run=run)
        order = trace.detections.scores.argsort(descending=True, stable=True)
        trace = trace.select(order[:count])
        if len(trace) != count:
            raise ValueError(f'the detector finds {len(trace)} objects where '
                             f'{count} were planted: two may lie at one '
                             'place, so choose others by another seed')
        return trace

    def _explain(self, adapter: DetectorAdapter, explainer: Explainer,
                 count: int) -> None:
        explainer(self._trace(adapter, count))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _timed(self, work: Callable, *args: Any) -> tuple[float, Any]:
        """Return the median time of some work, and its last result."""
        times = []
        for _ in range(self.repeat):
            started = clock(self._device)
            result = work(*args)
            times.append(clock(self._device) - started)
        return statistics.median(times), result

    def _peak(self, work: Callable, *args: Any) -> int:
        """Return the bytes of all tensors, the weights too, while some work
        is done."""
        weights = sum(
            weight.numel() * weight.element_size()
            for weight in [*self.model.parameters(), *self.model.buffers()])
        with peak_memory(self._device) as peak:
            work(*args)
        return weights + peak.bytes


def input_batch(image: np.ndarray, input_size: tuple[int, int]) -> dict:
    """Make a batch of one image, resized to a size whatever its aspect ratio.

    Args:
        image (np.ndarray): uint8 BGR, shape (H, W, 3).
        input_size (tuple): Height and width.

    >>> data = input_batch(np.zeros((30, 40, 3), np.uint8), (90, 80))
    >>> data['inputs'][0].shape
    torch.Size([3, 90, 80])
    """
    height, width = input_size
    sample = DetDataSample(
        metainfo=dict(
            img_id=0,
            img_path='',
            ori_shape=image.shape[:2],
            img_shape=input_size,
            scale_factor=(width / image.shape[1], height / image.shape[0])))
    resized = cv2.resize(image, (width, height))
    return dict(
        inputs=[torch.from_numpy(resized).permute(2, 0, 1).contiguous()],
        data_samples=[sample])


def input_shape(data: dict) -> tuple[int, int]:
    """Return height and width of the image in a batch of one."""
    height, width = data['inputs'][0].shape[-2:]
    return height, width

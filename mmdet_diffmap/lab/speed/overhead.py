# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What D-RISE costs beyond the detector's forward passes, and how much of
its maps is chance."""
from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector

from ...explainers import DRISE
from ...explainers.engine import DEFAULT_SELECTION, Selection
from ...explainers.random_masks import MaskedImage, RandomMasks
from ...tracing.detector import DetectorAdapter
from ...tracing.measuring import clock, peak_memory
from ...tracing.modes import evaluation_mode
from ...tracing.trace import Trace


@dataclass(frozen=True)
class Overhead:
    """Times in seconds, each the median of the repetitions.

    Args:
        objects (int): How many objects were explained.
        masks (int): How many masked images the detector saw.
        bare (float): Its forward passes alone, in the same batches.
        explain (float): All of D-RISE, masks and finished maps included.
        ratio (float): ``explain / bare``, the median of the pairs.
        memory (int): Bytes of all tensors at the peak, beyond those that were
            there before.
        reliability (float): See :meth:`DRISE.reliabilities`; the mean of the
            objects.
    """
    objects: int
    masks: int
    bare: float
    explain: float
    ratio: float
    memory: int
    reliability: float

    def as_dict(self) -> dict[str, Any]:
        """Return all of this for a JSON file."""
        return asdict(self)


def measure_overhead(model: BaseDetector,
                     data: dict,
                     explainer: DRISE,
                     selection: Selection = DEFAULT_SELECTION,
                     repeat: int = 3) -> Overhead:
    """Time D-RISE and the bare forward passes of the same masked images in
    turn.

    Args:
        model (BaseDetector): The detector.
        data (dict): A batch of one image.
        explainer (DRISE): The method, without ``max_masks``.
        selection (Selection): Which detections are explained.
        repeat (int): How often.

    Raises:
        ValueError: If nothing is detected, or the number of masks is open.
    """
    if explainer.max_masks is not None:
        raise ValueError('the number of masks must be fixed: leave out '
                         'max_masks')
    trace = selection(DetectorAdapter(model, None).trace(data))
    if not len(trace):
        raise ValueError('the detector finds no object above the score '
                         f'threshold of {selection.score_thr}')
    device = trace.outputs.device
    bare_forwards(model, data, trace, explainer, explainer.batch_size)
    pairs = []
    for _ in range(repeat):
        bare = bare_forwards(model, data, trace, explainer, explainer.masks)
        started = clock(device)
        explainer(trace)
        pairs.append((bare, clock(device) - started))
    with peak_memory(device) as peak:
        explainer(trace)
    halves = explainer.masked_sums(trace, 2)
    return Overhead(
        objects=len(trace),
        masks=explainer.masks,
        bare=statistics.median(bare for bare, _ in pairs),
        explain=statistics.median(explain for _, explain in pairs),
        ratio=statistics.median(explain / bare for bare, explain in pairs),
        memory=peak.bytes,
        reliability=statistics.fmean(explainer.reliabilities(*halves)))


def bare_forwards(model: BaseDetector, data: dict, trace: Trace,
                  explainer: DRISE, count: int) -> float:
    """Return the seconds that mmdet takes to predict the objects of ``count``
    masked images; making these is not counted."""
    image = MaskedImage(trace.input, trace.frame)
    masks = RandomMasks(explainer.grid, explainer.probability, explainer.seed)
    _, sample = DetectorAdapter(model, None).preprocess(data, 0)
    seconds = 0.
    with torch.no_grad(), evaluation_mode(model):
        for first in range(0, count, explainer.batch_size):
            images = image.behind(
                masks.draw(
                    min(explainer.batch_size, count - first), image.content))
            samples = [sample.clone() for _ in images]
            started = clock(images.device)
            with torch.autocast(images.device.type, enabled=explainer.amp):
                model(images, samples, mode='predict')
            seconds += clock(images.device) - started
    return seconds

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One config of the zoo: is it explained, and are the gradients right?"""
from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..checkpoint import first_line
from ..detector import DetectorAdapter
from ..explainers import ODAM
from ..gradients import (
    DenseGradients,
    RoIGradients,
    Upstream,
    WholeGradients,
    WindowGradients,
)
from ..heads import WholeRun
from ..trace import OUTPUTS, Trace
from .small import DETECTIONS, random_batch, random_detector, shrink

#: Height and width of the image; the second where the detector itself needs
#: more, such as 900 queries from as many places.
SIZES = (192, 256), (384, 512)
TOLERANCE = 1e-3  # of a gradient, as a share of its largest element
STRATEGIES = {
    WindowGradients: 'window',
    RoIGradients: 'roi',
    DenseGradients: 'dense',
    WholeGradients: 'whole',
}


@dataclass
class Checked:
    """What became of one config.

    Args:
        config (str): Its path.
        status (str): ``works``, ``needs`` what is not installed, or
            ``fails``.
        reason (str): What is needed, or what failed.
        strategy (str): How gradients were found, see ``STRATEGIES``.
        outputs (list[str]): The outputs that have a gradient.
        seconds (float): For ODAM of all outputs of ``DETECTIONS`` objects.
        difference (float): Largest difference to the gradients of the whole
            prediction, as a share of a gradient's largest element.
        size (list[int]): Height and width of the image.
    """
    config: str
    status: str = 'works'
    reason: str = ''
    strategy: str = ''
    outputs: Sequence[str] = ()
    seconds: float = math.nan
    difference: float = math.nan
    size: Sequence[int] = ()


class WrongError(Exception):
    """A map is not what it should be."""


def check_config(path: Path) -> Checked:
    """Explain the objects that a small random detector finds.

    Whatever goes wrong in the detector or in explaining it is the result.
    """
    checked = Checked(str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            check(checked, path)
    except ImportError as error:
        checked.status = 'needs'
        checked.reason = f'the package {missing_package(error)}'
    except Exception as error:  # foreign code of a hundred models
        compiled = 'needs a compiled mmcv' in str(error)
        checked.status = 'needs' if compiled else 'fails'
        checked.reason = 'a compiled mmcv' if compiled else \
            f'{type(error).__name__}: {first_line(error)}'
    return checked


def missing_package(error: BaseException | None) -> str:
    """The name of what could not be imported; mmengine hides it behind an
    error of its own."""
    named = ''
    while error is not None:
        named = getattr(error, 'name', None) or named or first_line(error)
        error = error.__cause__ or error.__context__
    return named.partition('.')[0]


def check(checked: Checked, path: Path) -> None:
    """Fill in what is found out, as far as it goes.

    Raises:
        Exception: Whatever the detector raises.
        WrongError: If a map is wrong.
    """
    model, data, checked.size = first_that_predicts(path)
    adapter = DetectorAdapter(model)
    start = time.perf_counter()
    trace = adapter.trace(data).select(slice(DETECTIONS))
    checked.strategy = strategy_of(trace)
    checked.outputs = [output for output in OUTPUTS if not trace.lost(output)]
    trace = adapter.trace(data).select(slice(DETECTIONS))
    start = time.perf_counter()
    heatmaps = ODAM(outputs=checked.outputs)(trace)
    checked.seconds = time.perf_counter() - start
    check_heatmaps(heatmaps, trace)
    naive = adapter.trace(data, run=WholeRun(adapter.model))
    checked.difference = largest_difference(
        trace, naive.select(slice(DETECTIONS)), checked.outputs)
    if not checked.difference <= TOLERANCE:
        raise WrongError('gradients differ from those of the whole prediction '
                         f'by {checked.difference:.1g}')


def first_that_predicts(
        path: Path) -> tuple[nn.Module, dict[str, Any], Sequence[int]]:
    """A detector, a batch and the smallest size of the image at which it finds
    something, unexplained.

    Raises:
        Exception: What it raises at the largest size.
        WrongError: If it finds nothing there either.
    """
    for size in SIZES:
        try:
            cfg = Config.fromfile(path)
            shrink(cfg, size)
            model = random_detector(cfg)
            data = random_batch(model, size)
            found = DetectorAdapter(model, None).trace(data)
            if not len(found):
                raise WrongError('random weights find nothing')
            return model, data, size
        except (RuntimeError, IndexError, ValueError, WrongError):
            if size == SIZES[-1]:
                raise
    raise AssertionError('no sizes')


def strategy_of(trace: Trace) -> str:
    """The name of the way in which a trace finds gradients."""
    source: Any = trace.source
    if isinstance(source, Upstream):
        source = source.source
    return STRATEGIES[type(source)]


def check_heatmaps(heatmaps: Tensor, trace: Trace) -> None:
    """Raise a WrongError unless each object has a map of the image's size,
    finite, in [0, 1] and not zero."""
    expected = (len(trace), *trace.frame.image_shape)
    if heatmaps.shape != expected:
        raise WrongError(f'maps have shape {tuple(heatmaps.shape)}, not '
                         f'{expected}')
    if not heatmaps.isfinite().all():
        raise WrongError('a map is not finite')
    if heatmaps.amin() < 0 or heatmaps.amax() > 1:
        raise WrongError('a map leaves [0, 1]')
    if (heatmaps.amax(dim=(1, 2)) == 0).any():
        raise WrongError('an object has an empty map')


def largest_difference(trace: Trace, naive: Trace,
                       outputs: Sequence[str]) -> float:
    """The largest difference of the gradients of two traces of one image, as
    a share of the largest element of each gradient.

    Raises:
        WrongError: If they do not have the same detections, or a score has no
            gradient.
    """
    if not torch.equal(trace.outputs, naive.outputs):
        raise WrongError('the detections are not those of the detector')
    ours, theirs = (gradients(one, outputs) for one in (trace, naive))
    worst = 0.0
    for key, expected in theirs.items():
        scale = max((float(one.abs().max()) for one in expected.values()),
                    default=0.0)
        if key[1] == 'score' and not scale:
            raise WrongError('a score has no gradient')
        for level in {**expected, **ours[key]}:
            zero = torch.zeros(())
            off = ours[key].get(level, zero) - expected.get(level, zero)
            # all of what should be nothing is wrong
            worst = max(worst, float(off.abs().max()) / (scale or 1.0))
    return worst


def gradients(trace: Trace, outputs: Sequence[str]
              ) -> dict[tuple[int, str], dict[int, Tensor]]:
    """Gradients of whole levels, by detection and output, and level."""
    return {(one.detection, one.output):
            {level.level: level.whole() for level in one.levels}
            for one in trace.gradients(outputs)}

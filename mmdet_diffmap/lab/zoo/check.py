# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One config of the zoo: is it explained, and are the gradients right?"""
from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...explainers import ODAM
from ...io.checkpoint import first_line
from ...tracing.detector import DetectorAdapter
from ...tracing.gradients import (
    CoupledGradients,
    DenseGradients,
    PooledGradients,
    RoIGradients,
    Upstream,
    WholeGradients,
    WindowGradients,
)
from ...tracing.heads import WholeRun
from ...tracing.trace import MASK, OUTPUTS, Trace, whole_gradients
from .masks import largest, mask_difference, spread
from .small import calibrate, random_batch, random_detector, shrink

#: Height and width of the image; the second where the detector itself needs
#: more, such as 900 queries from as many places.
SIZES = (192, 256), (384, 512)
DETECTIONS = 3
#: Of a gradient, as a share of its largest element, in single and in double
#: precision.
TOLERANCES = (1e-3, 1e-6)
STRATEGIES = {
    WindowGradients: 'window',
    RoIGradients: 'roi',
    PooledGradients: 'pooled',
    CoupledGradients: 'coupled',
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
        mask (float): The same of the output ``mask``; NaN where there is
            none.
        no_mask (str): Why there is none of a detector with masks.
        double (bool): Whether those were compared in double precision.
        size (list[int]): Height and width of the image.
    """
    config: str
    status: str = 'works'
    reason: str = ''
    strategy: str = ''
    outputs: Sequence[str] = ()
    seconds: float = math.nan
    difference: float = math.nan
    mask: float = math.nan
    no_mask: str = ''
    double: bool = False
    size: Sequence[int] = ()


class WrongError(Exception):
    """A map is not what it should be."""


class HostError(Exception):
    """A detector does not predict, explained or not."""


def check_config(path: Path,
                 sizes: Sequence[tuple[int, int]] = SIZES) -> Checked:
    """Explain the objects that a small random detector finds.

    Whatever goes wrong in the detector or in explaining it is the result.

    Args:
        path (Path): The config.
        sizes (Sequence): Heights and widths of the image, the first at which
            the detector finds something is taken.
    """
    checked = Checked(str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            check(checked, path, sizes)
    except Exception as error:  # foreign code of a hundred models
        checked.status, checked.reason = judge(error)
    return checked


def judge(error: Exception) -> tuple[str, str]:
    """Return status and reason where an error was raised. What could not be
    imported is behind mmengine's own errors."""
    if 'needs a compiled mmcv' in str(error):
        return 'needs', 'a compiled mmcv'
    cause: BaseException | None = error
    missing = ''
    while cause is not None:
        if isinstance(cause, ImportError):
            missing = (cause.name or '').partition('.')[0] or missing or \
                str(cause)
        cause = cause.__cause__ or cause.__context__
    if missing:
        return 'needs', f'a package: {missing}'
    if isinstance(error, (WrongError, HostError)):
        return 'fails', first_line(error)
    return 'fails', f'{type(error).__name__}: {first_line(error)}'


def check(checked: Checked, path: Path,
          sizes: Sequence[tuple[int, int]]) -> None:
    """Fill in what becomes of a config, as far as it goes.

    Raises:
        Exception: Whatever is raised in the config's modules.
        HostError: If the detector does not predict.
        WrongError: If a map is wrong.
    """
    model, data, plain, checked.size = first_that_predicts(path, sizes)
    adapter = DetectorAdapter(model)
    chosen = explainable_detections(
        adapter.trace(data, run=WholeRun(adapter.model)))
    trace = adapter.trace(data)
    check_detections(trace, plain)
    trace = trace.select(chosen)
    checked.strategy = strategy_of(trace)
    kinds = OUTPUTS[:1], OUTPUTS[1:]  # score, box
    checked.outputs = [output for kind in kinds if not trace.lost(kind[0])
                       for output in kind]
    start = time.perf_counter()
    trace = adapter.trace(data).select(chosen)
    heatmaps = ODAM(outputs=checked.outputs)(trace)
    checked.seconds = time.perf_counter() - start
    check_heatmaps(heatmaps, trace)
    checked.double = runs_in_double(adapter, data, len(plain))
    with in_double(adapter) if checked.double else nullcontext():
        trace = adapter.trace(data).select(chosen)
        naive = adapter.trace(data, run=WholeRun(adapter.model))
        checked.difference = largest_difference(
            trace, naive.select(chosen), checked.outputs)
        checked.mask, checked.no_mask = mask_difference(adapter, data, chosen)
    if not checked.difference <= TOLERANCES[checked.double]:
        raise WrongError('gradients differ from those of the whole prediction '
                         f'by {checked.difference:.1g}')
    if checked.mask > TOLERANCES[checked.double]:
        raise WrongError('gradients of masks differ from those of the whole '
                         f'prediction by {checked.mask:.1g}')


def explainable_detections(naive: Trace) -> list[int]:
    """Return the first detections whose score depends on the features at all:
    a score of random weights can be 1 but for rounding, or that of a proposal
    outside of the image.

    Of those that come from masks also the last and the middle one: segments
    are in the order of their numbers, all stuff before the first thing.

    Raises:
        WrongError: If there are none.
    """
    chosen: list[int] = []
    for detection in range(len(naive)) if naive.own_boxes else spread(
            len(naive)):
        if any(level.gradients.any()
               for gradients in naive.select([detection]).gradients(['score'])
               for level in gradients.levels):
            chosen.append(detection)
        if len(chosen) == DETECTIONS:
            break
    if not chosen:
        raise WrongError('no score has a gradient')
    return sorted(chosen)


@contextmanager
def in_double(adapter: DetectorAdapter) -> Iterator[None]:
    """Compute in double precision in this context. In single precision, two
    ways to the same gradient can differ wherever a rectifier's input is zero
    but for rounding."""

    def convert(module: nn.Module, args: Any, output: Any) -> Any:
        return dict(output, inputs=output['inputs'].double())

    adapter.model.double()
    hook = adapter.model.data_preprocessor.register_forward_hook(convert)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        hook.remove()
        adapter.model.float()


def runs_in_double(adapter: DetectorAdapter, data: dict[str, Any],
                   count: int) -> bool:
    """Whether a detector that finds so many objects in single precision does
    so in double."""
    with in_double(adapter):
        try:
            trace = adapter.trace(data)
            if trace.masks is not None:
                list(trace.select([0]).gradients([MASK]))
            return len(trace) == count
        except Exception:  # as above
            return False


def first_that_predicts(
    path: Path, sizes: Sequence[tuple[int, int]]
) -> tuple[nn.Module, dict[str, Any], InstanceData, Sequence[int]]:
    """Return a detector, a batch, what it finds there, unexplained, and the
    first size of the image at which it finds something.

    Raises:
        HostError: If it does not at any size.
    """
    reason = ''
    for size in sizes:
        cfg = Config.fromfile(path)
        shrink(cfg, size)
        model = random_detector(cfg)
        data = random_batch(model, size)
        try:
            calibrate(model, data)
            detections = DetectorAdapter(model, None).trace(data).detections
            if len(detections):
                return model, data, detections, size
            reason = 'random weights find nothing'
        except Exception as error:  # as above
            reason = 'the detector itself raises ' \
                f'{type(error).__name__}: {first_line(error)}'
    raise HostError(reason)


def strategy_of(trace: Trace) -> str:
    """Return the name of the way in which a trace finds gradients."""
    source: Any = trace.source
    if isinstance(source, Upstream):
        source = source.source
    return STRATEGIES[type(source)]


def check_detections(trace: Trace, plain: InstanceData) -> None:
    """Raise a WrongError unless a trace has those detections, to the bit."""
    detections = trace.detections
    if not all(torch.equal(detections[name], plain[name])
               for name in ('bboxes', 'scores', 'labels')):
        raise WrongError('the detections are not those of the detector')


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
    """Return the largest difference of the gradients of two traces of one
    image, as a share of the largest element of each gradient.

    Raises:
        WrongError: If they do not have the same detections, or a score has no
            gradient.
    """
    check_detections(trace, naive.detections)
    ours, theirs = (whole_gradients(each.gradients(outputs))
                    for each in (trace, naive))
    worst = 0.0
    for key in itertools.product(range(len(trace)), outputs):
        given, expected = ours.get(key, {}), theirs.get(key, {})
        scale = largest(expected.values())
        if key[1] == 'score' and not scale:
            raise WrongError('a score has no gradient')
        for level in {**expected, **given}:
            zero = torch.zeros(())
            off = given.get(level, zero) - expected.get(level, zero)
            # all of what should be nothing is wrong
            worst = max(worst, largest([off]) / (scale or 1.0))
    return worst

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The heads of mmdet's detectors, and cutting the graph at them.

``run.py`` says what a run of a head is; ``rois.py``, ``pooled.py``,
``levels.py`` and ``whole.py`` are its kinds, from the most special to the one
that serves every detector. Which one it is follows from what a detector's
heads do, never from its name. A plugin registers kinds of its own in
``HEAD_RUNS``. ``attached.py`` undoes what the host detaches, ``masks.py`` is
about mask branches.
"""
from __future__ import annotations

from collections.abc import Iterator

from mmdet.models.detectors import BaseDetector
from torch import nn

from ...registry import HEAD_RUNS
from .levels import LevelHeadRun
from .masks import constant_boxes, mask_arguments, without_masks
from .pooled import PooledRun
from .rois import RoIHeadRun
from .run import HeadRun, RunsTwiceError, box_head, proposer_of
from .whole import WholeRun

__all__ = [
    'HeadRun', 'LevelHeadRun', 'PooledRun', 'RoIHeadRun', 'RunsTwiceError',
    'WholeRun', 'box_head', 'constant_boxes', 'cut_heads', 'head_run',
    'head_runs', 'mask_arguments', 'proposer_of', 'without_masks'
]

for _kind in WholeRun, LevelHeadRun, PooledRun, RoIHeadRun:  # oldest first
    HEAD_RUNS.register_module(module=_kind)


def head_run(model: BaseDetector,
             statistics: str = 'exact',
             target: nn.Module | None = None) -> HeadRun:
    """Choose what to do about a detector's head in one run of ``predict``:
    the first of :func:`head_runs`."""
    return next(head_runs(model, statistics, target))


def head_runs(model: BaseDetector,
              statistics: str = 'exact',
              target: nn.Module | None = None) -> Iterator[HeadRun]:
    """Iterate over what can be done about a detector's head in one run of
    ``predict``, each for the case that the one before raises a
    :class:`RunsTwiceError`.

    The kinds in ``HEAD_RUNS`` are asked, the newest first. The oldest,
    ``WholeRun``, takes any detector.

    Args:
        model (BaseDetector): The detector.
        statistics (str): ``exact`` or ``frozen``, see
            :class:`~mmdet_diffmap.explainers.GradientExplainer`.
        target (nn.Module, optional): The target layer.
    """
    for kind in reversed(list(HEAD_RUNS.module_dict.values())):
        run = kind.of(model, statistics, target)
        if run is not None:
            yield run


def cut_heads(model: BaseDetector) -> list[nn.Module]:
    """List the heads whose raw maps become the detections, the last one
    last.

    Raises:
        TypeError: If none is known.
    """
    heads = head_run(model).heads
    if not heads:
        raise TypeError(f'{type(model).__name__} has no head of a known kind, '
                        'whose outputs would have to be changed')
    return heads

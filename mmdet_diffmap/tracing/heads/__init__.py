# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The heads of mmdet's detectors, and cutting the graph at them.

``run.py`` says what a run of a head is; ``rois.py``, ``levels.py`` and
``whole.py`` are its kinds, from the most special to the one that serves every
detector. Which one it is follows from what a detector's heads do, never from
its name. A plugin registers kinds of its own in ``HEAD_RUNS``. ``attached.py``
undoes what the host detaches, ``masks.py`` is about mask branches.
"""
from __future__ import annotations

from mmdet.models.detectors import BaseDetector
from torch import nn

from ...registry import HEAD_RUNS
from .levels import LevelHeadRun
from .masks import constant_boxes, mask_arguments, without_masks
from .rois import RoIHeadRun
from .run import HeadRun, RunsTwiceError, box_head, proposer_of
from .whole import WholeRun

__all__ = [
    'HeadRun', 'LevelHeadRun', 'RoIHeadRun', 'RunsTwiceError', 'WholeRun',
    'box_head', 'constant_boxes', 'cut_heads', 'head_run', 'mask_arguments',
    'proposer_of', 'without_masks'
]

for _kind in WholeRun, LevelHeadRun, RoIHeadRun:  # the last is asked first
    HEAD_RUNS.register_module(module=_kind)


def head_run(model: BaseDetector,
             statistics: str = 'exact',
             target: nn.Module | None = None) -> HeadRun:
    """Choose what to do about a detector's head in one run of ``predict``.

    The kinds in ``HEAD_RUNS`` are asked, the newest first. The oldest,
    ``WholeRun``, takes any detector.

    Args:
        model (BaseDetector): The detector.
        statistics (str): ``exact`` or ``frozen``, see
            :class:`~mmdet_diffmap.explainers.GradientExplainer`.
        target (nn.Module, optional): The target layer.
    """
    runs = (kind.of(model, statistics, target)
            for kind in reversed(HEAD_RUNS.module_dict.values()))
    return next(run for run in runs if run is not None)


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

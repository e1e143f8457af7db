# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..tracing.level_gradients import LevelGradients
from ..tracing.trace import Tolerance, Trace
from .explainer import JOINT, Explainer, Maps


class FeatureExplainer(Explainer):
    """A method that makes maps from features, and needs no gradient's value.

    Gradients only tell which levels of the target layer the score of a
    detection depends on. They are no part of its maps, so that no
    ``tolerance`` matters, and it cannot tell what speaks against a detection:
    :meth:`~mmdet_diffmap.explainers.Explainer.weigh` gives None.

    Args:
        target_layer (str): The module whose feature maps are explained; see
            :class:`GradientExplainer`.
        statistics (str): ``exact`` or ``frozen``. The maps are the same; of
            methods that share it, one run of the detector serves all.
        **kwargs: See :class:`Explainer`.
    """

    def __init__(self,
                 target_layer: str = 'neck',
                 statistics: str = 'exact',
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if statistics not in ('exact', 'frozen'):
            raise ValueError('statistics must be exact or frozen, not '
                             f'{statistics}')
        self.target_layer = target_layer
        self.statistics = statistics

    def __call__(self, trace: Trace) -> Tensor:
        """Make heat maps of all detections, shape (N, H, W), in [0, 1]."""
        return self.maps(trace).heatmaps

    def maps(self, trace: Trace, by_output: bool = False) -> Maps:
        """Make heat maps of all detections; see :meth:`Explainer.maps`."""
        # a caller's mixed precision is none of ours
        with torch.autocast(trace.outputs.device.type, enabled=False):
            grids = self.grid_maps(trace)
        return Maps(self.image_heatmaps(grids, trace),
                    {JOINT: grids} if by_output else {})

    @abstractmethod
    def grid_maps(self, trace: Trace) -> list[GridMaps]:
        """Make the maps of all detections on the levels that their scores
        depend on, not negative."""


def reached_levels(trace: Trace) -> dict[int, list[int]]:
    """Tell which detections have a score that depends on a level: one whose
    gradient is not zero everywhere.

    Returns:
        dict: By the level, those detections in their order.
    """
    found: dict[int, set[int]] = {}
    for gradients in trace.gradients(
            ('score', ), Tolerance(1, True, of_no_value)):
        for level in gradients.levels:
            reached = level.gradients.flatten(1).any(dim=1).tolist()
            found.setdefault(level.windows.level, set()).update(
                detection for detection, any_value in zip(
                    level.windows.detections, reached) if any_value)
        del gradients, level  # before the next are made
    return {level: sorted(detections)
            for level, detections in found.items() if detections}


def of_no_value(level: LevelGradients, output: str) -> Tensor:
    """Say for a :class:`Tolerance` that nothing is made of the values of
    gradients."""
    return torch.zeros_like(level.gradients[:, 0])

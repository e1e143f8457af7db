# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..heatmaps import GridMap, LevelMaps
from ..trace import LevelGradient, OutputGradient, Trace
from .explainer import Explainer


class GradientExplainer(Explainer):
    """A method that makes maps from ``∂Y/∂A``, output by output and level by
    level.

    The maps of several outputs, and those of several levels, are joined by
    the elementwise maximum (Eq. 3).

    Args:
        target_layer (str): The module whose feature maps are explained, as a
            path from the model; see
            :class:`~mmdet_diffmap.target_layer.TargetLayer`.
        statistics (str): How gradients treat the GroupNorm layers of a
            one-stage detector's head. ``exact``, the default: each value of a
            level counts in the layer's mean and variance, so that every cell
            has some influence on every detection. ``frozen``: mean and
            variance are constants; maps are local, and many times faster on
            heads with such layers. Both are the same for heads without.
        **kwargs: See :class:`Explainer`.
    """
    #: The outputs that are explained.
    outputs: Sequence[str] = ('score', )

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
        """Heat maps of all detections, shape (N, H, W), in [0, 1]."""
        joined: list[dict[int, GridMap]] = [{} for _ in range(len(trace))]
        for gradient in trace.gradients(self.outputs):
            levels = joined[gradient.detection]
            for level, output_map in self.output_maps(gradient).items():
                levels[level] = output_map.maximum(levels[level]) \
                    if level in levels else output_map
        return self.image_heatmaps(joined, trace)

    def output_maps(self, gradient: OutputGradient) -> LevelMaps:
        """The map of one output on each level that it depends on."""
        return {
            level.level: self.level_map(level)
            for level in gradient.levels
        }

    @abstractmethod
    def level_map(self, level: LevelGradient) -> GridMap:
        """The map of one output on one level, not negative."""

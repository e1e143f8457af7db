# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps, JointMaps, signed_heatmaps
from ..tracing.level_gradients import LevelGradients
from ..tracing.trace import OutputGradients, Tolerance, Trace
from .explainer import JOINT, Evidence, Explainer


class GradientExplainer(Explainer):
    """A method that makes maps from ``∂Y/∂A``, output by output and level by
    level.

    The maps of several outputs, and those of several levels, are joined by
    the elementwise maximum (Eq. 3).

    Args:
        target_layer (str): The module whose feature maps are explained, as a
            path from the model; see
            :class:`~mmdet_diffmap.tracing.target_layer.TargetLayer`.
        statistics (str): How gradients treat the GroupNorm layers of a
            one-stage detector's head. ``exact``, the default: each value of a
            level counts in the layer's mean and variance, so that every cell
            has some influence on every detection. ``frozen``: mean and
            variance are constants; maps are local, and many times faster on
            heads with such layers. Both are the same for heads without.
        tolerance (float): By how much a map may be off, as a share of its
            peak, where heads with GroupNorm layers are much faster then. With
            0, each output has a pass of its own through the whole head.
        **kwargs: See :class:`Explainer`.
    """
    #: The outputs that are explained.
    outputs: Sequence[str] = ('score', )
    #: Whether the map of each output is normalised by its own peak.
    normalize_outputs: bool = False

    def __init__(self,
                 target_layer: str = 'neck',
                 statistics: str = 'exact',
                 tolerance: float = 0.002,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if statistics not in ('exact', 'frozen'):
            raise ValueError('statistics must be exact or frozen, not '
                             f'{statistics}')
        if not 0 <= tolerance < 1:
            raise ValueError('tolerance must be 0 or more, and less than 1, '
                             f'not {tolerance}')
        self.target_layer = target_layer
        self.statistics = statistics
        self.tolerance = tolerance

    def __call__(self, trace: Trace) -> Tensor:
        """Make heat maps of all detections, shape (N, H, W), in [0, 1]."""
        grids = self.grid_maps(trace, {JOINT: self.outputs})
        return self.image_heatmaps(grids[JOINT], trace)

    def by_output(self, trace: Trace
                  ) -> tuple[Tensor, dict[str, list[GridMaps]]]:
        """Make the heat maps, and keep the grids that they are made of; see
        :meth:`Explainer.by_output`."""
        groups = {JOINT: self.outputs}
        if len(self.outputs) > 1:
            groups |= {output: (output, ) for output in self.outputs}
        grids = self.grid_maps(trace, groups)
        return self.image_heatmaps(grids[JOINT], trace), grids

    def evidence(self, trace: Trace) -> Evidence:
        """Tell what speaks for, and what against, the score of each detection.

        What speaks against a score is the method's map of the score with the
        other sign. Of a method that is linear in the gradients (ODAM,
        Grad-CAM), it is what ReLU leaves out.

        Example:
            >>> from mmdet_diffmap import load_detector
            >>> from mmdet_diffmap.apis.image_pipeline import image_pipeline
            >>> from mmdet_diffmap.explainers import ODAM
            >>> from mmdet_diffmap.tracing.detector import DetectorAdapter
            >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
            >>> batch = image_pipeline(model)('scene://0/2').batch
            >>> trace = DetectorAdapter(model).trace(batch).select([0])
            >>> ODAM().evidence(trace).maps.shape
            torch.Size([1, 192, 192])
        """
        speak_for, speak_against = JointMaps(), JointMaps()
        # `tolerance` is a share of what speaks for, which may be little
        for gradients in trace.gradients(('score', )):
            for level in gradients.levels:
                speak_for.add(self.level_maps(level))
                speak_against.add(self.level_maps(-level))
            del gradients, level  # before the next are made
        grids = speak_for.maps(), speak_against.maps()
        device = trace.outputs.device
        with torch.autocast(device.type, enabled=False):
            maps = signed_heatmaps(*grids, len(trace), trace.frame, device)
        return Evidence(maps, *grids)

    def grid_maps(self, trace: Trace,
                  groups: Mapping[str, Sequence[str]]
                  ) -> dict[str, list[GridMaps]]:
        """Make the maps on grids of several groups of outputs.

        Args:
            trace (Trace): The detections; each gradient is asked for once.
            groups (Mapping): Some of ``outputs`` by a name; they are joined.

        Returns:
            dict: By that name, the maps of all detections on all levels.
        """
        joint = {name: JointMaps() for name in groups}
        one_map = list(groups) == [JOINT] and not self.normalize_outputs
        tolerance = Tolerance(self.tolerance, one_map, self.linear_maps) \
            if self.tolerance else None
        for gradients in trace.gradients(self.outputs, tolerance):
            for maps in self.output_maps(gradients):
                for name, group in groups.items():
                    if gradients.output in group:
                        joint[name].add(maps)
            del gradients  # before the next are made
        return {name: maps.maps() for name, maps in joint.items()}

    def output_maps(self, gradients: OutputGradients) -> list[GridMaps]:
        """Make the maps of an output on each level that it depends on."""
        return [self.level_maps(level) for level in gradients.levels]

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Make what the method's maps of an output are made of, linear in the
        gradients: by this, ``tolerance`` is measured.

        By default ``Σ_k α_k A_k`` with the gradients' means over the level,
        of which most methods make their weights; shape (n, H, W)."""
        return (level.channel_means() @ level.feature.flatten(1)).view(
            -1, *level.windows.grid)

    @abstractmethod
    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Make the maps of an output on one level, not negative."""

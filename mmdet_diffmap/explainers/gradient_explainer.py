# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..maps.heatmaps import (
    GridMaps,
    JointMaps,
    normalize_levels,
    signed_heatmaps,
)
from ..tracing.level_gradients import LevelGradients
from ..tracing.named_outputs import MASK, OUTPUTS, meanings
from ..tracing.trace import (
    OutputGradients,
    Tolerance,
    Trace,
    check_outputs,
)
from .explainer import EVIDENCE, JOINT, Evidence, Explainer, Maps


class GradientExplainer(Explainer):
    """A method that makes maps from ``∂Y/∂A``, output by output and level by
    level.

    The maps of several outputs, and those of several levels, are joined by
    the elementwise maximum (Eq. 3).

    Args:
        outputs (Sequence[str] | str, optional): What is explained: some of
            ``score``, ``x1``, ``y1``, ``x2``, ``y2`` and, of a detector that
            predicts masks, ``mask``, and the outputs of
            :mod:`~mmdet_diffmap.tracing.named_outputs`, such as ``width``,
            ``contrast`` or ``iou:1``; each but ``mask`` also with a minus.
            Defaults to the score.
        evidence (str): ``for``, the default: heat maps of what raises the
            outputs. ``against``: of what lowers them, which is the method's
            map of the outputs with the other sign; of methods that are linear
            in the gradients, what ReLU leaves out. ``both``: heat maps as
            with ``for``, and signed maps of both sides.
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
    #: What is explained unless the caller says otherwise.
    default_outputs: ClassVar[tuple[str, ...]] = ('score', )
    #: Whether the map of each output is normalised by its own peak.
    normalize_outputs: bool = False

    def __init__(self,
                 outputs: Sequence[str] | str | None = None,
                 evidence: str = 'for',
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
        if evidence not in EVIDENCE:
            raise ValueError(f'evidence must be {", ".join(EVIDENCE[:2])} or '
                             f'{EVIDENCE[2]}, not {evidence}')
        if outputs is None:
            # a side's coordinate has nothing that speaks against it
            outputs = self.default_outputs if evidence == 'for' else 'score'
        self.outputs = (outputs, ) if isinstance(outputs, str) else \
            tuple(outputs)
        check_outputs(self.outputs)
        self.evidence = evidence
        self.target_layer = target_layer
        self.statistics = statistics
        self.tolerance = tolerance

    def __call__(self, trace: Trace) -> Tensor:
        """Make heat maps of all detections, shape (N, H, W), in [0, 1]."""
        return self.maps(trace).heatmaps

    def maps(self, trace: Trace, by_output: bool = False) -> Maps:
        """Make heat maps of all detections, and signed maps if both sides of
        the evidence were asked for; see :meth:`Explainer.maps`."""
        outputs = self.outputs_of(trace)
        groups = {JOINT: outputs}
        if by_output and len(outputs) > 1:
            groups |= {output: (output, ) for output in outputs}
        signs = dict(zip(EVIDENCE, ((1, ), (-1, ), (1, -1))))[self.evidence]
        grids, *others = self.grid_maps(trace, groups, signs)
        heatmaps = self.image_heatmaps(grids[JOINT], trace)
        shown = grids if by_output else {}
        if not others:
            return Maps(heatmaps, shown)
        (against, ) = others
        return Maps(heatmaps, shown,
                    self.signed(grids[JOINT], against[JOINT], trace),
                    meanings(trace, outputs))

    def outputs_of(self, trace: Trace) -> tuple[str, ...]:
        """Return what is explained of a trace: the method's outputs. Where
        boxes are drawn around masks, score and mask take the place of score
        and all sides."""
        return ('score', MASK) if self.outputs == OUTPUTS and \
            not trace.own_boxes else self.outputs

    def weigh(self, trace: Trace) -> Evidence:
        """Tell what speaks for, and what against, the score of each detection,
        whatever the method's outputs.

        Example:
            >>> from mmdet_diffmap import load_detector
            >>> from mmdet_diffmap.apis.image_pipeline import image_pipeline
            >>> from mmdet_diffmap.explainers import ODAM
            >>> from mmdet_diffmap.tracing.detector import DetectorAdapter
            >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
            >>> batch = image_pipeline(model)('scene://0/2').batch
            >>> trace = DetectorAdapter(model).trace(batch).select([0])
            >>> ODAM().weigh(trace).maps.shape
            torch.Size([1, 192, 192])
        """
        speak_for, speak_against = self.grid_maps(
            trace, {'score': ('score', )}, (1, -1))
        return self.signed(speak_for['score'], speak_against['score'], trace)

    def signed(self, speak_for: Sequence[GridMaps],
               speak_against: Sequence[GridMaps], trace: Trace) -> Evidence:
        """Make signed maps of what speaks for, and what against, the
        detections of a trace."""
        device = trace.outputs.device
        with torch.autocast(device.type, enabled=False):
            maps = signed_heatmaps(speak_for, speak_against, len(trace),
                                   trace.frame, device)
        return Evidence(maps.half() if self.half else maps, speak_for,
                        speak_against)

    def grid_maps(self, trace: Trace,
                  groups: Mapping[str, Sequence[str]],
                  signs: Sequence[int] = (1, )
                  ) -> list[dict[str, list[GridMaps]]]:
        """Make the maps on grids of several groups of outputs.

        Args:
            trace (Trace): The detections; each gradient is asked for once.
            groups (Mapping): Outputs by a name; they are joined.
            signs (Sequence[int]): 1 for the outputs, -1 for them with the
                other sign.

        Returns:
            list[dict]: For each sign, and by name, the maps of all detections
            on all levels.
        """
        joint = [{name: JointMaps() for name in groups} for _ in signs]
        one_map = list(groups) == [JOINT] and not self.normalize_outputs
        # it is a share of what speaks for, which may be little
        tolerance = Tolerance(self.tolerance, one_map, self.linear_maps) \
            if self.tolerance and tuple(signs) == (1, ) else None
        outputs = list(dict.fromkeys(
            output for group in groups.values() for output in group))
        for gradients in trace.gradients(outputs, tolerance):
            for sign, of_sign in zip(signs, joint):
                levels = self.output_maps(
                    gradients if sign > 0 else negative(gradients))
                if self.normalize_outputs and len(signs) == 1:
                    levels = normalize_levels(levels)
                for maps in levels:
                    for name, group in groups.items():
                        if gradients.output in group:
                            of_sign[name].add(maps)
            del gradients  # before the next are made
        return [{name: maps.maps() for name, maps in of_sign.items()}
                for of_sign in joint]

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


def negative(gradients: OutputGradients) -> OutputGradients:
    """Return the gradients of an output with the other sign."""
    return replace(gradients, levels=[-level for level in gradients.levels])

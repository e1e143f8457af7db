# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from torch import Tensor, nn

from ..gradients import MaskGradients, RoIGradients, RoIStage, Upstream
from ..target_layer import CapturedLayer
from ..trace import GradientSource
from .masks import mask_stage, pools_simply
from .run import HeadRun


class RoIHeadRun(HeadRun):
    """The box head of a two-stage detector, or the heads of a cascade.

    Args:
        model (BaseDetector): The detector.
    """

    def __init__(self, model: BaseDetector) -> None:
        roi_head = model.roi_head
        self.stages = [
            RoIStage(extractor, shared_head, head)
            for extractor, shared_head, head in zip(
                as_list(roi_head.bbox_roi_extractor),
                as_list(getattr(roi_head, 'shared_head', None) or
                        nn.Identity()) * len(as_list(roi_head.bbox_head)),
                as_list(roi_head.bbox_head))
        ]
        super().__init__(model, [stage.head for stage in self.stages])

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> RoIHeadRun | None:
        """Take a detector whose heads run on pooled RoIs alone."""
        return cls(model) if runs_on_rois(model) else None

    def source(self, target: CapturedLayer) -> GradientSource:
        rois = RoIGradients(self.stages, self.cut)
        return Upstream(rois, rois.inputs, target)

    def masks(
        self, target: CapturedLayer
    ) -> Callable[[Tensor], GradientSource] | None:
        stage = mask_stage(self.model)
        if stage is None:
            return None
        stage.inputs = self.stages[-1].inputs
        roi_head: Any = self.model.roi_head
        threshold = roi_head.test_cfg.mask_thr_binary

        def masks_of(labels: Tensor) -> GradientSource:
            return Upstream(MaskGradients(stage, threshold, labels),
                            stage.inputs, target)

        return masks_of

    def hook(self, stack: ExitStack) -> None:

        def hook_stage(stage: RoIStage) -> None:

            def before(module: nn.Module, args: Any) -> None:
                if stage.raw:
                    return  # a mask head may use the same extractor
                self.run_without_record()
                stage.inputs = self.inputs = list(args[0])
                stage.rois = args[1].detach().type_as(args[0][0])

            def after(module: nn.Module, args: Any, output: Any) -> Any:
                if stage.raw:
                    return output
                first = len(self.cut)
                output = self.cut_off(output)
                stage.raw = list(range(first, len(self.cut)))
                return output

            stack.callback(
                stage.extractor.register_forward_pre_hook(before).remove)
            stack.callback(
                stage.head.register_forward_hook(after, prepend=True).remove)

        for stage in self.stages:
            hook_stage(stage)


def runs_on_rois(model: BaseDetector) -> bool:
    """Whether a detector's boxes come from heads that run on pooled RoIs and
    on nothing else."""
    roi_head = getattr(model, 'roi_head', None)
    return any(
        isinstance(roi_head, kind)
        and type(roi_head)._bbox_forward is kind._bbox_forward
        and all(map(pools_simply, as_list(roi_head.bbox_roi_extractor)))
        for kind in (StandardRoIHead, CascadeRoIHead))


def as_list(value: nn.Module) -> list[nn.Module]:
    """List the modules of a list, or the module."""
    return list(value) if isinstance(value, nn.ModuleList) else [value]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The heads of mmdet's detectors, and cutting the graph at them."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.detectors import BaseDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from .gradients import (
    DenseGradients,
    FrozenStatistics,
    ReceptiveField,
    RoIGradients,
    RoIStage,
    Upstream,
    WindowGradients,
    fused_attention,
    receptive_field,
)
from .nested import map_tensors
from .swapping import modules_with, swapped
from .target_layer import CapturedLayer
from .trace import GradientSource


def head_run(model: BaseDetector,
             statistics: str,
             target: nn.Module | None = None) -> HeadRun:
    """What to do about a detector's head in one run of ``predict``.

    Args:
        model (BaseDetector): The detector.
        statistics (str): ``exact`` or ``frozen``, see
            :class:`~mmdet_diffmap.explainers.Explainer`.
        target (nn.Module, optional): The target layer.

    Raises:
        TypeError: If the detector has no head whose outputs become the final
            detections.
    """
    roi_head = getattr(model, 'roi_head', None)
    if any(
            isinstance(roi_head, kind)
            and type(roi_head)._bbox_forward is kind._bbox_forward
            and all(map(pools_simply, as_list(roi_head.bbox_roi_extractor)))
            for kind in (StandardRoIHead, CascadeRoIHead)):
        return RoIHeadRun(model)
    head = box_head(model)
    if head is None or (roi_head is not None and isinstance(
            roi_head.bbox_head, nn.ModuleList)):
        raise TypeError(
            f'{type(model).__name__} has no single box head (bbox_head or '
            'roi_head.bbox_head); supported are one-stage, two-stage, cascade '
            'and DETR detectors')
    return LevelHeadRun(model, head, statistics, target)


def box_head(model: BaseDetector) -> nn.Module | None:
    """The head whose boxes become the detections, the last of a cascade;
    None if it is not known."""
    owner = getattr(model, 'roi_head', None) or model
    head = getattr(owner, 'bbox_head', None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    return head if isinstance(head, nn.Module) else None


class HeadRun(ABC):
    """One run of a head inside mmdet's ``predict``, cut off from what follows.

    The head's raw maps ``R`` are replaced by leaves of the graph. How they
    depend on the head's inputs is recorded only where a part of the head's
    work, done again, would not tell.

    Args:
        head (nn.Module): The head, or the last of several.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.raw: list[Tensor] = []
        self.cut: list[Tensor] = []
        self.recorded = True

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Cut in this context."""
        with ExitStack() as stack, attached_selection(self.head):
            self._hook(stack)
            yield

    @property
    def heads(self) -> list[nn.Module]:
        """All heads whose raw maps are cut."""
        return [self.head]

    @property
    @abstractmethod
    def reached(self) -> list[Tensor]:
        """Where the graph that leads back to the target layer begins."""

    @abstractmethod
    def source(self, target: CapturedLayer) -> GradientSource:
        """The gradients of outputs that were computed from the cut maps."""

    @abstractmethod
    def _hook(self, stack: ExitStack) -> None:
        """Put hooks on the modules; the stack takes them off."""

    def _pause(self) -> None:
        """Record nothing until the cut."""
        self.recorded = False
        torch.set_grad_enabled(False)  # the caller's context puts it back

    def _resume(self) -> None:
        torch.set_grad_enabled(True)

    def _cut(self, output: Any) -> Any:
        """The head's output with leaves in place of its raw maps."""

        def replace(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point() or \
                    (self.recorded and not tensor.requires_grad):
                return tensor
            leaf = tensor.detach().requires_grad_()
            self.raw.append(tensor)
            self.cut.append(leaf)
            return leaf.clone()  # a leaf may not be changed in place

        self._resume()
        return map_tensors(replace, output)


class LevelHeadRun(HeadRun):
    """A head that runs once, most often on feature levels.

    Where each location of its raw maps depends on a small square of a level,
    gradients are found from windows; else the whole head is recorded.

    Args:
        model (nn.Module): The detector.
        head (nn.Module): Its head.
        statistics (str): See :func:`head_run`.
        target (nn.Module, optional): The target layer. If it lies in the
            head, a run of the head on windows would say nothing about it.
    """

    def __init__(self,
                 model: nn.Module,
                 head: nn.Module,
                 statistics: str,
                 target: nn.Module | None = None) -> None:
        super().__init__(head)
        self.model = model
        self.inside = any(module is target for module in head.modules())
        self.statistics = FrozenStatistics(head) if statistics == 'frozen' \
            else None
        self.inputs: list[Tensor] = []
        self.field: ReceptiveField | None = None
        self.running = ExitStack()

    @property
    def reached(self) -> list[Tensor]:
        return self.raw if self.field is None else self.inputs

    def source(self, target: CapturedLayer) -> GradientSource:
        if self.field is None:
            dense = DenseGradients(self.head, target.leaves, self.raw,
                                   self.cut)
            return Upstream(dense, target.leaves, target)
        windows = WindowGradients(self.head, self.inputs, self.cut, self.field,
                                  self.statistics)
        return Upstream(windows, self.inputs, target)

    def _hook(self, stack: ExitStack) -> None:

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self.field is not None:
                raise RuntimeError(f'{type(module).__name__} runs twice in '
                                   'one prediction')
            if len(args) == 1 and isinstance(args[0], (tuple, list)) and \
                    not kwargs and not self.raw:
                self._look(args[0])

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            self.running.close()
            return self._cut(output)

        stack.enter_context(fused_attention(self.model))
        stack.callback(self.running.close)
        stack.callback(
            self.head.register_forward_pre_hook(
                before, with_kwargs=True).remove)
        # first of all hooks: what others do to the output comes after the cut
        stack.callback(
            self.head.register_forward_hook(after, prepend=True).remove)

    def _look(self, levels: Sequence[Tensor]) -> None:
        """Decide about the strategy, now that the levels are known."""
        frozen = self.statistics is not None
        self.field = None if self.inside else receptive_field(
            self.head, levels, frozen)
        if self.field is not None:
            self.inputs = list(levels)
            self._pause()
            if self.statistics is not None:
                self.running.enter_context(self.statistics.record())
        elif self.statistics is not None:
            self.running.enter_context(self.statistics.held())


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
        self.proposer = getattr(model, 'rpn_head', None)
        super().__init__(self.stages[-1].head)

    @property
    def heads(self) -> list[nn.Module]:
        return [stage.head for stage in self.stages]

    @property
    def reached(self) -> list[Tensor]:
        return self.stages[-1].inputs

    def source(self, target: CapturedLayer) -> GradientSource:
        rois = RoIGradients(self.stages, self.cut)
        return Upstream(rois, rois.inputs, target)

    def _hook(self, stack: ExitStack) -> None:

        def hook_stage(stage: RoIStage) -> None:

            def before(module: nn.Module, args: Any) -> None:
                if stage.raw:
                    return  # a mask head may use the same extractor
                self._pause()
                stage.inputs = list(args[0])
                stage.rois = args[1].detach().type_as(args[0][0])

            def after(module: nn.Module, args: Any, output: Any) -> Any:
                if stage.raw:
                    return output
                first = len(self.cut)
                output = self._cut(output)
                stage.raw = list(range(first, len(self.cut)))
                return output

            stack.callback(
                stage.extractor.register_forward_pre_hook(before).remove)
            stack.callback(
                stage.head.register_forward_hook(after, prepend=True).remove)

        if self.proposer is not None:
            # proposals are constants
            stack.callback(
                self.proposer.register_forward_pre_hook(
                    lambda module, args: self._pause()).remove)
            stack.callback(
                self.proposer.register_forward_hook(
                    lambda module, args, output: self._resume()).remove)
        for stage in self.stages:
            hook_stage(stage)


def as_list(value: nn.Module) -> list[nn.Module]:
    """The modules of a list, or the module."""
    return list(value) if isinstance(value, nn.ModuleList) else [value]


def pools_simply(extractor: nn.Module) -> bool:
    """Whether each RoI is pooled from one level by RoIAlign."""
    return isinstance(extractor, SingleRoIExtractor) and \
        type(extractor).forward is SingleRoIExtractor.forward and \
        all(isinstance(layer, RoIAlign) for layer in extractor.roi_layers)


@contextmanager
def attached_selection(head: nn.Module) -> Iterator[None]:
    """Let gradients through mmdet's ``select_single_mlvl``.

    Dense heads pick an image's maps out of the batch with this function, and
    tell it to detach them. Here there is one image, and taking it out by
    ``squeeze`` spares the backward pass a copy of each map. The function
    belongs to a module: no two threads may do this at one time.
    """

    def attached(maps: Any, index: int, detach: bool = True) -> list[Tensor]:
        return [one.squeeze(0) if len(one) == 1 else one[index]
                for one in maps]

    with ExitStack() as stack:
        for module in modules_with('select_single_mlvl', head):
            stack.enter_context(
                swapped(module, 'select_single_mlvl', attached))
        yield

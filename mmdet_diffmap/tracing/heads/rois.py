# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from inspect import signature
from typing import Any, NamedTuple
from weakref import WeakSet

from mmdet.models.detectors import BaseDetector
from torch import Tensor, nn

from ..gradients import (
    MaskGradients,
    Pool,
    RefusedError,
    RoIGradients,
    RoIStage,
    Upstream,
)
from ..nested import flat_tensors, map_tensors
from ..swapping import swapped
from ..target_layer import CapturedLayer, depend
from ..trace import GradientSource
from .masks import (
    extractor_arguments,
    mask_stage,
    needs_masks,
    pools_simply,
)
from .run import HeadRun, RunsTwiceError

#: RoI heads of which one stage goes on from what another made of all RoIs.
coupled: WeakSet[nn.Module] = WeakSet()


class RoIHeadRun(HeadRun):
    """The heads of a two-stage detector that run on pooled RoIs.

    What is done with RoIs is heard in the run: each call of the RoI head's
    ``_bbox_forward`` is a stage, whatever it does, and so is each other head
    that gets what an extractor has just pooled.

    Args:
        model (BaseDetector): The detector.
    """

    def __init__(self, model: BaseDetector) -> None:
        self.roi_head: Any = model.roi_head
        super().__init__(model, as_list(self.roi_head.bbox_head))
        self.stages: list[RoIStage] = []
        self.running: RoIStage | None = None
        self.pooled: Pooled | None = None

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> RoIHeadRun | None:
        """Take a detector whose RoI head says what it does with RoIs, unless
        the RoIs are known to be coupled."""
        roi_head = getattr(model, 'roi_head', None)
        forward = getattr(roi_head, '_bbox_forward', None)
        return cls(model) if forward is not None and \
            {'x', 'rois'} <= set(signature(forward).parameters) and \
            roi_head not in coupled and not needs_masks(model) else None

    @property
    def ends(self) -> list[Tensor]:
        if not self.stages:
            return super().ends
        pooled = [stage.inputs[level] for stage in self.stages
                  for pool in stage.pools if pool is not None
                  for level in pool.levels]
        if any(level.requires_grad for level in pooled):
            return pooled
        # a stage gets more levels than it pools; one of its RoIs tells
        return [level for stage in self.stages for level in used_by(stage)]

    def source(self, target: CapturedLayer) -> GradientSource:
        rois = RoIGradients(self.stages, self.cut)
        return Upstream(rois, rois.inputs, target)

    def masks(
        self, target: CapturedLayer
    ) -> Callable[[Tensor], GradientSource] | None:
        stage = mask_stage(self.model)
        if stage is None:
            return None
        stage.inputs = self.stages[-1].inputs if self.stages else []
        threshold = self.roi_head.test_cfg.mask_thr_binary

        def masks_of(labels: Tensor) -> GradientSource:
            return Upstream(MaskGradients(stage, threshold, labels),
                            stage.inputs, target)

        return masks_of

    def hook(self, stack: ExitStack) -> None:
        stack.enter_context(swapped(
            self.roi_head, '_bbox_forward',
            partial(self.bbox_forward, self.roi_head._bbox_forward)))
        for module in self.roi_head.modules():
            if pools_simply(module):
                stack.callback(module.register_forward_hook(
                    self.extractor_ran, with_kwargs=True).remove)
        shared_head = getattr(self.roi_head, 'shared_head', None)
        if shared_head is not None:
            stack.callback(shared_head.register_forward_hook(
                self.shared_head_ran).remove)
        for head in heads_of(self.roi_head):
            stack.callback(
                head.register_forward_pre_hook(self.before_head).remove)
            stack.callback(head.register_forward_hook(
                self.head_ran, prepend=True).remove)

    def bbox_forward(self, forward: Callable, *args: Any,
                     **kwargs: Any) -> Any:
        """Run a stage in the place of ``_bbox_forward``."""
        given = signature(forward).bind(*args, **kwargs).arguments
        rois = given.pop('rois')
        inputs = flat_tensors(given)
        if self.cut and depend(inputs, self.cut):
            coupled.add(self.roi_head)
            raise RunsTwiceError
        self.begin(RoIStage(
            self.roi_head, partial(bbox_forward_on, forward, given),
            [module for module in self.roi_head.modules()
             if pools_simply(module)], self.heads, inputs, rois))
        result = forward(*args, **kwargs)
        if not self.stages[-1].raw:
            result = self.end(result)
        self.running = None
        return result

    def begin(self, stage: RoIStage) -> None:
        """Begin a stage, whose work is not recorded."""
        self.run_without_record()
        with self.detaching():
            stage.rois = stage.rois.detach().type_as(stage.inputs[0])
        self.inputs += stage.inputs
        self.stages.append(stage)
        self.running = stage

    def end(self, output: Any) -> Any:
        """Cut off what the stage gives."""
        first = len(self.cut)
        output = self.cut_off(output)
        self.stages[-1].raw += range(first, len(self.cut))
        return output

    def extractor_ran(self, module: nn.Module, args: Any, kwargs: Any,
                      output: Tensor) -> None:
        """Note what was pooled, of what."""
        levels, rois, scale = extractor_arguments(module, args, kwargs)
        if self.running is None:
            self.pooled = Pooled(output, module, list(levels), rois)
            return
        known = {id(each): number
                 for number, each in enumerate(self.running.inputs)}
        same = len(rois) == len(self.running.rois) and bool(
            (rois == self.running.rois).all())
        places = [known[id(level)] for level in levels if id(level) in known]
        self.running.pools.append(
            None if len(places) < len(levels) or not same else
            Pool(module, places, scale))

    def shared_head_ran(self, module: nn.Module, args: Any,
                        output: Any) -> None:
        """Note that its output is what was pooled, for the next head."""
        if self.pooled is not None and args[0] is self.pooled.output:
            self.pooled = self.pooled._replace(output=output, shared=module)

    def before_head(self, module: nn.Module, args: Any) -> None:
        """Begin a stage where a head gets what was just pooled."""
        pooled = self.pooled
        if self.running is None and pooled is not None and \
                len(args) == 1 and args[0] is pooled.output:
            stage = RoIStage.of_head(pooled.extractor, pooled.shared, module)
            stage.inputs, stage.rois = pooled.levels, pooled.rois
            self.begin(stage)

    def head_ran(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Cut off the raw maps."""
        if self.running is None or module not in self.running.heads:
            return output
        output = self.end(output)
        if self.pooled is not None and args[0] is self.pooled.output:
            self.running = None
        return output


class Pooled(NamedTuple):
    """What was pooled last.

    Args:
        output (Tensor): The pooled features, or what the shared head made of
            them.
        extractor (nn.Module): By which.
        levels (list[Tensor]): From which.
        rois (Tensor): Which regions.
        shared (nn.Module): The shared head, if it has run on them.
    """
    output: Tensor
    extractor: nn.Module
    levels: list[Tensor]
    rois: Tensor
    shared: nn.Module = nn.Identity()


def used_by(stage: RoIStage) -> list[Tensor]:
    """List the inputs that a stage uses in another way than by pooling; all,
    if it does not tell."""
    if not len(stage.rois):
        return stage.inputs
    try:
        run = stage.on(stage.rois[:1])
    except RefusedError:
        return stage.inputs
    return [stage.inputs[number] for number in run.direct]


def bbox_forward_on(forward: Callable, given: Mapping[str, Any],
                    inputs: Sequence[Tensor], rois: Tensor) -> Any:
    """Run ``_bbox_forward`` with other inputs, and on other RoIs.

    Args:
        forward (Callable): The function.
        given (Mapping): Its arguments but the RoIs.
        inputs (Sequence[Tensor]): In the place of the floating-point tensors
            in them, in their order.
        rois (Tensor): The RoIs.
    """
    others = iter(inputs)

    def other(tensor: Tensor) -> Tensor:
        return next(others) if tensor.is_floating_point() else tensor

    return forward(**map_tensors(other, dict(given)), rois=rois)


def heads_of(roi_head: nn.Module) -> list[nn.Module]:
    """List the heads of an RoI head: all of its parts but those that pool,
    and the shared head."""
    shared_head = getattr(roi_head, 'shared_head', None)
    return [part for child in roi_head.children() for part in as_list(child)
            if part is not shared_head and not hasattr(part, 'roi_layers')]


def as_list(value: nn.Module) -> list[nn.Module]:
    """List the modules of a list, or the module."""
    return list(value) if isinstance(value, nn.ModuleList) else [value]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector, TwoStagePanopticSegmentor
from torch import Tensor, nn

from ..modes import frozen
from ..nested import map_tensors
from ..recording import Recorder
from ..swapping import swapped
from ..target_layer import CapturedLayer
from ..trace import GradientSource
from .attached import (
    Attached,
    CopiedTensors,
    attached_operations,
    attached_selection,
)


class RunsTwiceError(Exception):
    """A head runs more than once in one prediction, or again on what it
    gave."""


class HeadRun(ABC):
    """One run of a head inside mmdet's ``predict``, cut off from what follows.

    The head's raw maps ``R`` are replaced by leaves of the graph. How they
    depend on the head's inputs is recorded only where a part of the head's
    work, done again, would not tell. Proposals are constants.

    A kind of run for heads of one's own is registered in ``HEAD_RUNS``, and
    has :meth:`of`, :meth:`hook` and :meth:`source`.

    Args:
        model (nn.Module): The detector.
        heads (Sequence[nn.Module]): Those whose raw maps are cut, the last
            one last.

    Attributes:
        inputs (list[Tensor]): The maps ``X`` that entered the head, where it
            was not recorded.
        raw (list[Tensor]): The raw maps ``R``.
        cut (list[Tensor]): The leaves that took their place, from which the
            outputs were computed.
        recorded (bool): Whether ``R`` has a graph to ``X``.
    """

    def __init__(self, model: nn.Module, heads: Sequence[nn.Module]) -> None:
        self.model = model
        self.heads = list(heads)
        self.inputs: list[Tensor] = []
        self.raw: list[Tensor] = []
        self.cut: list[Tensor] = []
        self.recorded = True
        self.attached = Attached()
        self.recorder = Recorder()

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> HeadRun | None:
        """Return a run for a detector; None if this kind of run is not for
        it. See :func:`head_runs` for the arguments."""
        raise NotImplementedError(f'{cls.__name__} does not say which '
                                  'detectors it is for')

    @abstractmethod
    def hook(self, stack: ExitStack) -> None:
        """Put hooks on the head, of which one gives what the head returns to
        :meth:`cut_off`, and returns what that gives.

        Args:
            stack (ExitStack): Takes the hooks off at the end of the run.
        """

    @abstractmethod
    def source(self, target: CapturedLayer) -> GradientSource:
        """Return the gradients of outputs that were computed from the cut
        maps, by the maps of the target layer."""

    def masks(
        self, target: CapturedLayer
    ) -> Callable[[Tensor], GradientSource] | None:
        """Return the gradients of the detections' masks, see
        :class:`~mmdet_diffmap.tracing.trace.Trace`; None where there are
        none."""
        return None

    @contextmanager
    def hooks(self, recorder: Recorder) -> Iterator[None]:
        """Cut the graph at the head's raw maps in this context.

        Args:
            recorder (Recorder): Is told where gradients are needed.

        Raises:
            RunsTwiceError: In the context, if a head runs again that may not.
        """
        self.recorder = recorder
        # mmcv's deformable layers compute the gradients of parameters that
        # want one, asked for or not
        with frozen(self.model), attached_operations(self.model), \
                CopiedTensors(), attached_selection(self.heads), \
                ExitStack() as stack:
            proposer = proposer_of(self.model)
            if proposer is not None:
                stack.enter_context(
                    swapped(proposer, 'predict',
                            partial(self._propose, proposer.predict)))
            self.hook(stack)
            if self.heads:
                self._attach_after(self.heads[-1], stack)
            yield

    @property
    def ends(self) -> list[Tensor]:
        """Where the graph ends that begins at the target layer: at the raw
        maps, or before a head that was not recorded."""
        return self.raw if self.recorded else self.inputs

    def run_without_record(self) -> None:
        """Leave the head, which is about to run, out of the graph: a part of
        it runs again."""
        self.recorded = False
        self.recorder.head_needs_no_record()

    def cut_off(self, output: Any) -> Any:
        """Put leaves in the place of the raw maps in a head's output."""

        def leave(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point() or \
                    (self.recorded and not tensor.requires_grad):
                return tensor
            leaf = tensor.detach().requires_grad_()
            self.raw.append(tensor)
            self.cut.append(leaf)
            return leaf.clone()  # a leaf may not be changed in place

        self.recorder.raw_maps_cut()
        with self.detaching():
            return map_tensors(leave, output)

    @contextmanager
    def detaching(self) -> Iterator[None]:
        """Let ``detach`` detach in this context."""
        self.attached.running += 1
        try:
            yield
        finally:
            self.attached.running -= 1

    def _attach_after(self, head: nn.Module, stack: ExitStack) -> None:
        """Let nothing be detached by what follows a head and its hooks."""

        def after(module: nn.Module, args: Any, output: Any) -> None:
            hook.remove()
            stack.enter_context(self.attached)

        hook = head.register_forward_hook(after)
        stack.callback(hook.remove)

    def _propose(self, predict: Callable, *args: Any, **kwargs: Any) -> Any:
        """Predict the proposals of each image, without a graph."""
        with self.detaching(), torch.no_grad():
            return [proposals.detach()
                    for proposals in predict(*args, **kwargs)]


def proposer_of(model: nn.Module) -> Any:
    """Return the part of a two-stage detector whose ``predict`` gives
    proposals, which are constants; None if there is none."""
    return getattr(model, 'rpn_head', None) if hasattr(model, 'roi_head') \
        else None


def is_cascade(model: BaseDetector) -> bool:
    """Whether boxes go from stage to stage, so that no single head's raw maps
    are all that they depend on."""
    roi_head = getattr(model, 'roi_head', None)
    return isinstance(getattr(roi_head, 'bbox_head', None), nn.ModuleList)


def box_head(model: BaseDetector) -> nn.Module | None:
    """Return the head whose boxes become the detections, the last of a
    cascade; None if it is not known, or the detector gives segments."""
    if isinstance(model, TwoStagePanopticSegmentor):
        return None
    owner = getattr(model, 'roi_head', None) or model
    head = getattr(owner, 'bbox_head', None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    return head if isinstance(head, nn.Module) else None

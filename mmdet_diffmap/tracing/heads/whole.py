# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from mmdet.models.detectors import BaseDetector
from torch import nn

from ..gradients import WholeGradients
from ..prompts import is_chunked
from ..swapping import swapped
from ..target_layer import CapturedLayer
from ..trace import GradientSource
from .run import HeadRun, box_head, is_cascade


class WholeRun(HeadRun):
    """The whole prediction is traced, and nothing is cut.

    For detectors whose head is not known, or does something that a cut does
    not allow. Works for every detector whose predictions carry a gradient, at
    the price of a way back through all that follows the target layer for each
    output of each object.

    What is detached before the end of the head, where one is known that runs
    once, belongs to the network and is left so: reference points of DETR's
    kin; also of one that runs for each part of a long text. Else all that is
    detached outside of modules is attached.

    Args:
        model (nn.Module): The detector.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, [])

    @classmethod
    def of(cls, model: BaseDetector, statistics: str,
           target: nn.Module | None) -> WholeRun | None:
        """Take any detector."""
        return cls(model)

    def source(self, target: CapturedLayer) -> GradientSource:
        return WholeGradients(target.leaves)

    def hook(self, stack: ExitStack) -> None:
        head = None if is_cascade(self.model) else box_head(self.model)
        if head is not None:
            self.attached.running += 1  # until it has run

            in_parts = is_chunked(self.model)

            def ran(module: nn.Module, args: Any, output: Any) -> None:
                self.attached.running -= 1
                if not in_parts:
                    hook.remove()

            def predict(*args: Any, **kwargs: Any) -> Any:
                results = original(*args, **kwargs)
                self.attached.running += 1  # until it runs for the next part
                return results

            if in_parts:
                original: Any = head.predict
                stack.enter_context(swapped(head, 'predict', predict))
            hook = head.register_forward_hook(ran)
            stack.callback(hook.remove)
        stack.enter_context(self.attached)

        def before(module: nn.Module, args: Any) -> None:
            self.attached.running += 1

        def after(module: nn.Module, args: Any, output: Any) -> None:
            self.attached.running -= 1

        for module in self.model.modules():
            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(
                module.register_forward_hook(after, always_call=True).remove)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detections of a trained detector, from one with other weights."""
from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from mmdet.models.detectors import BaseDetector
from torch import Tensor, nn

from ...tracing.heads import cut_heads, proposer_of
from ...tracing.nested import flat_tensors, map_tensors
from ...tracing.swapping import swapped


class HeldDetections:
    """What a detector's head gave for one image, and its proposals.

    A detector with other weights finds other objects, or none, and no map of
    theirs could be compared. So the heads' raw maps are given the values that
    they had, while gradients go through the detector as it is now: the same
    outputs of the same locations, queries or proposals are explained.

    Attributes:
        raw (list[list[Tensor]]): The floating-point tensors of each run of a
            head, in the order of the runs.
        proposals (Any): What the part that proposes gave; None without one.
    """

    def __init__(self) -> None:
        self.raw: list[list[Tensor]] = []
        self.proposals: Any = None

    @contextmanager
    def recorded(self, model: BaseDetector) -> Iterator[None]:
        """Note what one run of the detector gives in this context."""

        def note(output: Any) -> Any:
            self.raw.append(
                [tensor.detach() for tensor in flat_tensors(output)])
            return output

        def propose(predict: Callable, *args: Any, **kwargs: Any) -> Any:
            self.proposals = predict(*args, **kwargs)
            return copy.deepcopy(self.proposals)

        with changed_outputs(model, note, propose):
            yield

    @contextmanager
    def held(self, model: BaseDetector) -> Iterator[None]:
        """Let every run of a detector of the same kind give it again."""
        runs = itertools.cycle(self.raw)

        def replace(output: Any) -> Any:
            values = iter(next(runs))

            def hold(tensor: Tensor) -> Tensor:
                if not tensor.is_floating_point():
                    return tensor
                # the value is the noted one to the last bit
                return next(values) + (tensor - tensor.detach())

            return map_tensors(hold, output)

        def propose(predict: Callable, *args: Any, **kwargs: Any) -> Any:
            return copy.deepcopy(self.proposals)

        with changed_outputs(model, replace, propose):
            yield


@contextmanager
def changed_outputs(model: BaseDetector, replace: Callable[[Any], Any],
                    propose: Callable) -> Iterator[None]:
    """Change what parts of a detector give in this context.

    Args:
        model (BaseDetector): The detector.
        replace (Callable): Output of a head -> what it gives instead.
        propose (Callable): (The host's own function that proposes, its
            arguments) -> the proposals.
    """

    def hook(module: nn.Module, args: tuple, output: Any) -> Any:
        return replace(output)

    with ExitStack() as stack:
        for head in cut_heads(model):
            stack.callback(head.register_forward_hook(hook).remove)
        proposer = proposer_of(model)
        if proposer is not None:
            predict = proposer.predict

            def changed_predict(*args: Any, **kwargs: Any) -> Any:
                return propose(predict, *args, **kwargs)

            stack.enter_context(
                swapped(proposer, 'predict', changed_predict))
        yield

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A copy of nested tuples, lists and dicts with every tensor replaced by
    ``function(tensor)``."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, v) for v in value)
    return value


def flat_tensors(value: Any) -> list[Tensor]:
    """The floating-point tensors in nested tuples, lists and dicts, in the
    order of :func:`map_tensors`."""
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            tensors.append(tensor)
        return tensor

    map_tensors(keep, value)
    return tensors

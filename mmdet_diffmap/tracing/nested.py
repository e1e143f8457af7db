# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Tensors in nested tuples, lists and dicts."""
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Copy nested tuples, lists and dicts with every tensor replaced by
    ``function(tensor)``.

    >>> import torch
    >>> map_tensors(torch.Tensor.tolist, dict(maps=[torch.ones(2)], count=3))
    {'maps': [[1.0, 1.0]], 'count': 3}
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, v) for v in value)
    return value


def all_tensors(value: Any) -> list[Tensor]:
    """List the tensors in nested tuples, lists and dicts, in the order of
    :func:`map_tensors`."""
    tensors: list[Tensor] = []
    map_tensors(tensors.append, value)
    return tensors


def flat_tensors(value: Any) -> list[Tensor]:
    """List those of floating point among :func:`all_tensors`."""
    return [tensor for tensor in all_tensors(value)
            if tensor.is_floating_point()]

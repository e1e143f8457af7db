# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A graph from one tensor, and values from another."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ValueOf(torch.autograd.Function):
    """The gradient of one tensor, the value of another."""

    @staticmethod
    def forward(ctx: Any, gradient_of: Tensor, value_of: Tensor) -> Tensor:
        return value_of.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Linear layers whose backward pass is short."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..swapping import swapped
from .rows import few_rows

#: Multiplications of a layer from which on they take much longer than Python.
WORTH_A_FUNCTION = 2**25

#: Torch's own, whatever stands in its place for a while.
linear: Callable[..., Tensor] = F.linear


@contextmanager
def sparse_linear() -> Iterator[None]:
    """Let large linear layers that are recorded in this context multiply only
    those rows of a cotangent that are not zero.

    Torch's own gives a view of a matrix, so that a rectifier that changes it
    in place, as those of transformers do, copies the whole matrix several
    times on its way back. This one's result is no view. Values are torch's.
    """

    def apply(input: Tensor, weight: Tensor,
              bias: Tensor | None = None) -> Tensor:
        trained = weight.requires_grad or (
            bias is not None and bias.requires_grad)
        large = input.dim() > 1 and weight.dim() > 1 and \
            input.numel() * len(weight) >= WORTH_A_FUNCTION
        function = Linear.apply if large and not trained else linear
        return function(input, weight, bias)

    with swapped(F, 'linear', apply):
        yield


class Linear(torch.autograd.Function):
    """A linear layer with constant weights."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor,
                bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        output = linear(input, weight, bias)
        # no view for autograd; `detach` would be none in a context that
        # attaches what the host detaches
        return torch.ops.aten._unsafe_view(output, output.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight, ) = ctx.saved_tensors
        weight = weight.to(gradient.dtype)  # of mixed precision
        matrix = gradient.flatten(0, -2)
        few = few_rows(matrix)
        if few is None:
            product = matrix @ weight
        else:
            product = matrix.new_zeros(len(matrix), weight.shape[1])
            product[few] = matrix[few] @ weight
        return product.unflatten(0, gradient.shape[:-1]), None, None

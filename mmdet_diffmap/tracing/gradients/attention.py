# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Attention whose backward pass is fast."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from .value_of import ValueOf


@contextmanager
def fused_attention(model: nn.Module) -> Iterator[None]:
    """Let multi-head attention that is recorded in this context go back
    through torch's fused kernel.

    Attention that also returns its weights keeps them, a large matrix for
    each head, and reads and writes them several times on the way back. The
    fused kernel computes them again, piece by piece. Its outputs differ in
    the last bits, so the layer's own outputs are kept, and the fused ones
    only give the graph.
    """

    def refine(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        attended, weights = output
        if weights is None or not attended.requires_grad or len(args) > 4:
            return output
        fused, _ = module.forward(*args, **dict(kwargs, need_weights=False))
        return ValueOf.apply(fused, attended.detach()), weights

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                stack.callback(
                    module.register_forward_hook(
                        refine, prepend=True, with_kwargs=True).remove)
        yield

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Attention whose backward pass is fast."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..swapping import swapped
from .rows import few_rows
from .value_of import ValueOf

#: Torch's own, whatever stands in its place for a while.
attention: Callable[..., Tensor] = F.scaled_dot_product_attention


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
        with swapped(F, 'scaled_dot_product_attention', FusedAttention.apply):
            fused, _ = module.forward(*args,
                                      **dict(kwargs, need_weights=False))
        return ValueOf.apply(fused, attended.detach()), weights

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                stack.callback(
                    module.register_forward_hook(
                        refine, prepend=True, with_kwargs=True).remove)
        yield


class FusedAttention(torch.autograd.Function):
    """Torch's fused attention, with a backward pass that ``torch.vmap`` runs
    as one. Torch's own has no rule for it, and is run product by product."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor,
                *settings: Any) -> Tensor:
        ctx.copies = AttentionOnCopies([query, key, value], settings)
        return attention(query, key, value, *settings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = FusedProducts.apply(gradient, ctx.copies)
        return *gradients, *[None] * len(ctx.copies.settings)


class FusedProducts(torch.autograd.Function):
    """The products of one cotangent, or of several at once."""

    @staticmethod
    def forward(gradient: Tensor,
                copies: AttentionOnCopies) -> tuple[Tensor, ...]:
        return copies.products(gradient[None])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: products are not differentiated."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, gradients: Tensor,
             copies: AttentionOnCopies) -> tuple[Any, Any]:
        products = copies.products(gradients.movedim(in_dims[0], 0))
        return tuple(
            product.unflatten(0, (info.batch_size, -1))
            for product in products), (0, ) * len(products)


class AttentionOnCopies:
    """Fused attention whose batch is repeated, once for each product: the
    backward pass of a batch gives all of them.

    Args:
        inputs (Sequence[Tensor]): Queries, keys and values, (B, heads,
            length, channels).
        settings (Sequence): What torch's function gets beside them.
    """

    def __init__(self, inputs: Sequence[Tensor],
                 settings: Sequence[Any]) -> None:
        self.inputs = [each.detach() for each in inputs]
        self.settings = settings
        # of the last call, since the next is most often as long
        self.count = 0
        self.copies: list[Tensor] = []
        self.output = torch.empty(0)

    def products(self, gradients: Tensor) -> tuple[Tensor, ...]:
        """Compute the products of k cotangents (k, B, ...), one after the
        other along the batch."""
        few = few_rows(gradients.movedim(-2, 0).flatten(1))
        mask, *others = self.settings
        if few is not None and len(few) and not any(others):
            return self.products_of(few, gradients, mask)
        if len(gradients) != self.count:
            self.count = len(gradients)
            with torch.enable_grad():
                self.copies = [
                    self.repeated(each).requires_grad_()
                    for each in self.inputs
                ]
                self.output = attention(*self.copies, *[
                    self.repeated(each) if isinstance(each, Tensor) and
                    each.dim() == 4 and len(each) > 1 else each
                    for each in self.settings
                ])
        return torch.autograd.grad(
            self.output, self.copies, gradients.flatten(0, 1),
            retain_graph=True)

    def products_of(self, queries: Tensor, gradients: Tensor,
                    mask: Tensor | None) -> tuple[Tensor, ...]:
        """Compute the same where the cotangents of most queries are zero."""
        query, key, value = self.inputs
        if mask is not None and mask.shape[2] > 1:  # else for all of them
            mask = mask[:, :, queries]
        of_few, *products = AttentionOnCopies(
            [query[:, :, queries], key, value],
            [mask, *self.settings[1:]]).products(gradients[..., queries, :])
        of_all = of_few.new_zeros(len(of_few), *query.shape[1:])
        return of_all.index_copy_(2, queries, of_few), *products

    def repeated(self, tensor: Tensor) -> Tensor:
        """Repeat a batch, without memory for copies of a batch of one."""
        return tensor.expand(self.count, *tensor.shape).flatten(0, 1)

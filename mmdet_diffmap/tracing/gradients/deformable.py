# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deformable attention whose backward pass is fast on a CPU."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...ops.sparse import has_sparse_products, products_at, transposed
from ..swapping import swapped
from .rows import few_rows


@contextmanager
def sparse_deformable_attention() -> Iterator[None]:
    """Let deformable attention that is recorded in this context, on a CPU, go
    back through products with sparse matrices.

    mmcv has it in plain torch there, and goes back through one sampling of a
    grid for each level, several copies of all sampled features, and their sum.
    A query's output is a weighted sum of few tokens, so that all of it is one
    sparse matrix, times the tokens. Values are those of mmcv.
    """
    module = sys.modules[MultiScaleDeformableAttention.__module__]
    name = 'multi_scale_deformable_attn_pytorch'
    original = getattr(module, name)

    def attend(tokens: Tensor, *args: Tensor) -> Tensor:
        if not has_sparse_products(tokens):
            return original(tokens, *args)
        return DeformableAttention.apply(original, tokens, *args)

    with swapped(module, name, attend):
        yield


class DeformableAttention(torch.autograd.Function):
    """Multi-scale deformable attention (Zhu et al., ICLR 2021)."""

    @staticmethod
    def forward(ctx: Any, attend: Callable[..., Tensor], tokens: Tensor,
                grids: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        """Compute mmcv's values.

        Args:
            attend (Callable): mmcv's function.
            tokens (Tensor): Of all levels, shape (B, N, heads, C).
            grids (Tensor): Height and width of each level, shape (L, 2).
            places (Tensor): Of the samples, as shares of width and height,
                shape (B, Q, heads, L, P, 2).
            weights (Tensor): Of the samples, shape (B, Q, heads, L, P).

        Returns:
            Tensor: Shape (B, Q, heads * C).
        """
        ctx.save_for_backward(tokens, places, weights)
        ctx.grids, ctx.samples = grids.tolist(), None
        return attend(tokens, grids, places, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # an error if the host has changed one of them in place
        tokens, places, weights = (each.detach() for each
                                   in ctx.saved_tensors)
        if ctx.samples is None:
            ctx.samples = Samples(tokens, ctx.grids, places, weights)
        _, _, _, *of_samples = ctx.needs_input_grad
        tokens, places, weights = ctx.samples.gradients(
            gradient, any(of_samples))
        return None, tokens, None, places, weights


@dataclass(frozen=True)
class Samples:
    """The samples of one run; see :class:`DeformableAttention`.

    An output of a head is a row of a sparse matrix ``S`` times its tokens.
    Each sample has four entries in a row: its weight times the share of a
    corner in the bilinear mean. What is cached serves all backward passes.
    """
    tokens: Tensor
    grids: list[list[int]]
    places: Tensor
    weights: Tensor

    @cached_property
    def corners(self) -> Corners:
        """The corners of all samples."""
        device, dtype = self.tokens.device, self.tokens.dtype
        batch, count, heads, _ = self.tokens.shape
        points = self.places.shape[4]
        # rows last: all else is one number for many of them; y before x
        places = self.places.permute(5, 3, 4, 0, 2, 1).flip(0).reshape(
            2, len(self.grids) * points, -1)
        weights = self.weights.permute(3, 4, 0, 2, 1).reshape(places.shape[1:])
        grids = torch.tensor(self.grids, dtype=torch.int32, device=device)
        cells = grids.prod(dim=1)
        starts = (cells.cumsum(0) - cells).int().repeat_interleave(points)
        sizes = grids.repeat_interleave(points, dim=0).T[:, :, None]
        places = places * sizes - 0.5
        before = places.floor()
        inner = places - before
        side = torch.arange(2, dtype=torch.int32, device=device)[:, None, None]
        cell = before.int()[:, None] + side  # (y and x, 2, L * P, rows)
        sizes = sizes[:, None]
        inside = (cell >= 0) & (cell < sizes)
        share = torch.stack([1 - inner, inner], dim=1).where(inside, 0)
        slope = ((2 * side - 1) * sizes).to(dtype).where(inside, 0)
        row, column = cell.clamp(min=0).minimum(sizes - 1)
        first = starts[:, None] + count * torch.arange(
            batch * heads, dtype=torch.int32, device=device
        ).repeat_interleave(self.places.shape[1])
        return Corners(*(
            each.flatten(0, 1).mT.contiguous() for each in (
                (first + row * sizes[1])[:, None] + column,
                share[0][:, None] * share[1],
                weights * (share[0][:, None] * slope[1]),
                weights * (slope[0][:, None] * share[1]))))

    @cached_property
    def transposed(self) -> Tensor:
        """``S``, transposed."""
        weights = self.weights.transpose(1, 2).flatten(0, 2).flatten(1)
        columns, values = (each.transpose(0, 1).flatten(1) for each in (
            self.corners.tokens, self.corners.shares * weights))
        return transposed(columns, values, len(self.rows_of_tokens))

    @cached_property
    def rows_of_tokens(self) -> Tensor:
        """The tokens of all heads, shape (B * heads * N, C)."""
        return self.tokens.transpose(1, 2).reshape(-1, self.tokens.shape[-1])

    def gradients(self, gradient: Tensor, of_samples: bool = True
                  ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute the gradients by tokens, places and weights.

        Args:
            gradient (Tensor): By the output, shape (B, Q, heads * C).
            of_samples (bool): Whether those by places and weights are wanted.
        """
        few = few_rows(gradient.transpose(0, 1).flatten(1))
        if few is not None and len(few):
            return self.gradients_of(few, gradient, of_samples)
        batch, count, heads, channels = self.tokens.shape
        of_rows = gradient.unflatten(2, (heads, channels)).transpose(
            1, 2).reshape(-1, channels)
        tokens = (self.transposed @ of_rows).view(
            batch, heads, count, channels).transpose(1, 2)
        if not of_samples:
            return tokens, None, None
        sums = self.corners.shares.new_zeros(
            3, *self.corners.tokens.shape[1:])
        for corner in map(Corners._make, zip(*self.corners)):
            # of each sample: its row's gradient times its token
            product = products_at(corner.tokens, of_rows, self.rows_of_tokens)
            for total, factor in zip(sums, corner[1:]):
                total.addcmul_(product, factor)
        shape = self.weights.transpose(1, 2).shape
        weights, across, down = (
            total.view(shape).transpose(1, 2) for total in sums)
        return tokens, torch.stack([across, down], dim=-1), weights

    def gradients_of(self, queries: Tensor, gradient: Tensor, of_samples: bool
                     ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute the same where that of most queries is zero."""
        tokens, *of_few = Samples(
            self.tokens, self.grids, self.places[:, queries],
            self.weights[:, queries]).gradients(
                gradient[:, queries], of_samples)
        places, weights = (
            None if few is None else torch.zeros_like(whole).index_copy_(
                1, queries, few)
            for whole, few in zip((self.places, self.weights), of_few))
        return tokens, places, weights


class Corners(NamedTuple):
    """The four corners of each sample, shapes (4, B * heads * Q, L * P).

    Args:
        tokens (Tensor): Which token of all heads each is, int32.
        shares (Tensor): Its share in the bilinear mean; zero outside of the
            level.
        across (Tensor): The sample's weight times how the share grows with
            the sample's x.
        down (Tensor): The same with its y.
    """
    tokens: Tensor
    shares: Tensor
    across: Tensor
    down: Tensor

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

#: The four cells around a sample: row and column, from the first one.
CORNERS = (0, 0), (0, 1), (1, 0), (1, 1)


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
        ctx.samples = Samples(tokens.detach(), grids.tolist(),
                              places.detach(), weights.detach())
        return attend(tokens, grids, places, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, places, weights = ctx.samples.gradients(gradient)
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
        device = self.tokens.device
        lengths = torch.tensor(self.grids, device=device)  # (L, 2)
        # rows, columns: (2, B, heads, Q, 1, L, P)
        places = self.places.transpose(1, 2).movedim(-1, 0).flip(0)[
            :, :, :, :, None]
        sizes = lengths.T[:, None, None, None, None, :, None]
        places = places * sizes - 0.5
        first = places.floor()
        inner = places - first
        after = torch.tensor(CORNERS, device=device).T[
            :, None, None, None, :, None, None].bool()
        cell = first.long() + after
        inside = (cell >= 0) & (cell < sizes)
        row, column = torch.where(after, inner, 1 - inner) * inside
        row_slope, column_slope = torch.where(after, 1, -1) * inside * sizes
        cells = lengths.prod(dim=1)
        starts = (cells.cumsum(0) - cells)[:, None]
        rows, columns = cell.clamp(min=0).minimum(sizes - 1)
        batch, count, heads, _ = self.tokens.shape
        first_token = count * torch.arange(
            batch * heads, device=device).view(batch, heads, 1, 1, 1, 1)
        weights = self.weights.transpose(1, 2)[:, :, :, None]
        return Corners(*(each.contiguous() for each in (
            first_token + starts + rows * lengths[:, 1, None] + columns,
            row * column, weights * (row * column_slope),
            weights * (row_slope * column))))

    @cached_property
    def columns(self) -> Tensor:
        """The columns of the entries of each row of ``S``."""
        rows = self.weights.shape[0] * self.weights.shape[1] * \
            self.tokens.shape[2]
        return self.corners.tokens.reshape(rows, -1)

    @cached_property
    def transposed(self) -> Tensor:
        """``S``, transposed."""
        weights = self.weights.transpose(1, 2)[:, :, :, None]
        values = weights * self.corners.shares
        return transposed(self.columns, values.reshape(self.columns.shape),
                          len(self.rows_of_tokens))

    @cached_property
    def rows_of_tokens(self) -> Tensor:
        """The tokens of all heads, shape (B * heads * N, C)."""
        return self.tokens.transpose(1, 2).reshape(-1, self.tokens.shape[-1])

    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients by tokens, places and weights.

        Args:
            gradient (Tensor): By the output, shape (B, Q, heads * C).
        """
        batch, count, heads, channels = self.tokens.shape
        of_rows = gradient.unflatten(2, (heads, channels)).transpose(
            1, 2).reshape(-1, channels)
        tokens = (self.transposed @ of_rows).view(
            batch, heads, count, channels).transpose(1, 2)
        # of each entry: its row's gradient times its token
        products = products_at(self.columns, of_rows, self.rows_of_tokens
                               ).view(self.corners.tokens.shape)
        weights, across, down = (
            (products * factors).sum(dim=3).transpose(1, 2) for factors in (
                self.corners.shares, self.corners.across, self.corners.down))
        return tokens, torch.stack([across, down], dim=-1), weights


class Corners(NamedTuple):
    """The four corners of each sample, shapes (B, heads, Q, 4, L, P).

    Args:
        tokens (Tensor): Which token of all heads each is, int64.
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

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deformable attention whose backward pass is fast on a CPU."""
from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    if not torch.backends.mkl.is_available():  # which has these products
        yield
        return
    module = sys.modules[MultiScaleDeformableAttention.__module__]
    name = 'multi_scale_deformable_attn_pytorch'
    attend = partial(DeformableAttention.apply, getattr(module, name))
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
    corner in the bilinear mean.
    """
    tokens: Tensor
    grids: list[list[int]]
    places: Tensor
    weights: Tensor

    @cached_property
    def shares(self) -> tuple[Tensor, Tensor, Tensor]:
        """Token of each corner of each sample, int64, its share along both
        axes, zero outside of the level, and how the share grows with the
        sample's place; shapes (B, heads, Q, L, P, 4) and twice (2, ...)."""
        batch, count, heads, _ = self.tokens.shape
        device = self.tokens.device
        lengths = torch.tensor(self.grids, device=device)  # (L, 2)
        cells = lengths.prod(dim=1)
        starts = cells.cumsum(0) - cells
        first_token = torch.arange(batch * heads, device=device).view(
            batch, heads, 1, 1, 1, 1) * count + starts[:, None, None]
        corners = torch.tensor(CORNERS, device=device)  # (4, 2)
        # rows, columns: (2, B, heads, Q, L, P)
        places = self.places.transpose(1, 2).movedim(-1, 0).flip(0)
        sizes = lengths.T[:, None, None, None, :, None]
        places = places * sizes - 0.5
        first = places.floor()
        inner = (places - first)[..., None]
        after = corners.T.view(2, 1, 1, 1, 1, 1, 4).bool()
        cell = first[..., None].long() + after
        inside = (cell >= 0) & (cell < sizes[..., None])
        shares = torch.where(after, inner, 1 - inner) * inside
        slopes = torch.where(after, 1., -1.).to(shares) * inside * \
            sizes[..., None]
        rows, columns = cell.clamp(min=0).minimum(sizes[..., None] - 1)
        tokens = first_token + rows * lengths[:, 1, None, None] + columns
        return tokens, shares, slopes

    @cached_property
    def pattern(self) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Where the rows of ``S`` begin, the columns of its entries, and its
        shape."""
        columns = self.shares[0].flatten()
        batch, queries, heads, levels, points = self.weights.shape
        rows = batch * heads * queries
        starts = torch.arange(rows + 1) * (4 * levels * points)
        return starts, columns, (rows, self.tokens.shape[1] * batch * heads)

    @cached_property
    def transposed(self) -> Tensor:
        """``S``, transposed."""
        starts, columns, (height, width) = self.pattern
        _, shares, _ = self.shares
        values = (self.weights.transpose(1, 2)[..., None] *
                  shares.prod(dim=0)).flatten()
        order = columns.sort(stable=True).indices
        ends = torch.bincount(columns, minlength=width).cumsum(0)
        return sparse_matrix(
            torch.cat([ends.new_zeros(1), ends]),
            order // (len(columns) // height), values[order], (width, height))

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
        starts, columns, shape = self.pattern
        # each entry's: the product of its row's gradient and its token
        products = torch.sparse.sampled_addmm(
            sparse_matrix(starts, columns, of_rows.new_zeros(len(columns)),
                          shape), of_rows,
            self.tokens.transpose(1, 2).reshape(-1, channels).T,
            beta=0).values()
        _, (row, column), (row_slope, column_slope) = self.shares
        products = products.view(row.shape)
        weights = (products * row * column).sum(dim=-1).transpose(1, 2)
        places = torch.stack([
            (products * row * column_slope).sum(dim=-1),
            (products * row_slope * column).sum(dim=-1)
        ], dim=-1).transpose(1, 2) * self.weights[..., None]
        return tokens, places, weights


def sparse_matrix(starts: Tensor, columns: Tensor, values: Tensor,
                  shape: tuple[int, int]) -> Tensor:
    """Return a matrix by its rows' entries, on the CPU."""
    with warnings.catch_warnings():  # that its interface may change
        warnings.simplefilter('ignore', UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, shape)

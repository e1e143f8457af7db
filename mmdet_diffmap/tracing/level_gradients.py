# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients on one level of the target layer, of many detections."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..maps.windows import Windows


class LevelWindows:
    """What of a level's features lies in the windows of some detections.

    The gradients of all outputs in the same windows share this.

    Args:
        feature (Tensor): The whole level ``A``, shape (C, H, W).
        windows (Windows): The windows of n detections.
    """

    def __init__(self, feature: Tensor, windows: Windows) -> None:
        self.feature = feature
        self.windows = windows

    @classmethod
    def whole_level(cls, level: int, feature: Tensor,
                    detections: Sequence[int]) -> LevelWindows:
        """Return windows that are the whole level each."""
        height, width = feature.shape[-2:]
        return cls(feature, Windows.whole_level(
            level, (height, width), detections, feature.device))

    @cached_property
    def activations(self) -> Tensor:
        """``A`` in each window, shape (n, C, h, w), zero outside of the
        level; (1, C, H, W) if each window is the whole level."""
        return self.windows.cut(self.feature)


@dataclass(frozen=True)
class LevelGradients:
    """The gradients of one output of n detections on one level.

    Args:
        gradients (Tensor): ``∂Y/∂A`` in the windows, outside of which it is
            zero, as it is outside of the level; shape (n, C, h, w).
        where (LevelWindows): The windows, and the features in them.
    """
    gradients: Tensor
    where: LevelWindows

    @property
    def windows(self) -> Windows:
        """Where the gradients lie on the level, and whose they are."""
        return self.where.windows

    @property
    def feature(self) -> Tensor:
        """The whole level ``A``, shape (C, H, W)."""
        return self.where.feature

    @property
    def activations(self) -> Tensor:
        """``A`` in the windows, shape (n, C, h, w), or (1, C, H, W) for all
        if each window is the whole level."""
        return self.where.activations

    def feature_sums(self) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k`` in the windows, shape (n, h, w).

        >>> gradients = torch.tensor([[[[1., -1.]], [[2., 0.]]]])
        >>> feature = torch.tensor([[[3., 4.]], [[5., 6.]]])  # two channels
        >>> where = LevelWindows.whole_level(0, feature, [0])
        >>> LevelGradients(gradients, where).feature_sums()
        tensor([[[13., -4.]]])
        """
        return (self.gradients * self.activations).sum(dim=1)

    def channel_means(self) -> Tensor:
        """Compute the mean of each channel's gradient over the whole level,
        shape (n, C). Outside of the windows it is zero, which counts."""
        return self.gradients.sum(dim=(2, 3)) / self.feature[0].numel()

    def channel_sums(self) -> Tensor:
        """Compute ``Σ_ij g_k ∘ A_k`` of each channel, shape (n, C).

        >>> gradients = torch.tensor([[[[1., -1.]], [[2., 0.]]]])
        >>> feature = torch.tensor([[[3., 4.]], [[5., 6.]]])  # two channels
        >>> where = LevelWindows.whole_level(0, feature, [0])
        >>> LevelGradients(gradients, where).channel_sums()
        tensor([[-1., 10.]])
        """
        return (self.gradients * self.activations).sum(dim=(2, 3))

    def __neg__(self) -> LevelGradients:
        """Return the gradients of the output with the other sign."""
        return replace(self, gradients=-self.gradients)

    def spread(self) -> LevelGradients:
        """Put the gradients on the whole level, shape (n, C, H, W)."""
        if self.windows.are_whole:
            return self
        return LevelGradients(
            self.windows.spread(self.gradients),
            LevelWindows.whole_level(self.windows.level, self.feature,
                                     self.windows.detections))

    def take(self, numbers: Sequence[int]) -> LevelGradients:
        """Return some of the gradients."""
        if len(numbers) == len(self.windows):
            return self
        return LevelGradients(
            self.gradients[list(numbers)],
            LevelWindows(self.feature, self.windows.take(numbers)))

    def as_level(self, level: int) -> LevelGradients:
        """Return the same under another number of the level."""
        if level == self.windows.level:
            return self
        return replace(self, where=LevelWindows(
            self.feature, replace(self.windows, level=level)))

    def renumbered(self, detections: Sequence[int]) -> LevelGradients:
        """Return the gradients with ``detections[i]`` in the place of
        detection ``i``."""
        numbers = [detections[number] for number in self.windows.detections]
        return replace(self, where=LevelWindows(
            self.feature, replace(self.windows, detections=tuple(numbers))))

    def split(self, memory: int) -> Iterator[LevelGradients]:
        """Divide the gradients so that on the whole level each part takes at
        most so many bytes, but for a single detection."""
        size = max(1, memory // (self.feature.numel() *
                                 self.feature.element_size()))
        for first in range(0, len(self.windows), size):
            yield self.take(
                range(first, min(first + size, len(self.windows))))

    def grid_maps(self, values: Tensor) -> GridMaps:
        """Place maps (n, h, w) of the windows on the level's grid."""
        return GridMaps(values, self.windows)


@dataclass(frozen=True)
class Basis:
    """Gradients of a whole level, of which others are weighted sums.

    Args:
        parts (Sequence[Tensor]): All r of them, in tensors (., C, H, W).
        feature (Tensor): The whole level ``A``, shape (C, H, W).
    """
    parts: Sequence[Tensor]
    feature: Tensor

    def sums(self, weights: Tensor) -> Tensor:
        """Return the sums (n, C, H, W) with weights (n, r)."""
        total = weights.new_zeros(len(weights), self.feature.numel())
        lengths = [len(part) for part in self.parts]
        for part, some in zip(self.parts, weights.split(lengths, dim=1)):
            total.addmm_(some, part.flatten(1))
        return total.view(-1, *self.feature.shape)

    @cached_property
    def feature_sums(self) -> Tensor:
        """``Σ_k g_k ∘ A_k``, shape (r, H, W)."""
        return torch.cat([(part * self.feature).sum(dim=1)
                          for part in self.parts])

    @cached_property
    def channel_means(self) -> Tensor:
        """The means over the level, shape (r, C)."""
        return torch.cat([part.mean(dim=(2, 3)) for part in self.parts])

    @cached_property
    def channel_sums(self) -> Tensor:
        """``Σ_ij g_k ∘ A_k``, shape (r, C)."""
        return torch.cat([(part * self.feature).sum(dim=(2, 3))
                          for part in self.parts])


class SummedGradients(LevelGradients):
    """Gradients of n detections that are each a part in a window, and a
    weighted sum of gradients of the whole level that all share.

    What is linear in the gradients is made of the parts; ``gradients`` are
    summed when they are asked for.

    Args:
        local (LevelGradients): The parts in windows.
        weights (Tensor): Shape (n, r).
        basis (Basis): What is weighted.
    """

    local: LevelGradients
    weights: Tensor
    basis: Basis

    def __init__(self, local: LevelGradients, weights: Tensor,
                 basis: Basis) -> None:
        where = LevelWindows.whole_level(
            local.windows.level, local.feature, local.windows.detections)
        # a frozen dataclass sets its fields in this way, too
        object.__setattr__(self, 'where', where)
        object.__setattr__(self, 'local', local)
        object.__setattr__(self, 'weights', weights)
        object.__setattr__(self, 'basis', basis)

    @property
    def gradients(self) -> Tensor:
        """``∂Y/∂A`` of the whole level, shape (n, C, H, W)."""
        return self.basis.sums(self.weights) + self.local.spread().gradients

    def feature_sums(self) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k`` on the whole level, shape (n, H, W)."""
        shared = (self.weights @ self.basis.feature_sums.flatten(1)).view(
            -1, *self.windows.grid)
        return shared + self.local.windows.spread(self.local.feature_sums())

    def channel_means(self) -> Tensor:
        """Compute the mean of each channel's gradient, shape (n, C)."""
        return self.weights @ self.basis.channel_means + \
            self.local.channel_means()

    def channel_sums(self) -> Tensor:
        """Compute ``Σ_ij g_k ∘ A_k`` of each channel, shape (n, C)."""
        return self.weights @ self.basis.channel_sums + \
            self.local.channel_sums()

    def __neg__(self) -> SummedGradients:
        return SummedGradients(-self.local, -self.weights, self.basis)

    def spread(self) -> SummedGradients:
        return self

    def take(self, numbers: Sequence[int]) -> SummedGradients:
        return SummedGradients(
            self.local.take(numbers), self.weights[list(numbers)], self.basis)

    def as_level(self, level: int) -> SummedGradients:
        return SummedGradients(
            self.local.as_level(level), self.weights, self.basis)

    def renumbered(self, detections: Sequence[int]) -> SummedGradients:
        return SummedGradients(
            self.local.renumbered(detections), self.weights, self.basis)

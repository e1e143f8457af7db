# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""An image behind random masks, and the scores that it gets there."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..maps.image_frame import ImageFrame, Shape
from ..tracing.trace import NetworkInput


class RandomMasks:
    """Random masks, drawn in turn: how many are drawn at once does not change
    them.

    >>> masks = RandomMasks(grid=4, probability=0.5, seed=0)
    >>> masks.draw(3, torch.zeros(20, 30)).shape
    torch.Size([3, 20, 30])

    Args:
        grid (int): A mask is a grid of so many cells along each side,
            enlarged to the image and moved by a part of a cell.
        probability (float): Of a cell to be shown.
        seed (int): Of the random numbers.
    """

    def __init__(self, grid: int, probability: float, seed: int) -> None:
        self.grid = grid
        self.probability = probability
        self.random = np.random.default_rng(seed)

    def draw(self, count: int, image: Tensor) -> Tensor:
        """Draw the next masks.

        A grid of ``g x g`` cells is enlarged (bilinear) to ``(g + 1) / g`` of
        the image's size, and moved by less than one of its cells.

        Args:
            count (int): How many.
            image (Tensor): Gives their size, device and type; shape (..., h,
                w).

        Returns:
            Tensor: Shape (count, h, w), in [0, 1].
        """
        numbers = self.random.random((count, self.grid**2 + 2))
        cells = torch.from_numpy(numbers[:, 2:] < self.probability)
        shifts = torch.from_numpy(numbers[:, :2]).to(image)
        rows, columns = (
            self.weights(shifts[:, axis], image.shape[axis - 2])
            for axis in (0, 1))
        cells = cells.to(image).view(count, self.grid, self.grid)
        return rows @ cells @ columns.mT

    def weights(self, shifts: Tensor, pixels: int) -> Tensor:
        """Return how much of each cell a pixel shows along one axis, shape
        (count, pixels, grid)."""
        options: Any = dict(device=shifts.device, dtype=shifts.dtype)
        centres = (torch.arange(pixels, **options) + .5) / pixels  # of 1
        places = (centres * self.grid + shifts[:, None]) * self.grid / (
            self.grid + 1) - .5
        places = places.clamp(0, self.grid - 1)  # in cells, from the first
        cells = torch.arange(self.grid, **options)
        return (1 - (places[..., None] - cells).abs()).clamp(min=0)


class MaskedImage:
    """The network's input, with the image behind masks. The padding is left
    as it is.

    Args:
        network (NetworkInput): The input.
        frame (ImageFrame): Where the image lies in it.
    """

    def __init__(self, network: NetworkInput, frame: ImageFrame) -> None:
        self.network = network
        self.place = (..., *frame.content)
        self.content = network.image[self.place]
        self.light = self.content - network.black

    def behind(self, masks: Tensor) -> Tensor:
        """Return the input for each mask (B, h, w), shape (B, 3, H, W)."""
        images = self.network.image.repeat(len(masks), 1, 1, 1)
        torch.addcmul(
            self.network.black, self.light, masks[:, None],
            out=images[self.place])
        return images


class MaskedSums:
    """The scores of detections behind masks, summed up for each pixel.

    Args:
        count (int): Number of detections.
        shape (tuple): Height and width of the masks.
        like (Tensor): Gives device and type.
    """

    def __init__(self, count: int, shape: Shape, like: Tensor) -> None:
        self.weighted = like.new_zeros(count, *shape)  # Σ_m s_m mask_m
        self.shown = like.new_zeros(shape)  # Σ_m mask_m

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """Add scores (N, B) of masks (B, h, w)."""
        masks = masks.type_as(self.weighted)
        self.weighted.flatten(1).addmm_(
            scores.type_as(self.weighted), masks.flatten(1))
        self.shown += masks.sum(dim=0)

    def merge(self, other: MaskedSums) -> None:
        """Add the sums of other masks."""
        self.weighted += other.weighted
        self.shown += other.shown

    def mean(self, index: int) -> Tensor:
        """Divide a detection's sum by how often each pixel was shown, shape
        (h, w); zero where it never was."""
        return self.weighted[index] / self.divisor

    def to_means(self) -> None:
        """Divide all sums by how often each pixel was shown, in place."""
        self.weighted /= self.divisor
        self.shown.fill_(1)

    @property
    def divisor(self) -> Tensor:
        """Tensor: How often each pixel was shown, and 1 where it never was."""
        return self.shown.where(self.shown > 0, torch.ones_like(self.shown))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from ..candidates import Candidates
from ..heatmaps import GridMap
from ..image_frame import ImageFrame, Shape
from ..progress import progress_bar
from ..registry import EXPLAINERS
from ..trace import NetworkInput, Trace
from .explainer import Explainer


@EXPLAINERS.register_module()
class DRISE(Explainer):
    """D-RISE (Petsiuk et al., CVPR 2021).

    The image is hidden behind random masks, and a pixel counts by how well
    the detection is found where the pixel is shown: ``Σ_m s_m · mask_m``,
    with ``s_m`` of :meth:`Targets.found_in`. One set of masked images serves
    all detections. No gradients are needed.

    Args:
        masks (int): How many masks.
        grid (int): A mask is a grid of so many cells along each side,
            enlarged to the image and moved by a part of a cell.
        probability (float): Of a cell to be shown.
        batch_size (int): Masked images in one run of the detector.
        seed (int): Of the masks.
        max_masks (int, optional): Go on after ``masks`` masks until the maps
            have settled, with at most so many.
        reliability (float): Maps have settled when those of the even and of
            the odd masks correlate so well that their mean would correlate
            with another such mean by so much, for every detection.
        coverage (bool): Divide each pixel's sum by how often the pixel was
            shown, ``Σ_m mask_m``, which is the same for all pixels but for
            chance. False is the paper's sum.
        objectness (bool): See :meth:`Targets.found_in`.
        amp (bool): Run the detector in mixed precision.
        progress (bool): Show a progress bar in a terminal.
        **kwargs: See :class:`Explainer`.
    """

    def __init__(self,
                 masks: int = 5000,
                 grid: int = 16,
                 probability: float = 0.5,
                 batch_size: int = 8,
                 seed: int = 0,
                 max_masks: int | None = None,
                 reliability: float = 0.95,
                 coverage: bool = True,
                 objectness: bool = True,
                 amp: bool = False,
                 progress: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(masks, grid, batch_size) < 1:
            raise ValueError('masks, grid and batch_size must be 1 or more, '
                             f'not {masks}, {grid} and {batch_size}')
        if not 0 < probability < 1:
            raise ValueError('probability must be between 0 and 1, not '
                             f'{probability}')
        if max_masks is not None and max_masks < masks:
            raise ValueError(f'max_masks must be at least masks={masks}, not '
                             f'{max_masks}')
        if not 0 < reliability < 1:
            raise ValueError('reliability must be between 0 and 1, not '
                             f'{reliability}')
        self.masks = masks
        self.grid = grid
        self.probability = probability
        self.batch_size = batch_size
        self.seed = seed
        self.max_masks = max_masks
        self.reliability = reliability
        self.coverage = coverage
        self.objectness = objectness
        self.amp = amp
        self.progress = progress

    def __call__(self, trace: Trace) -> Tensor:
        """Heat maps of all detections, shape (N, H, W), in [0, 1]."""
        if not len(trace):
            return self.image_heatmaps([], trace)
        frame = trace.frame
        means = [
            MaskedMean(len(trace), frame.content_shape, trace.input.image)
            for _ in range(1 if self.max_masks is None else 2)
        ]
        self.add_masks(trace, means)
        total = means[0] if len(means) == 1 else means[0] + means[1]
        maps = total.maps() if self.coverage else total.sums
        return self.image_heatmaps(
            [{0: GridMap(one, frame.input_shape, frame.corner)}
             for one in maps], trace)

    def add_masks(self, trace: Trace, means: list[MaskedMean]) -> None:
        """Add masks to the means, in turn to each, until there are enough."""
        targets = Targets.of_trace(trace, self.objectness)
        masks = RandomMasks(self.grid, self.probability, self.seed)
        image = MaskedImage(trace.input, trace.frame)
        limit = self.max_masks or self.masks
        done = 0
        with progress_bar('D-RISE', limit) if self.progress else \
                nullcontext(lambda steps: None) as advance:
            while done < limit and not settled(means, self.reliability):
                last = min(done + self.masks, limit)
                while done < last:
                    batch = masks.draw(
                        min(self.batch_size, last - done), image.content)
                    scores = self.scores(trace.input, image.behind(batch),
                                         targets)
                    for turn, mean in enumerate(means):
                        own = slice((turn - done) % len(means), None,
                                    len(means))
                        mean.add(scores[:, own], batch[own])
                    done += len(batch)
                    advance(len(batch))

    def scores(self, network: NetworkInput, images: Tensor,
               targets: Targets) -> Tensor:
        """How well N detections are found in images (B, 3, H, W), shape (N,
        B)."""
        with torch.autocast(images.device.type, enabled=self.amp):
            candidates = network.predict(images)
        return torch.stack([targets.found_in(one) for one in candidates],
                           dim=1)


@dataclass(frozen=True)
class Targets:
    """The detections that are looked for.

    Args:
        bboxes (Tensor): Shape (N, 4), in pixels of the network's input.
        labels (Tensor): Shape (N, ).
        probabilities (Tensor, optional): Of all classes, shape (N, C).
        objectness (bool): See :class:`DRISE`.
    """
    bboxes: Tensor
    labels: Tensor
    probabilities: Tensor | None
    objectness: bool

    @classmethod
    def of_trace(cls, trace: Trace, objectness: bool) -> Targets:
        """The detections of a trace, with the probabilities of the candidates
        that they were."""
        bboxes, labels = trace.outputs[:, 1:].detach(), trace.detections.labels
        (known, ) = trace.input.predict(trace.input.image[None])
        probabilities = known.probabilities
        if probabilities is not None:
            same = labels[:, None] == known.labels
            overlap = box_iou(bboxes, known.bboxes).where(
                same, bboxes.new_zeros(()))
            probabilities = probabilities[overlap.argmax(dim=1)]
        return cls(bboxes, labels, probabilities, objectness)

    def found_in(self, candidates: Candidates) -> Tensor:
        """The largest similarity of each detection to a candidate, shape (N,
        ): IoU times cosine of the class probabilities, and, with
        ``objectness``, times the candidate's score.

        Where class probabilities are not known, the cosine is 1 for the same
        class and 0 for others.
        """
        if not len(candidates):
            return self.bboxes.new_zeros(len(self.bboxes))
        # two boxes without an area have none in common
        found = box_iou(self.bboxes, candidates.bboxes.float()).nan_to_num(0)
        if self.probabilities is None or candidates.probabilities is None:
            found *= self.labels[:, None] == candidates.labels
        else:
            found *= F.normalize(self.probabilities.float()) @ F.normalize(
                candidates.probabilities.float()).T
        if self.objectness:
            found *= candidates.scores
        return found.amax(dim=1)


class RandomMasks:
    """Random masks, one after the other: how many are drawn at once does not
    change them.

    Args:
        grid, probability, seed: See :class:`DRISE`.
    """

    def __init__(self, grid: int, probability: float, seed: int) -> None:
        self.grid = grid
        self.probability = probability
        self.random = np.random.default_rng(seed)

    def draw(self, count: int, image: Tensor) -> Tensor:
        """The next masks.

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
        """How much of each cell is seen by each pixel along one axis, shape
        (count, pixels, grid)."""
        centres = (torch.arange(pixels).to(shifts) + .5) / pixels  # of 1
        places = (centres * self.grid + shifts[:, None]) * self.grid / (
            self.grid + 1) - .5
        places = places.clamp(0, self.grid - 1)  # in cells, from the first
        cells = torch.arange(self.grid).to(shifts)
        return (1 - (places[..., None] - cells).abs()).clamp(min=0)


class MaskedImage:
    """The network's input, with the image behind masks. The padding is left
    as it is."""

    def __init__(self, network: NetworkInput, frame: ImageFrame) -> None:
        self.network = network
        (top, left), (height, width) = frame.corner, frame.content_shape
        self.place = (..., slice(top, top + height),
                      slice(left, left + width))
        self.content = network.image[self.place]
        self.light = self.content - network.black

    def behind(self, masks: Tensor) -> Tensor:
        """The input for each mask (B, h, w), shape (B, 3, H, W)."""
        images = self.network.image.repeat(len(masks), 1, 1, 1)
        torch.addcmul(
            self.network.black, self.light, masks[:, None],
            out=images[self.place])
        return images


class MaskedMean:
    """The mean score of each detection where a pixel is shown.

    Args:
        count (int): Number of detections.
        shape (tuple): Height and width of the masks.
        like (Tensor): Gives device and type.
    """

    def __init__(self, count: int, shape: Shape, like: Tensor) -> None:
        self.sums = like.new_zeros(count, *shape)  # Σ_m s_m mask_m
        self.shown = like.new_zeros(shape)  # Σ_m mask_m

    def __add__(self, other: MaskedMean) -> MaskedMean:
        total = MaskedMean(0, (0, 0), self.sums)
        total.sums = self.sums + other.sums
        total.shown = self.shown + other.shown
        return total

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """Add scores (N, B) of masks (B, h, w)."""
        self.sums.flatten(1).addmm_(scores, masks.flatten(1))
        self.shown += masks.sum(dim=0)

    def maps(self) -> Tensor:
        """Shape (N, h, w); zero where nothing was shown."""
        return self.sums / self.shown.where(
            self.shown > 0, torch.ones_like(self.shown))


def settled(means: list[MaskedMean], reliability: float) -> bool:
    """Whether the maps of two independent halves agree: by the correlation r
    of two halves, that of their mean with another such mean is 2r / (1 + r)
    (Spearman-Brown). One sum alone never tells."""
    if len(means) < 2 or not means[0].shown.any():
        return False
    first, second = (mean.maps().flatten(1) for mean in means)
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    correlation = F.cosine_similarity(first, second)
    flat = ~(first.any(dim=1) | second.any(dim=1))  # not found at all
    return bool(
        (flat | (2 * correlation > reliability * (1 + correlation))).all())

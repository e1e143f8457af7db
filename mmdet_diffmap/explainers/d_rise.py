# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from ..io.progress import progress_bar
from ..maps.heatmaps import GridMap
from ..registry import EXPLAINERS
from ..tracing.candidates import Candidates
from ..tracing.trace import Trace
from .explainer import Explainer
from .random_masks import MaskedImage, MaskedSums, RandomMasks


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
        max_masks (int, optional): Go on, ``masks`` at a time, until the maps
            have settled, with at most so many masks. Off by default.
        reliability (float): With ``max_masks``, when maps have settled: those
            of the even and of the odd masks correlate so well that their mean
            would correlate with another such mean by so much, for every
            detection.
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
                 objectness: bool = False,
                 amp: bool = False,
                 progress: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        limit = masks if max_masks is None else max_masks
        numbers = masks, grid, batch_size, limit, seed
        if not all(isinstance(one, int) for one in numbers):
            raise ValueError(
                'masks, grid, batch_size, max_masks and seed must be whole '
                f'numbers, not {masks}, {grid}, {batch_size}, {max_masks} and '
                f'{seed}')
        if min(masks, grid, batch_size) < 1 or seed < 0:
            raise ValueError(
                'masks, grid and batch_size must be 1 or more, and seed 0 or '
                f'more, not {masks}, {grid}, {batch_size} and {seed}')
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
        total, *others = self.masked_sums(
            trace, 1 if self.max_masks is None else 2)
        for other in others:
            total.merge(other)
        if self.coverage:
            total.to_means()
        frame = trace.frame
        return self.image_heatmaps(
            [{0: GridMap(found, frame.input_shape, frame.corner)}
             for found in total.found], trace)

    def working_memory(self, trace: Trace) -> int:
        """Bytes of the sums."""
        height, width = trace.frame.content_shape
        parts = 1 if self.max_masks is None else 2
        return parts * (len(trace) + 1) * height * width * \
            trace.input.image.element_size()

    def map_of(self, sums: MaskedSums, index: int) -> Tensor:
        """A detection's map before normalisation, shape (h, w)."""
        found = sums.found[index]
        return sums.mean(found) if self.coverage else found

    def masked_sums(self, trace: Trace, parts: int) -> list[MaskedSums]:
        """The sums of enough masks, which go to each of several parts in
        turn. With two parts or more, there are enough as soon as the first
        two agree."""
        sums = [
            MaskedSums(len(trace), trace.frame.content_shape,
                       trace.input.image) for _ in range(parts)
        ]
        limit = self.max_masks or self.masks
        # a caller's mixed precision is none of ours
        with torch.autocast(trace.input.image.device.type, enabled=False), \
                progress_bar('D-RISE', limit) if self.progress \
                else nullcontext(lambda steps: None) as advance:
            search = MaskedSearch(
                trace, RandomMasks(self.grid, self.probability, self.seed),
                self.objectness, self.amp)
            for done in range(0, limit, self.masks):
                if done and all(one > self.reliability
                                for one in self.reliabilities(*sums[:2])):
                    break
                last = min(done + self.masks, limit)
                for first in range(done, last, self.batch_size):
                    scores, masks = search.next(
                        min(self.batch_size, last - first))
                    for turn, part in enumerate(sums):
                        own = slice((turn - first) % parts, None, parts)
                        part.add(scores[:, own], masks[own])
                    advance(len(masks))
        return sums

    def reliabilities(self, first: MaskedSums,
                      second: MaskedSums) -> Iterator[float]:
        """How well the map of each detection would correlate with one of as
        many other masks, if the maps of two halves of the masks correlate by
        r: ``2r / (1 + r)`` (Spearman-Brown). 1 for a detection that is not
        found at all."""
        for i in range(len(first.found)):
            maps = [self.map_of(half, i).flatten() for half in (first, second)]
            if not any(one.any() for one in maps):
                yield 1.
                continue
            one, other = (values - values.mean() for values in maps)
            r = float(F.cosine_similarity(one, other, dim=0))
            yield 2 * r / (1 + r) if r > 0 else r


class MaskedSearch:
    """Looks for detections in their image behind masks.

    Args:
        trace (Trace): The detections.
        masks (RandomMasks): The masks.
        objectness, amp (bool): See :class:`DRISE`.
    """

    def __init__(self, trace: Trace, masks: RandomMasks, objectness: bool,
                 amp: bool) -> None:
        self.masks = masks
        self.amp = amp
        self.image = MaskedImage(trace.input, trace.frame)
        self.candidates = trace.input.candidates
        self.targets = Targets.of_trace(trace, objectness)

    def next(self, count: int) -> tuple[Tensor, Tensor]:
        """How well N detections are found behind the next masks, shape (N,
        count), and the masks (count, h, w)."""
        masks = self.masks.draw(count, self.image.content)
        with torch.autocast(masks.device.type, enabled=self.amp):
            candidates = self.candidates(self.image.behind(masks))
        return torch.stack([self.targets.found_in(one) for one in candidates],
                           dim=1), masks


@dataclass(frozen=True)
class Targets:
    """The detections that are looked for.

    Args:
        bboxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2), in pixels of
            the network's input.
        labels (Tensor): Shape (N, ).
        probabilities (Tensor, optional): Of all classes, shape (N, C).
        objectness (bool): See :meth:`found_in`.
    """
    bboxes: Tensor
    labels: Tensor
    probabilities: Tensor | None
    objectness: bool

    @classmethod
    def of_trace(cls, trace: Trace, objectness: bool) -> Targets:
        """The detections of a trace, with the class probabilities of the
        candidates that they were."""
        bboxes, labels = trace.outputs[:, 1:].detach(), trace.detections.labels
        if not (bboxes[:, 2:] > bboxes[:, :2]).all(dim=1).any():
            raise ValueError('D-RISE compares boxes, and those of these '
                             'detections have no area')
        (known, ) = trace.input.candidates(trace.input.image[None])
        probabilities = known.probabilities
        if probabilities is not None and len(known):
            same = labels[:, None] == known.labels
            overlap, best = (box_iou(bboxes, known.bboxes) * same).max(dim=1)
            # a box that merging moved away from all candidates has its class
            alone = F.one_hot(labels.long(), probabilities.shape[1])
            probabilities = known.of_each(probabilities)[best].where(
                overlap[:, None] > 0, alone.to(probabilities))
        return cls(bboxes, labels, probabilities, objectness)

    def found_in(self, candidates: Candidates) -> Tensor:
        """How well each detection is found again, shape (N, ): the largest
        product of IoU and cosine of the class probabilities among the
        candidates, and, with ``objectness`` or a single class, of their
        score as well.

        Where class probabilities are not known, the score of candidates of
        the same class takes the place of the cosine.
        """
        if not len(candidates):
            return self.bboxes.new_zeros(len(self.bboxes))
        # two boxes without an area have none in common
        found = box_iou(self.bboxes,
                        candidates.bboxes.type_as(self.bboxes)).nan_to_num(0)
        if self.probabilities is None or candidates.probabilities is None:
            same = self.labels[:, None] == candidates.labels
            found *= same * candidates.scores
        else:
            found *= candidates.of_each(
                F.normalize(self.probabilities.type_as(found)) @ F.normalize(
                    candidates.probabilities.type_as(found)).T, dim=1)
            single = self.probabilities.shape[1] == 1  # all cosines are 1
            if self.objectness or single:
                found *= candidates.scores
        return found.amax(dim=1)

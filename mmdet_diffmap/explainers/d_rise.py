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
from ..maps.heatmaps import GridMaps
from ..maps.windows import Windows
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
    with ``s_m`` of :meth:`Targets.match`. One set of masked images serves all
    detections. No gradients are needed.

    >>> from mmdet_diffmap import explain, load_detector
    >>> detector = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
    >>> explainer = DRISE(masks=8, progress=False)  # far too few but to see
    >>> sample = explain(detector, 'scene://0/2', explainer, max_objects=2)
    >>> sample.pred_instances.heatmaps.shape
    torch.Size([2, 192, 192])

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
        objectness (bool): See :meth:`Targets.match`.
        amp (bool): Run the detector in mixed precision.
        progress (bool): Show a progress bar in a terminal.
        **kwargs: See :class:`Explainer`.
    """

    name = 'd-rise'

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
        if not all(isinstance(number, int) for number in numbers):
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
        """Make heat maps of all detections, shape (N, H, W), in [0, 1]."""
        if not len(trace):
            return self.image_heatmaps([], trace)
        total, *others = self.masked_sums(
            trace, 1 if self.max_masks is None else 2)
        for other in others:
            total.merge(other)
        if self.coverage:
            total.to_means()
        frame = trace.frame
        windows = Windows(0, frame.input_shape, tuple(range(len(trace))),
                          (frame.corner, ) * len(trace), frame.content_shape,
                          total.weighted.device)
        return self.image_heatmaps([GridMaps(total.weighted, windows)], trace)

    def working_memory(self, trace: Trace) -> int:
        """Return the bytes of the sums."""
        height, width = trace.frame.content_shape
        parts = 1 if self.max_masks is None else 2
        return parts * (len(trace) + 1) * height * width * \
            trace.input.image.element_size()

    def raw_map(self, sums: MaskedSums, index: int) -> Tensor:
        """Return a detection's map before normalisation, shape (h, w)."""
        return sums.mean(index) if self.coverage else sums.weighted[index]

    def masked_sums(self, trace: Trace, parts: int) -> list[MaskedSums]:
        """Sum up enough masks, which go to each of several parts in turn.
        With two parts or more, there are enough as soon as the first two
        agree."""
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
                if done and all(
                        reliability > self.reliability
                        for reliability in self.reliabilities(*sums[:2])):
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
        """Tell how well the map of each detection would correlate with that
        of as many other masks, if the maps of two halves of the masks
        correlate by r: ``2r / (1 + r)`` (Spearman-Brown).

        Yields:
            float: For each detection; 1 for one that is found behind no mask.
        """
        for i in range(len(first.weighted)):
            maps = [self.raw_map(half, i).flatten()
                    for half in (first, second)]
            if not any(raw_map.any() for raw_map in maps):
                yield 1.
                continue
            first_map, second_map = (
                raw_map - raw_map.mean() for raw_map in maps)
            r = float(F.cosine_similarity(first_map, second_map, dim=0))
            yield 2 * r / (1 + r) if r > 0 else r


class MaskedSearch:
    """The search for detections in their image behind masks.

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
        """Return how well N detections are found behind the next masks, shape
        (N, count), and the masks (count, h, w)."""
        masks = self.masks.draw(count, self.image.content)
        with torch.autocast(masks.device.type, enabled=self.amp):
            candidates = self.candidates(self.image.behind(masks))
        return torch.stack(
            [self.targets.match(behind_mask) for behind_mask in candidates],
            dim=1), masks


@dataclass(frozen=True)
class Targets:
    """The detections that are looked for.

    Args:
        bboxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2), in pixels of
            the network's input.
        labels (Tensor): Shape (N, ).
        probabilities (Tensor, optional): Of all classes, shape (N, C).
        objectness (bool): See :meth:`match`.
    """
    bboxes: Tensor
    labels: Tensor
    probabilities: Tensor | None
    objectness: bool

    @classmethod
    def of_trace(cls, trace: Trace, objectness: bool) -> Targets:
        """Take the detections of a trace, with the class probabilities of the
        candidates that they were.

        Raises:
            ValueError: If no detection has an area.
        """
        bboxes, labels = trace.outputs[:, 1:].detach(), trace.detections.labels
        if not (bboxes[:, 2:] > bboxes[:, :2]).all(dim=1).any():
            raise ValueError('D-RISE compares boxes, and those of these '
                             'detections have no area')
        (candidates, ) = trace.input.candidates(trace.input.image[None])
        probabilities = candidates.probabilities
        if probabilities is not None and len(candidates):
            same = labels[:, None] == candidates.labels
            overlap, best = (box_iou(bboxes, candidates.bboxes) * same).max(
                dim=1)
            # a box that merging moved away from all candidates has its class
            alone = F.one_hot(labels.long(), probabilities.shape[1])
            probabilities = candidates.of_each(probabilities)[best].where(
                overlap[:, None] > 0, alone.to(probabilities))
        return cls(bboxes, labels, probabilities, objectness)

    def match(self, candidates: Candidates) -> Tensor:
        """Tell how well each detection is found again among candidates: by
        the largest product of IoU and cosine of the class probabilities, and,
        with ``objectness`` or a single class, of the candidate's score.

        Where class probabilities are not known, the score of candidates of
        the same class takes the place of the cosine.

        Returns:
            Tensor: Shape (N, ), in [0, 1].

        >>> box = torch.tensor([[0., 0., 2., 2.]])
        >>> targets = Targets(box, torch.tensor([0]), None, False)
        >>> targets.match(Candidates(  # half of it, and of its class
        ...     torch.tensor([[0., 0., 2., 1.]]), torch.tensor([0.8]),
        ...     torch.tensor([0])))
        tensor([0.4000])
        """
        if not len(candidates):
            return self.bboxes.new_zeros(len(self.bboxes))
        # two boxes without an area have none in common
        similarity = box_iou(
            self.bboxes,
            candidates.bboxes.type_as(self.bboxes)).nan_to_num(0)
        if self.probabilities is None or candidates.probabilities is None:
            same = self.labels[:, None] == candidates.labels
            similarity *= same * candidates.scores
        else:
            ours, theirs = (
                F.normalize(probabilities.type_as(similarity)) for
                probabilities in (self.probabilities,
                                  candidates.probabilities))
            similarity *= candidates.of_each(ours @ theirs.T, dim=1)
            single = self.probabilities.shape[1] == 1  # all cosines are 1
            if self.objectness or single:
                similarity *= candidates.scores
        return similarity.amax(dim=1)

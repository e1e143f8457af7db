# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The segments of panoptic detectors, each as if it were a detection."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.models.seg_heads.panoptic_fusion_heads import (
    HeuristicFusionHead,
    MaskFormerFusionHead,
)
from mmdet.structures.mask import mask2bbox
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from .mask_values import MaskValues, mean_inside
from .swapping import swapped

#: The field of segments that is their output ``mask``.
MEAN_LOGITS = 'mean_logits'


@dataclass
class Segments:
    """Listens to how a panoptic detector makes its segments.

    mmdet gives one map of numbers: ``label + INSTANCE_OFFSET * number`` of
    things, the label of stuff. Which query or detection a segment is of, is
    not in it.

    Args:
        values (MaskValues, optional): Knows what binary masks were, where that
            matters.

    Attributes:
        images (list[InstanceData]): The segments of one image after the
            other, in the order of their numbers: ``bboxes`` (N, 4) around
            them, ``scores`` (N, ) with a graph, ``labels`` (N, ), ``masks``
            (N, H, W) and ``mean_logits`` (N, ).
    """
    values: MaskValues | None = None
    images: list[InstanceData] = field(default_factory=list)

    @contextmanager
    def listening(self, model: nn.Module) -> Iterator[Segments]:
        """Listen to a detector in this context. Of one that is not panoptic,
        or whose fusion is not known, nothing is heard."""
        fusion: Any = getattr(model, 'panoptic_fusion_head', None)
        for kind, name, hear in (
                (MaskFormerFusionHead, 'panoptic_postprocess', self.queries),
                (HeuristicFusionHead, '_predict_single', self.regions)):
            if isinstance(fusion, kind):
                original = getattr(fusion, name)
                with swapped(fusion, name, partial(hear, fusion, original)):
                    yield self
                return
        yield self

    def queries(self, fusion: Any, original: Callable, mask_cls: Tensor,
                mask_pred: Tensor) -> PixelData:
        """Hear which query each pixel is of.

        Args:
            fusion (MaskFormerFusionHead): The head.
            original (Callable): Its method.
            mask_cls (Tensor): Logits of the classes, shape (Q, C + 1).
            mask_pred (Tensor): Logits of the masks, shape (Q, H, W).
        """
        panoptic = original(mask_cls, mask_pred)
        ids, masks = segment_masks(panoptic, fusion.num_classes)
        # mmdet's own choice once more, to the bit
        scores, labels = F.softmax(mask_cls, dim=-1).max(-1)
        kept = (labels.ne(fusion.num_classes) & (
            scores > fusion.test_cfg.get('object_mask_thr', 0.8))
        ).nonzero()[:, 0]
        if not len(ids):
            self._add(ids, masks, scores[:0], scores[:0])
            return panoptic
        with torch.no_grad():
            owners = kept[(scores[kept].view(-1, 1, 1) *
                           mask_pred.sigmoid()[kept]).argmax(dim=0)]
        # several queries may share a segment of stuff
        first = torch.stack([owners[mask].mode().values for mask in masks])
        if not torch.equal(labels[first], ids % INSTANCE_OFFSET):
            raise RuntimeError(
                f'{type(fusion).__name__} makes segments in another way than '
                'mmdet 3.3.0: which query each is of is not known')
        logits = mask_pred.gather(0, owners[None])
        self._add(ids, masks, scores[first],
                  mean_inside(logits.expand(len(masks), -1, -1), masks))
        return panoptic

    def regions(self, fusion: Any, original: Callable,
                mask_results: InstanceData, seg_preds: Tensor,
                **kwargs: Any) -> PixelData:
        """Hear which detection each segment of a thing is, and how probable
        stuff is.

        Args:
            fusion (HeuristicFusionHead): The head.
            original (Callable): Its method.
            mask_results (InstanceData): The detections of things.
            seg_preds (Tensor): Logits of stuff, shape (S + 1, H, W).
        """
        panoptic = original(mask_results, seg_preds, **kwargs)
        ids, masks = segment_masks(panoptic, fusion.num_classes)
        numbered = InstanceData(**mask_results)
        numbered.labels = torch.arange(len(numbered), device=ids.device)
        # in place of its label, each kept detection has its number
        place, rows = fusion._lay_masks(numbered, fusion.test_cfg.mask_overlap)
        shown = [row for index, row in enumerate(rows.tolist())
                 if (place == index + 1).any()]
        of_things = self._mean_logits(mask_results)
        probabilities = seg_preds.softmax(dim=0)
        scores = [mask_results.scores[:0]]  # of no segment
        logits = [mask_results.scores[:0]]
        for segment, mask in zip(ids.tolist(), masks):
            if segment >= INSTANCE_OFFSET:
                row = shown[segment // INSTANCE_OFFSET - 1]
                scores.append(mask_results.scores[row, None])
                logits.append(of_things[row, None])
            else:
                channel = segment - fusion.num_things_classes
                scores.append(probabilities[channel][mask].mean()[None])
                logits.append(seg_preds[channel][mask].mean()[None])
        self._add(ids, masks, torch.cat(scores), torch.cat(logits))
        return panoptic

    def _mean_logits(self, detections: InstanceData) -> Tensor:
        """Return the mean logits in the masks of detections, (N, ); zeros
        where nobody asks for them."""
        real = None if self.values is None else self.values.of(
            detections.masks)
        return torch.zeros_like(detections.scores) if real is None else \
            real.mean_logits(detections.masks)

    def _add(self, ids: Tensor, masks: Tensor, scores: Tensor,
             logits: Tensor) -> None:
        """Keep the segments of an image."""
        segments = InstanceData(
            bboxes=mask2bbox(masks).to(scores), scores=scores,
            labels=ids % INSTANCE_OFFSET, masks=masks)
        segments.set_field(logits, MEAN_LOGITS)
        self.images.append(segments)


def segment_masks(panoptic: PixelData, nothing: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the segments of a map, int64, ascending, shape (N,
    ), and their masks (N, H, W).

    Args:
        panoptic (PixelData): ``sem_seg`` (1, H, W).
        nothing (int): What stands where there is no segment.
    """
    numbers = panoptic.sem_seg[0].long()
    ids = numbers.unique()
    ids = ids[ids != nothing]
    return ids, numbers == ids[:, None, None]

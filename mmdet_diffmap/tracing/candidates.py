# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a detector predicts before its final filtering."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

import torch
from mmdet.models.dense_heads import DETRHead
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .swapping import modules_with, swapped

#: The field of results that says which candidate each one was.
NUMBERS = 'candidate_numbers'


@dataclass(frozen=True)
class Candidates:
    """The boxes of one image that are left to non-maximum suppression.

    Args:
        bboxes (Tensor): Shape (P, 4), last dim (x1, y1, x2, y2), in pixels of
            the network's input.
        scores (Tensor): Shape (P, ).
        labels (Tensor): Shape (P, ).
        probabilities (Tensor, optional): Of all classes, shape (R, C); the
            background is none of them. None where only the final detections
            are known.
        rows (Tensor, optional): Which row of ``probabilities`` is each
            candidate's, shape (P, ); None if they have one each. A region is
            a candidate for many classes.
    """
    bboxes: Tensor
    scores: Tensor
    labels: Tensor
    probabilities: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def of_each(self, values: Tensor, dim: int = 0) -> Tensor:
        """Pick what belongs to each candidate's row of ``probabilities``.

        Args:
            values (Tensor): One for each row, along a dimension.
            dim (int): The dimension.
        """
        return values if self.rows is None else \
            values.index_select(dim, self.rows)


@contextmanager
def recorded_candidates(
        head: nn.Module | None) -> Iterator[list[Candidates | None]]:
    """Listen to the candidates of each image that a detector predicts in this
    context. Its results say in their field ``NUMBERS`` which of these they
    are, where that is known.

    mmdet keeps one class of a candidate. Those that it chooses from pass
    through a few functions of its post-processing, which are listened to:
    ``filter_scores_and_topk`` and ``_bbox_post_process`` of one-stage heads,
    ``multiclass_nms`` of heads on regions, ``_predict_by_feat_single`` of
    DETR's, and ``convert_grounding_to_cls_scores`` of those whose classes are
    the phrases of a text. Of a head that uses none of them, nothing is known.

    Args:
        head (nn.Module, optional): The head whose results are the detections.

    Yields:
        list[Candidates | None]: Fills with those of one image after the
        other; None where they are not known.
    """
    listener = Listener(head)
    # not kept by the listener: a cycle would keep its tensors for a while
    functions: dict[str, Callable] = dict(
        filter_scores_and_topk=listener.filter_scores_and_topk,
        multiclass_nms=listener.multiclass_nms,
        convert_grounding_to_cls_scores=listener.convert_words)
    methods: dict[str, Callable] = dict(
        predict_by_feat=listener.predict_by_feat,
        _predict_by_feat_single=listener.predict_by_feat_single,
        _bbox_post_process=listener.bbox_post_process,
        _bbox_mask_post_process=listener.bbox_post_process)
    with ExitStack() as stack:
        for name, hear in functions.items():
            for module in modules_with(name, head):
                original = vars(module)[name]
                stack.enter_context(
                    swapped(module, name, partial(hear, original)))
        for name, hear in methods.items():
            if hasattr(head, name):
                original = getattr(head, name)
                stack.enter_context(
                    swapped(head, name, update_wrapper(
                        partial(hear, original), original)))
        yield listener.images


class Listener:
    """Hears what goes through a head's post-processing.

    Args:
        head (nn.Module, optional): The head.
    """

    def __init__(self, head: nn.Module | None) -> None:
        self.head: Any = head
        self.images: list[Candidates | None] = []
        self.current: Candidates | None = None
        self.in_single = False  # in _predict_by_feat_single
        self.kept: list[Tensor] = []  # probabilities of this image, by level
        self.chosen: Tensor | None = None  # which regions' classes are kept
        self.maps: Sequence[Any] = ()  # raw maps of the batch
        self.phrases: Tensor | None = None  # probabilities of a text's

    def predict_by_feat(self, original: Callable, *maps: Any,
                        **kwargs: Any) -> Any:
        """Note the raw maps of a batch."""
        self.maps = [levels for levels in maps if isinstance(
            levels, (list, tuple)) and all(
                isinstance(level, Tensor) for level in levels)]
        return original(*maps, **kwargs)

    def predict_by_feat_single(self, original: Callable, *args: Any,
                               **kwargs: Any) -> Any:
        """Follow one image from its beginning to its end."""
        self.in_single = True
        results = original(*args, **kwargs)
        self.in_single = False
        if isinstance(self.head, DETRHead):
            self.current = self._queries(args[0], results)
            self._number(results)
        elif self.chosen is not None and len(self.chosen) == len(results):
            results.set_field(self.chosen, NUMBERS)
        self._end_image()
        return results

    def _number(self, results: InstanceData) -> None:
        """Let results carry their own numbers through what follows."""
        results.set_field(
            torch.arange(len(results), device=results.scores.device), NUMBERS)

    def _end_image(self) -> None:
        """Keep an image's candidates, and begin the next one."""
        self.images.append(self.current)
        self.current, self.kept, self.chosen = None, [], None
        self.phrases = None

    def _queries(self, logits: Tensor,
                 results: InstanceData) -> Candidates | None:
        """Return those queries of a DETR that mmdet keeps; None where they are
        not classes of objects, or cannot be told."""
        if self.phrases is not None:
            probabilities, classes = self.phrases, self.phrases.shape[1]
        else:
            probabilities = logits.sigmoid() if \
                self.head.loss_cls.use_sigmoid else logits.softmax(-1)[:, :-1]
            classes = self.head.num_classes
        if probabilities.shape[1] != classes:
            return None  # of words, not of classes
        # mmdet's own choice once more, since scores alone may tie
        count = len(results)
        chosen = probabilities.flatten().topk(count).indices // classes \
            if self.head.loss_cls.use_sigmoid else \
            probabilities.amax(dim=1).topk(count).indices
        rows = probabilities[chosen]
        own = rows.gather(1, results.labels[:, None])[:, 0]
        if not torch.equal(own, results.scores):
            return None
        return Candidates(results.bboxes, results.scores, results.labels,
                          rows)

    def convert_words(self, original: Callable, *args: Any,
                      **kwargs: Any) -> Any:
        """Note how probable each phrase of a text is, made of its words."""
        results = original(*args, **kwargs)
        self.phrases = results[0]  # of one image
        return results

    def filter_scores_and_topk(self, original: Callable, scores: Tensor,
                               *args: Any, **kwargs: Any) -> Any:
        """Keep the probabilities of a level's best locations."""
        results = original(scores, *args, **kwargs)
        _, _, locations, _ = results
        self.kept.append(scores[locations])
        return results

    def bbox_post_process(self, original: Callable, *args: Any,
                          **kwargs: Any) -> Any:
        """Follow the end of an image of a one-stage head."""
        results = kwargs['results'] if 'results' in kwargs else \
            args[0] if args else None
        if isinstance(results, InstanceData):  # YOLACT's are none
            if results.scores.dim() == 1:
                self.current = self._locations(results)
                self._number(results)
            else:  # PAA goes on to multiclass_nms with other scores
                self.kept = [results.scores]
        final = original(*args, **kwargs)
        if not self.in_single:  # YOLOX and YOLOv3 go through the batch
            self._end_image()
        return final

    def _locations(self, results: InstanceData) -> Candidates | None:
        """Return what a one-stage head keeps of its locations."""
        scores = results.scores
        if 'score_factors' in results:
            scores = scores * results.score_factors
        probabilities = torch.cat(self.kept) if self.kept else \
            self._above_threshold()
        classes = getattr(self.head, 'num_classes', -1) \
            if self.phrases is None else self.phrases.shape[1]
        if probabilities is None or probabilities.shape != (
                len(scores), classes):
            return None  # as where the head keeps the best class alone
        return Candidates(
            get_box_tensor(results.bboxes), scores, results.labels,
            probabilities)

    def _above_threshold(self) -> Tensor | None:
        """Return the probabilities at an image's locations above the
        threshold, as YOLOX chooses them."""
        if len(self.maps) != 3:
            return None
        image = len(self.images) % len(self.maps[0][0])  # of the batch
        classes, _, objectness = (
            torch.cat([level[image].flatten(1) for level in levels],
                      dim=1).sigmoid()
            for levels in self.maps)
        if (len(classes), len(objectness)) != (self.head.num_classes, 1):
            return None
        best = objectness[0] * classes.amax(dim=0)
        return classes[:, best >= self.head.test_cfg.score_thr].T

    def multiclass_nms(self, original: Callable, boxes: Tensor,
                       scores: Tensor, score_thr: float, *args: Any,
                       **kwargs: Any) -> Any:
        """Follow the end of an image of a head on regions: each region is a
        candidate for each class."""
        probabilities = self.kept[0] if self.kept else scores[:, :-1]
        places = boxes.view(len(boxes), -1, 4)
        regions, labels = (scores[:, :-1] > score_thr).nonzero().unbind(dim=1)
        own = scores[regions, labels]
        if kwargs.get('score_factors') is not None:
            own = own * kwargs['score_factors'][regions]
        self.current = Candidates(
            places[regions, labels if places.shape[1] > 1 else 0], own,
            labels, probabilities, regions)
        returns_chosen = kwargs.pop('return_inds', False)
        detections, kept_labels, chosen = original(
            boxes, scores, score_thr, *args, return_inds=True, **kwargs)
        self.chosen = torch.searchsorted(
            regions * (scores.shape[1] - 1) + labels, chosen)
        return (detections, kept_labels, chosen) if returns_chosen else \
            (detections, kept_labels)

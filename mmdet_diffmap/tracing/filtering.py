# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a detector's final filtering makes of each candidate."""
from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from inspect import signature
from typing import Any

import torch
from mmdet.models.dense_heads import DETRHead
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops import box_iou

from .swapping import swapped
from .trace import Trace

#: More than any detector has candidates.
NO_MAXIMUM = 2**31 - 1


class Fate(IntEnum):
    """What became of a candidate."""
    KEPT = 0
    BELOW_THRESHOLD = 1
    SUPPRESSED = 2
    CUT = 3  # by the maximum number of detections


@dataclass(frozen=True)
class Filtering:
    """The candidates of an image, and what became of each.

    Args:
        fates (Tensor): Values of :class:`Fate`, int64, shape (P, ).
        suppressors (Tensor): By which candidate each one was suppressed,
            int64, shape (P, ); -1 where it was not, or that is not known.
        detections (Tensor): Which candidate each final detection is, int64,
            shape (N, ), in mmdet's order.
        scores (Tensor): The score of each final detection, shape (N, ).
            Suppression may lower what the candidate had (Soft-NMS).
        proposals (Tensor, optional): The boxes from which all boxes were
            moved: those of the proposal network, or anchors; shape (R, 4), in
            pixels of the network's input. None of heads that begin at points
            or queries.
    """
    fates: Tensor
    suppressors: Tensor
    detections: Tensor
    scores: Tensor
    proposals: Tensor | None = None


@dataclass(frozen=True)
class CandidateTrace:
    """All candidates of one image, each as if it were a detection.

    Args:
        trace (Trace): The candidates, best first, as a trace. Only those that
            are selected from it are differentiated.
        filtering (Filtering): What became of them.

    Example:
        Explain what the detector almost found::

            candidates = DetectorAdapter(model).trace_candidates(data)
            below = candidates.with_fate(Fate.BELOW_THRESHOLD)
            heatmaps = ODAM()(candidates.trace.select(below[:5]))
    """
    trace: Trace
    filtering: Filtering

    def with_fate(self, fate: Fate) -> Tensor:
        """Return the candidates of a fate, int64, best first."""
        return (self.filtering.fates == fate).nonzero()[:, 0]

    def suppressed_by(self, candidate: int) -> Tensor:
        """Return the candidates that a detection suppressed, int64, best
        first."""
        return (self.filtering.suppressors == candidate).nonzero()[:, 0]


@contextmanager
def recorded_filtering(head: Any) -> Iterator[list[Filtering]]:
    """Let a head give all its candidates as detections in this context, and
    note what its own filtering would have made of them.

    The head's ``predict_by_feat`` runs several times on the same raw maps: as
    it is set up, and with one step after the other left out, from the last to
    the first (the maximum number, suppression, the threshold). What a step
    removes is what is there without it and not with it. The steps are the
    host's own, and none is done again here. What the host leaves out before
    them stays out: of each level, all but the ``nms_pre`` best.

    Args:
        head (nn.Module, optional): The head whose results are the detections.

    Yields:
        list[Filtering]: Fills with that of one image, each time that the head
        predicts.

    Raises:
        UnknownFilteringError: If the head has no such filtering, or one
            that changes what it keeps.
    """
    if not hasattr(head, 'predict_by_feat'):
        raise unknown_filtering(head)
    filterings: list[Filtering] = []
    original = head.predict_by_feat

    def predict(*args: Any, **kwargs: Any) -> list[InstanceData]:
        steps = Steps(head, original, args, kwargs)
        with torch.no_grad():
            (final, ) = steps.run()
            (kept, ) = steps.run('maximum')
            (above, ) = steps.run('maximum', 'suppression')
        (candidates, ) = everything = steps.run('maximum', 'suppression',
                                                'threshold')
        filterings.append(
            steps.compare(plain(candidates), plain(above), plain(kept),
                          plain(final)))
        return everything

    with swapped(head, 'predict_by_feat', predict):
        yield filterings


class UnknownFilteringError(NotImplementedError):
    """A head's final filtering is of a kind that is not known."""


def unknown_filtering(head: nn.Module | None) -> UnknownFilteringError:
    """Return the error of a head whose filtering is of another kind."""
    name = 'this detector' if head is None else type(head).__name__
    return UnknownFilteringError(
        f'the candidates of {name} cannot be told: its final filtering is no '
        'choice by score, overlap and number; explain its detections')


class Steps:
    """The final filtering of a head on the raw maps of an image.

    Args:
        head (nn.Module): The head.
        predict (Callable): Its own ``predict_by_feat``.
        args (tuple): What that gets.
        kwargs (Mapping): The same, by name.
    """

    def __init__(self, head: Any, predict: Callable, args: tuple,
                 kwargs: Mapping[str, Any]) -> None:
        self.head = head
        self.predict = predict
        self.bound = signature(predict).bind(*args, **kwargs)
        # heads on regions get their settings, others have them
        self.given = next((name for name in ('rcnn_test_cfg', 'cfg')
                           if self.bound.arguments.get(name) is not None), '')
        self.settings: Any = self.bound.arguments[self.given] if self.given \
            else getattr(head, 'test_cfg', None)
        # other names of settings are those of other kinds of suppression
        if self.settings is None or not (
                isinstance(head, DETRHead) or self.settings.get('nms')):
            raise unknown_filtering(head)

    def run(self, *left_out: str) -> list[InstanceData]:
        """Filter without some of the steps.

        Raises:
            UnknownFilteringError: If the head does not work without them.
        """
        if not left_out:
            return self._run(self.settings)
        try:
            return self._run(self.without(*left_out))
        except (AttributeError, KeyError, TypeError) as error:
            raise unknown_filtering(self.head) from error

    def _run(self, settings: Any) -> list[InstanceData]:
        with ExitStack() as stack:
            arguments = dict(self.bound.arguments)
            if self.given:
                arguments[self.given] = settings
            else:
                stack.enter_context(swapped(self.head, 'test_cfg', settings))
            bound = copy.copy(self.bound)
            bound.arguments = arguments
            return self.predict(*bound.args, **bound.kwargs)

    def without(self, *steps: str) -> Any:
        """Return settings that leave out some steps."""
        settings = copy.deepcopy(self.settings)
        if 'maximum' in steps:
            settings['max_per_img'] = self._all()
            (settings.get('nms') or {}).pop('max_num', None)
        if 'suppression' in steps and 'nms' in settings:
            settings['nms'] = None
        if 'threshold' in steps and 'score_thr' in settings:
            settings['score_thr'] = 0.
        return settings

    def _all(self) -> int:
        """Return a number that no head exceeds, and that DETR's can choose:
        of all queries and classes, or phrases of a text, or of all
        queries."""
        if not isinstance(self.head, DETRHead):
            return NO_MAXIMUM
        scores = self.bound.args[0][-1][0]  # last layer, first image: (Q, C)
        texts = self.bound.arguments.get('batch_token_positive_maps')
        if texts is not None:  # C are tokens
            return len(scores) * len(texts[0] or [''])
        return scores.numel() if self.head.loss_cls.use_sigmoid else \
            len(scores)

    def compare(self, candidates: InstanceData, above: InstanceData,
                kept: InstanceData, final: InstanceData) -> Filtering:
        """Tell by which step each candidate was left out.

        Args:
            candidates (InstanceData): Without any step.
            above (InstanceData): Those above the threshold.
            kept (InstanceData): Those of them that are not suppressed.
            final (InstanceData): Those that the maximum number leaves.
        """
        fates = torch.full((len(candidates), ), int(Fate.BELOW_THRESHOLD))
        for fate, some in ((Fate.SUPPRESSED, above), (Fate.CUT, kept),
                           (Fate.KEPT, final)):
            places = self._places(candidates, some)
            fates[places] = int(fate)
        return Filtering(fates, self._suppressors(candidates, fates), places,
                         final.scores.cpu(), self._proposals())

    def _proposals(self) -> Tensor | None:
        """Return the boxes from which the head moves its boxes; see
        :class:`Filtering`."""
        rois = self.bound.arguments.get('rois')
        if rois is not None:
            return rois[0][:, 1:].detach().cpu()
        anchors = getattr(self.head, 'prior_generator', None)
        if not isinstance(anchors, AnchorGenerator):
            return None
        maps = self.bound.args[0]
        levels = anchors.grid_priors([level.shape[-2:] for level in maps],
                                     device=maps[0].device)
        return get_box_tensor(torch.cat(levels)).cpu()

    def _places(self, candidates: InstanceData,
                some: InstanceData) -> Tensor:
        """Find detections among the candidates, int64, shape (n, )."""
        places: list[int] = []
        # suppression may lower scores (Soft-NMS), and leaves boxes as they are
        for fields in (('bboxes', 'labels', 'scores'), ('bboxes', 'labels')):
            waiting: dict[tuple, deque[int]] = defaultdict(deque)
            for number, key in enumerate(keys(candidates, fields)):
                waiting[key].append(number)
            try:
                places = [waiting[key].popleft()
                          for key in keys(some, fields)]
            except IndexError:
                continue
            return torch.tensor(places, dtype=torch.long)
        raise unknown_filtering(self.head)

    def _suppressors(self, candidates: InstanceData,
                     fates: Tensor) -> Tensor:
        """Find by which candidate each one was suppressed: the best of those
        that were not, which overlaps it by more than the threshold. It is the
        first that the greedy choice of non-maximum suppression compares it
        with in vain."""
        suppressors = torch.full((len(candidates), ), -1)
        nms = self.settings.get('nms') or {}
        threshold = nms.get('iou_threshold', nms.get('iou_thr'))
        winners = ((fates == Fate.KEPT) | (fates == Fate.CUT)).nonzero()[:, 0]
        boxes, labels = candidates.bboxes.cpu(), candidates.labels.cpu()
        losers = (fates == Fate.SUPPRESSED).nonzero()[:, 0]
        if threshold is None or not len(winners):
            return suppressors
        for some in losers.split(4096):
            over = box_iou(boxes[some], boxes[winners]) > threshold
            if not nms.get('class_agnostic', False):
                over &= labels[some, None] == labels[winners]
            over &= some[:, None] > winners  # the best come first
            first = over.int().argmax(dim=1)
            suppressors[some] = torch.where(
                over.any(dim=1), winners[first], -1)
        return suppressors


def keys(detections: InstanceData,
         fields: tuple[str, ...]) -> list[tuple[float, ...]]:
    """Return the values of each detection, by which it is known."""
    columns = [detections[field].double() for field in fields]
    return list(map(tuple, torch.cat(
        [column if column.dim() > 1 else column[:, None]
         for column in columns], dim=1).tolist()))


def plain(detections: InstanceData) -> InstanceData:
    """Return boxes, scores and labels, without a graph."""
    return InstanceData(
        bboxes=get_box_tensor(detections.bboxes).detach(),
        scores=detections.scores.detach(),
        labels=detections.labels)

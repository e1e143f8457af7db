# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One video through a multi-object tracker, so that what its detector finds
can be explained."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..maps.image_frame import ImageFrame
from .detector import DetectorAdapter
from .heads import HeadRun
from .modes import evaluation_mode
from .predicting import predicting
from .similarity import (
    CropEmbedding,
    RoIEmbedding,
    WithSimilarity,
    cosines,
    embedding_of,
    similarity_gradients,
)
from .swapping import swapped
from .target_layer import CapturedLayer
from .trace import GradientSource, Trace
from .tracked_detector import detector_of, own_masks, without_gradients

#: The field of detections that holds the number of each one's object.
IDS = 'instances_id'


@dataclass(frozen=True)
class Appearance:
    """An object as a network for re-identification sees it.

    Args:
        crop (Tensor): What the network gets, shape (1, 3, h, w).
        before (Tensor): The embedding in the frame before, shape (C, ).
    """
    crop: Tensor
    before: Tensor


@dataclass(frozen=True)
class TrackedFrame:
    """What a tracker says about a frame.

    Args:
        trace (Trace): The detections that it follows, in its own order;
            ``detections`` have the numbers of their objects in
            ``instances_id``.
        undetected (InstanceData): Where it has objects that are no detection
            of this frame, such as predicted ones: ``bboxes``, ``scores``,
            ``labels`` and ``instances_id``.
        seen_before (frozenset[int]): The objects that can be compared with
            themselves in a frame before.
        appearances (Mapping): These by their numbers, where a network of its
            own compares them.
    """
    trace: Trace
    undetected: InstanceData
    seen_before: frozenset[int] = frozenset()
    appearances: Mapping[int, Appearance] = field(default_factory=dict)


class TrackerAdapter(DetectorAdapter):
    """Runs a tracker on a video, frame by frame, so that the detections that
    it follows can be explained.

    The tracker's own ``predict`` runs unchanged, with the hooks of
    :class:`DetectorAdapter` on its detector. What the detector hands to the
    tracker is kept with its graph, and the tracker gets a copy without.

    Args:
        tracker (nn.Module): A tracker of mmdet with a detector of its own.
        target_layer, statistics: See :class:`DetectorAdapter`; the target
            layer is a module of the detector.
        with_similarity (bool): Whether objects are also compared with
            themselves in the frame before.

    Raises:
        ValueError: If it is no such tracker, or has no embeddings to compare.
    """

    def __init__(self,
                 tracker: Any,
                 target_layer: str | None = 'neck',
                 statistics: str = 'exact',
                 with_similarity: bool = False) -> None:
        detector_of(tracker)  # raises where there is none
        if not tracker.with_tracker:
            raise ValueError(f'{type(tracker).__name__} has a detector, and '
                             'nothing that follows what it finds: give its '
                             'config a tracker')
        super().__init__(tracker, target_layer, statistics)
        self.tracker = tracker
        self.embedding = embedding_of(tracker) if with_similarity else None
        self.restart()

    def restart(self) -> None:
        """Begin a video."""
        self.tracker.tracker.reset()
        self.frame = 0
        self.before: dict[int, Tensor] = {}  # embeddings of the frames before
        self._forget_frame()

    def _forget_frame(self) -> None:
        self.tracks = InstanceData()
        self.detections = InstanceData()
        self.embeddings: Tensor | None = None  # of all detections, (N, C)
        self.gradients: WithSimilarity | None = None

    def track(self, data: dict) -> TrackedFrame:
        """Follow objects into the next frame.

        Args:
            data (dict): A batch of this frame alone, as the test loop gets
                images.
        """
        trace = self.trace(data)
        rows = detections_of(self.tracks, trace.detections)
        known = rows >= 0
        detected = self.tracks[known]
        trace = replace(
            trace.select(rows[known]),
            similarity=None if self.gradients is None else
            self.gradients.similarity.cut[0][rows[known]])
        trace.detections.set_field(detected[IDS], IDS)
        frame = TrackedFrame(
            trace, self.tracks[~known],
            frozenset(self.tracks[IDS].tolist()) & self.before.keys(),
            self._appearances())
        self._end_frame()
        return frame

    def pass_by(self, data: dict) -> None:
        """Follow objects into the next frame, which is not explained."""
        with predicting(self.model):
            self.predict(*self.preprocess(data, 0))
        self._end_frame()

    def predict(self, inputs: Tensor, sample: DetDataSample) -> DetDataSample:
        """Let the tracker predict; return what its detector found, with its
        graph."""
        self._forget_frame()
        sample.set_metainfo(dict(frame_id=self.frame))
        video = TrackDataSample()
        video.video_data_samples = [sample]
        with ExitStack() as stack:
            stack.enter_context(evaluation_mode(self.tracker))
            stack.enter_context(own_masks(self.model))
            owner = self.tracker.tracker
            stack.enter_context(swapped(
                owner, 'track', partial(self._track, owner.track, inputs)))
            self.tracker.predict(inputs[:, None], [video])
        sample.pred_instances = self.detections
        return sample

    def _track(self, track: Callable[..., InstanceData], inputs: Tensor,
               *args: Any, **kwargs: Any) -> InstanceData:
        """Call what follows objects, and keep what it gets and gives."""
        given = signature(track).bind(*args, **kwargs)
        sample = given.arguments['data_sample']
        self.detections = sample.pred_instances
        plain = type(sample)(metainfo=sample.metainfo)
        plain.pred_instances = without_gradients(self.detections)
        given.arguments['data_sample'] = plain
        with torch.no_grad(), ExitStack() as stack:
            if isinstance(self.embedding, CropEmbedding):
                stack.callback(self.embedding.listen().remove)
            self.tracks = track(*given.args, **given.kwargs)
        if isinstance(self.embedding, RoIEmbedding):
            frame = ImageFrame.of_metainfo(sample.metainfo, inputs.shape[-2:])
            boxes = without_gradients(self.detections).bboxes
            self.embeddings = self.embedding(
                given.arguments['feats'], frame.to_input(boxes))
        return self.tracks

    def _appearances(self) -> dict[int, Appearance]:
        """Return the objects that a network of its own can compare with what
        they were."""
        if not isinstance(self.embedding, CropEmbedding):
            return {}
        crops = self._by_object(self.embedding.crops)
        return {number: Appearance(crops[number][None], self.before[number])
                for number in crops.keys() & self.before.keys()}

    def _by_object(self, rows: Tensor) -> dict[int, Tensor]:
        """Return by their numbers what belongs to the objects of the frame.

        Args:
            rows (Tensor): Of all detections, or of all that the tracker
                follows, in their order.
        """
        numbers = self.tracks[IDS].tolist()
        if len(rows) == len(self.detections):
            places = detections_of(self.tracks, self.detections).tolist()
        elif len(rows) == len(numbers):
            places = list(range(len(numbers)))
        elif len(rows):
            raise ValueError(
                f'the tracker makes {len(rows)} embeddings of '
                f'{len(self.detections)} detections and follows '
                f'{len(numbers)}: whose they are is not known, so that the '
                'output similarity cannot be explained')
        else:  # nothing was looked at in this frame
            return {}
        return {number: rows[place]
                for number, place in zip(numbers, places) if place >= 0}

    def _end_frame(self) -> None:
        """Remember how the frame's objects look, as long as the tracker
        remembers them."""
        self.frame += 1
        embeddings = self.embedding.embeddings if isinstance(
            self.embedding, CropEmbedding) else self.embeddings
        if embeddings is None:
            return
        now = self._by_object(embeddings.detach())
        known = getattr(self.tracker.tracker, 'tracks', self.before)
        self.before = {number: embedding
                       for number, embedding in self.before.items()
                       if number in known} | now

    def source(self, run: HeadRun, captured: CapturedLayer) -> GradientSource:
        """Return the gradients of a run that is over, also of similarities
        that are made of the detector's features."""
        source = super().source(run, captured)
        if self.embeddings is None:
            return source
        rows = detections_of(self.tracks, self.detections)
        before: list[Tensor | None] = [None] * len(self.detections)
        for row, number in zip(rows.tolist(), self.tracks[IDS].tolist()):
            if row >= 0:
                before[row] = self.before.get(number)
        assert isinstance(self.embedding, RoIEmbedding)
        self.gradients = WithSimilarity(source, similarity_gradients(
            self.embedding.head, captured.leaves,
            cosines(self.embeddings, before)))
        return self.gradients


def detections_of(tracks: InstanceData, detections: InstanceData) -> Tensor:
    """Return which detection each of a tracker's boxes is, int64, shape (T,
    ): that with the same box, score and class to the bit. -1 where there is
    none."""
    if not len(tracks) or not len(detections):
        return torch.full((len(tracks), ), -1)
    plain = without_gradients(detections)
    same = (tracks.bboxes[:, None] == plain.bboxes.to(tracks.bboxes)).all(-1)
    for name in 'scores', 'labels':
        same &= tracks[name][:, None] == plain[name].to(tracks[name])
    found, rows = same.max(dim=1)
    return rows.where(found, -1).cpu()

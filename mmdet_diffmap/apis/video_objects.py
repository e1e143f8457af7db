# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The objects of a video's frames with their maps and numbers: of a detector
with our own tracker, or of a tracker of mmdet."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..explainers import DifferenceMap, Explainer
from ..explainers.engine import (
    Selection,
    check_explainable,
    check_weights,
    make_maps,
)
from ..tracing.similarity import CropEmbedding, asks_for_similarity
from ..tracing.trace import Trace
from ..tracing.tracked_detector import is_tracker
from ..tracing.tracker import IDS, TrackedFrame, TrackerAdapter
from ..visualization import label_names
from .explain import explain_one
from .image_pipeline import image_pipeline
from .prompt import Prompt
from .tracking import Tracker

#: Why an object that a tracker follows has no map in a frame.
UNDETECTED, NEW = 'not detected', 'new'


class FrameObjects:
    """Finds and explains the objects of one frame after the other.

    Args:
        model (nn.Module): The detector or tracker.
        method (DifferenceMap): The method.
        selection (Selection): Which objects of a frame are shown.
        follow (int, optional): The number of the object that is asked for.

    Raises:
        ValueError: If the model cannot be explained by the method.
    """

    #: Whether it gets the frames that are not shown, too.
    takes_all_frames = False
    #: What labels are, where a text says it.
    phrases: Sequence[str] = ()

    def __init__(self, model: nn.Module, method: DifferenceMap,
                 selection: Selection, follow: int | None) -> None:
        check_explainable(model, [method])
        self.model = model
        self.method = method
        self.selection = selection
        self.follow = follow
        self.pipeline = image_pipeline(model)

    def explain(self, frame: np.ndarray) -> InstanceData:
        """Explain the next frame.

        Args:
            frame (np.ndarray): uint8 BGR, shape (H, W, 3).

        Returns:
            InstanceData: On the CPU, in pixels of the frame: ``bboxes`` (N,
            4), ``scores``, ``labels`` and ``instances_id`` (N, ),
            ``heatmaps`` and ``difference_maps`` (N, H, W), and ``lacks``, a
            list of why each has no map; empty of those that have one.
        """
        raise NotImplementedError(f'{type(self).__name__} explains no frames')

    def pass_by(self, frame: np.ndarray) -> None:
        """Take the next frame, which is not shown."""

    def end(self) -> None:
        """Take note that there is no further frame."""

    def close(self) -> None:
        """Leave nothing of the video behind."""


class DetectedObjects(FrameObjects):
    """Those of a detector, numbered by our own tracker."""

    def __init__(self, model: nn.Module, method: DifferenceMap,
                 selection: Selection, follow: int | None,
                 patience: int, prompt: Prompt | None = None) -> None:
        super().__init__(model, method, selection, follow)
        self.prompt = prompt
        self.tracker = Tracker(patience=patience)

    def explain(self, frame: np.ndarray) -> InstanceData:
        batch = self.pipeline(frame, prompt=self.prompt).batch
        sample = explain_one(self.model, batch, 0, self.method,
                             self.selection)
        self.phrases = label_names(sample, ())
        instances = sample.pred_instances.cpu()
        first = not self.tracker.count
        instances[IDS] = torch.from_numpy(self.tracker.update(
            instances.bboxes.numpy(), instances.labels.numpy()))
        instances.lacks = [''] * len(instances)
        if first and len(instances):
            self._check_there_is(len(instances))
        return instances

    def _check_there_is(self, count: int) -> None:
        """Raise a ValueError if the object to follow is not in the first
        frame with objects."""
        if self.follow is not None and not 0 <= self.follow < count:
            raise ValueError(
                f'there is no object {self.follow} to follow: the first frame '
                f'with objects has {count}, counted from 0')


class TrackedObjects(FrameObjects):
    """Those that a tracker of mmdet follows, with its numbers.

    The tracker gets all frames, since its idea of how objects move is one of
    frames that follow each other.
    """
    takes_all_frames = True

    def __init__(self, model: nn.Module, method: DifferenceMap,
                 selection: Selection, follow: int | None) -> None:
        explainer = method.explainer
        self.compares = asks_for_similarity(explainer.outputs)
        self.adapter = TrackerAdapter(
            model, explainer.target_layer, explainer.statistics,
            with_similarity=self.compares)
        super().__init__(model, method, selection, follow)
        check_weights(model)
        self.crops = isinstance(self.adapter.embedding, CropEmbedding)
        if self.crops and len(explainer.outputs) > 1:
            raise ValueError(
                'a network of its own compares the objects, on maps of its '
                'own: explain the output similarity without others')
        self.seen: set[int] = set()

    def explain(self, frame: np.ndarray) -> InstanceData:
        tracked = self.adapter.track(self.pipeline(frame).batch)
        explained = self.selection(tracked.trace)
        left = chosen(tracked.undetected, self.selection)
        lacks = [UNDETECTED] * len(left)
        if self.compares:
            explained, new = split(explained, tracked)
            left = InstanceData.cat([plain(new), left])
            lacks = [NEW] * len(new) + lacks
        heatmaps = self._heatmaps(explained, tracked)
        instances = plain(explained.detections)
        instances.heatmaps = heatmaps
        instances.difference_maps = self.method.compare(heatmaps)
        if len(left):
            empty = heatmaps.new_zeros(len(left), *heatmaps.shape[1:])
            left.heatmaps = left.difference_maps = empty
            instances = InstanceData.cat([instances, left])
        instances.lacks = [''] * len(explained) + lacks
        self.seen |= set(instances[IDS].tolist())
        return instances.cpu()

    def pass_by(self, frame: np.ndarray) -> None:
        self.adapter.pass_by(self.pipeline(frame).batch)

    def close(self) -> None:
        self.adapter.restart()

    def end(self) -> None:
        if self.follow is not None and self.follow not in self.seen:
            numbers = ', '.join(map(str, sorted(self.seen)[:20]))
            raise ValueError(
                f'there is no object {self.follow} to follow: the tracker '
                'gives those above the score threshold the numbers '
                f'{numbers or "of none"}{" …" * (len(self.seen) > 20)}')

    def _heatmaps(self, trace: Trace, tracked: TrackedFrame) -> Tensor:
        """Make the maps of the objects of a trace, shape (N, H, W)."""
        explainer: Explainer = self.method.explainer
        if not self.crops:
            return make_maps(explainer, trace).heatmaps
        embedding = self.adapter.embedding
        assert isinstance(embedding, CropEmbedding)
        height, width = trace.frame.image_shape
        maps = trace.outputs.detach().new_zeros(len(trace), height, width)
        for number, (row, box) in enumerate(zip(
                trace.detections[IDS].tolist(), trace.detections.bboxes)):
            rows, columns = pixels_of(box, (height, width))
            appearance = tracked.appearances[row]
            crop = embedding.trace(
                appearance.crop, appearance.before,
                trace.detections[number:number + 1],
                trace.outputs[number:number + 1],
                (rows.stop - rows.start, columns.stop - columns.start))
            maps[number, rows, columns] = make_maps(explainer,
                                                    crop).heatmaps[0]
        return maps


def objects_of(model: nn.Module, method: DifferenceMap, selection: Selection,
               follow: int | None, patience: int,
               prompt: Prompt | None = None) -> FrameObjects:
    """Return what finds and explains the objects of a video.

    Args:
        model, method, selection, follow: See :class:`FrameObjects`.
        patience (int): Of our own tracker.
        prompt (Prompt, optional): What a text-prompted detector is to look
            for.
    """
    if is_tracker(model):
        return TrackedObjects(model, method, selection, follow)
    return DetectedObjects(model, method, selection, follow, patience, prompt)


def split(trace: Trace, tracked: TrackedFrame) -> tuple[Trace, InstanceData]:
    """Return the trace of the objects that can be compared with a frame
    before, and those that cannot."""
    seen = torch.tensor([number in tracked.seen_before
                         for number in trace.detections[IDS].tolist()],
                        dtype=torch.bool)
    return trace.select(seen), trace.detections[~seen]


def chosen(instances: InstanceData, selection: Selection) -> InstanceData:
    """Return those instances that are shown."""
    scores = instances.get('scores', torch.zeros(0))
    order = torch.sort(scores, descending=True, stable=True).indices
    return plain(instances[order[scores[order] > selection.score_thr]
                           [:selection.max_objects]])


def plain(instances: InstanceData) -> InstanceData:
    """Return what is drawn of instances: without masks, for example."""
    return InstanceData(**{name: instances[name].cpu() for name in (
        'bboxes', 'scores', 'labels', IDS)})


def pixels_of(box: Tensor,
              shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and the columns of an image that a box (x1, y1, x2, y2)
    takes: whole pixels, at least one."""
    axes = []
    for first, last, length in zip(
            box[[1, 0]].tolist(), box[[3, 2]].tolist(), shape):
        start = min(max(int(first), 0), length - 1)
        axes.append(slice(start, min(max(int(last), start + 1), length)))
    rows, columns = axes
    return rows, columns

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..io.progress import progress_bar
from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.candidates import Candidates
from ..tracing.trace import Trace
from .feature_explainer import FeatureExplainer, reached_levels
from .grad_cam import weighted_sums

#: What overlaps a detection by more is still the same object.
SAME_IOU = 0.5


@EXPLAINERS.register_module()
class AblationCAM(FeatureExplainer):
    """Ablation-CAM of the class score (Desai & Ramaswamy, WACV 2020).

    ``ReLU(Σ_k w_k A_k)`` with ``w_k = (s - s_k) / s``: by which share the
    detector's score ``s`` of the object falls when channel ``k`` is zero; see
    :func:`best_scores`. Channel ``k`` is zero on all levels at once. Where
    levels have different numbers of channels, as the stages of a backbone,
    each has channels of its own, which are zero one after the other.

    The detector runs once for each channel, which serves all detections. What
    it finds is its score, whatever number takes the place of the score in a
    trace.

    Args:
        batch_size (int): Channels in one run of the detector.
        progress (bool): Show a progress bar in a terminal.
        **kwargs: See :class:`FeatureExplainer`.
    """

    def __init__(self,
                 batch_size: int = 8,
                 progress: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError('batch_size must be a whole number of 1 or more, '
                             f'not {batch_size}')
        self.batch_size = batch_size
        self.progress = progress

    def grid_maps(self, trace: Trace) -> list[GridMaps]:
        """Weight the channels by what their ablation takes away."""
        levels = reached_levels(trace)
        if not levels:
            return []
        numbers = channel_numbers([len(each) for each in trace.features])
        weights = self.channel_weights(trace, numbers)
        return [
            GridMaps.of_whole_level(
                weighted_sums(weights[detections][:, numbers[level]],
                              trace.features[level]).relu(),
                level, detections)
            for level, detections in levels.items()
        ]

    def channel_weights(self, trace: Trace,
                        numbers: Sequence[Tensor]) -> Tensor:
        """Compute ``w``, 0 for a detection that the detector does not find
        again with all its channels.

        Args:
            trace (Trace): N detections.
            numbers (Sequence[Tensor]): See :func:`channel_numbers`.

        Returns:
            Tensor: Of each number, shape (N, K).
        """
        assert trace.scaled_channels is not None
        count = 1 + max(int(each.max()) for each in numbers)
        bboxes, labels = trace.outputs[:, 1:].detach(), trace.detections.labels
        left = []
        with progress_bar('Ablation-CAM', count) if self.progress \
                else nullcontext(lambda steps: None) as advance:
            (candidates, ) = trace.input.candidates(trace.input.image[None])
            scores = best_scores(bboxes, labels, candidates)[:, None]
            for batch in torch.arange(count).split(self.batch_size):
                left += [
                    best_scores(bboxes, labels, candidates)
                    for candidates in trace.scaled_channels(
                        [(batch[:, None] != each).to(bboxes)
                         for each in numbers])
                ]
                advance(len(batch))
        weights = (scores - torch.stack(left, dim=1)) / scores
        return weights.where(scores > 0, torch.zeros_like(weights))


def channel_numbers(channels: Sequence[int]) -> list[Tensor]:
    """Give the channels of each level numbers: the same on all levels, if
    these have equally many; else each goes on where the last one ended.

    Args:
        channels (Sequence[int]): How many each level has.

    Returns:
        list[Tensor]: Of the channels of each level, int64.

    >>> channel_numbers([2, 2])
    [tensor([0, 1]), tensor([0, 1])]
    >>> channel_numbers([2, 3])
    [tensor([0, 1]), tensor([2, 3, 4])]
    """
    if len(set(channels)) == 1:
        return [torch.arange(count) for count in channels]
    return list(torch.arange(sum(channels)).split(list(channels)))


def best_scores(bboxes: Tensor, labels: Tensor,
                candidates: Candidates) -> Tensor:
    """Tell with which score a detector finds each of N detections: the best
    among candidates of the same class that overlap it with an IoU of more
    than 0.5; 0 if there is none.

    Args:
        bboxes (Tensor): Shape (N, 4), last dim (x1, y1, x2, y2), in pixels of
            the network's input.
        labels (Tensor): Shape (N, ).
        candidates (Candidates): What the detector predicts before its final
            filtering.

    Returns:
        Tensor: Shape (N, ).

    >>> candidates = Candidates(
    ...     torch.tensor([[0., 0., 4., 3.], [0., 0., 4., 1.]]),
    ...     torch.tensor([0.6, 0.9]), torch.tensor([2, 2]))
    >>> best_scores(torch.tensor([[0., 0., 4., 4.]]), torch.tensor([2]),
    ...             candidates)
    tensor([0.6000])
    """
    if not len(candidates):
        return bboxes.new_zeros(len(bboxes))
    # two boxes without an area have none in common
    overlap = box_iou(bboxes, candidates.bboxes.type_as(bboxes)).nan_to_num(0)
    same = (labels[:, None] == candidates.labels) & (overlap > SAME_IOU)
    return (same * candidates.scores.type_as(bboxes)).amax(dim=1)

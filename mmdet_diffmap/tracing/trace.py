# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What an explainer sees of a detector: features, detections, gradients."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..maps.image_frame import ImageFrame
from ..maps.windows import Windows
from .candidates import Candidates, ClassScores
from .recording import recording
from .turns import in_turns

#: The outputs of a detection that can be explained, in the order of the
#: columns of ``Trace.outputs``.
OUTPUTS = ('score', 'x1', 'y1', 'x2', 'y2')
#: The mean logit inside the predicted mask, of detectors with a plain mask
#: branch (Mask R-CNN).
MASK = 'mask'


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise a ValueError unless all of some outputs can be explained."""
    unknown = set(outputs) - {*OUTPUTS, MASK}
    if unknown or not outputs:
        raise ValueError(
            f'outputs must be some of {", ".join((*OUTPUTS, MASK))}; not '
            f'{", ".join(sorted(unknown)) or "none"}')


class LevelWindows:
    """What of a level's features lies in the windows of some detections.

    The gradients of all outputs in the same windows share this.

    Args:
        feature (Tensor): The whole level ``A``, shape (C, H, W).
        windows (Windows): The windows of n detections.
    """

    def __init__(self, feature: Tensor, windows: Windows) -> None:
        self.feature = feature
        self.windows = windows

    @classmethod
    def whole_level(cls, level: int, feature: Tensor,
                    detections: Sequence[int]) -> LevelWindows:
        """Return windows that are the whole level each."""
        height, width = feature.shape[-2:]
        return cls(feature, Windows.whole_level(
            level, (height, width), detections, feature.device))

    @cached_property
    def activations(self) -> Tensor:
        """``A`` in each window, shape (n, C, h, w), zero outside of the
        level; (1, C, H, W) if each window is the whole level."""
        return self.windows.cut(self.feature)


@dataclass(frozen=True)
class LevelGradients:
    """The gradients of one output of n detections on one level.

    Args:
        gradients (Tensor): ``∂Y/∂A`` in the windows, outside of which it is
            zero, as it is outside of the level; shape (n, C, h, w).
        where (LevelWindows): The windows, and the features in them.
    """
    gradients: Tensor
    where: LevelWindows

    @property
    def windows(self) -> Windows:
        """Where the gradients lie on the level, and whose they are."""
        return self.where.windows

    @property
    def feature(self) -> Tensor:
        """The whole level ``A``, shape (C, H, W)."""
        return self.where.feature

    @property
    def activations(self) -> Tensor:
        """``A`` in the windows, shape (n, C, h, w), or (1, C, H, W) for all
        if each window is the whole level."""
        return self.where.activations

    def feature_sums(self) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k`` in the windows, shape (n, h, w).

        >>> gradients = torch.tensor([[[[1., -1.]], [[2., 0.]]]])
        >>> feature = torch.tensor([[[3., 4.]], [[5., 6.]]])  # two channels
        >>> where = LevelWindows.whole_level(0, feature, [0])
        >>> LevelGradients(gradients, where).feature_sums()
        tensor([[[13., -4.]]])
        """
        return (self.gradients * self.activations).sum(dim=1)

    def channel_means(self) -> Tensor:
        """Compute the mean of each channel's gradient over the whole level,
        shape (n, C). Outside of the windows it is zero, which counts."""
        return self.gradients.sum(dim=(2, 3)) / self.feature[0].numel()

    def __neg__(self) -> LevelGradients:
        """Return the gradients of the output with the other sign."""
        return replace(self, gradients=-self.gradients)

    def spread(self) -> LevelGradients:
        """Put the gradients on the whole level, shape (n, C, H, W)."""
        if self.windows.are_whole:
            return self
        return LevelGradients(
            self.windows.spread(self.gradients),
            LevelWindows.whole_level(self.windows.level, self.feature,
                                     self.windows.detections))

    def take(self, numbers: Sequence[int]) -> LevelGradients:
        """Return some of the gradients."""
        if len(numbers) == len(self.windows):
            return self
        return LevelGradients(
            self.gradients[list(numbers)],
            LevelWindows(self.feature, self.windows.take(numbers)))

    def as_level(self, level: int) -> LevelGradients:
        """Return the same under another number of the level."""
        if level == self.windows.level:
            return self
        return replace(self, where=LevelWindows(
            self.feature, replace(self.windows, level=level)))

    def renumbered(self, detections: Sequence[int]) -> LevelGradients:
        """Return the gradients with ``detections[i]`` in the place of
        detection ``i``."""
        numbers = [detections[number] for number in self.windows.detections]
        return replace(self, where=LevelWindows(
            self.feature, replace(self.windows, detections=tuple(numbers))))

    def split(self, memory: int) -> Iterator[LevelGradients]:
        """Divide the gradients so that on the whole level each part takes at
        most so many bytes, but for a single detection."""
        size = max(1, memory // (self.feature.numel() *
                                 self.feature.element_size()))
        for first in range(0, len(self.windows), size):
            yield self.take(
                range(first, min(first + size, len(self.windows))))

    def grid_maps(self, values: Tensor) -> GridMaps:
        """Place maps (n, h, w) of the windows on the level's grid."""
        return GridMaps(values, self.windows)


@dataclass(frozen=True)
class Basis:
    """Gradients of a whole level, of which others are weighted sums.

    Args:
        parts (Sequence[Tensor]): All r of them, in tensors (., C, H, W).
        feature (Tensor): The whole level ``A``, shape (C, H, W).
    """
    parts: Sequence[Tensor]
    feature: Tensor

    def sums(self, weights: Tensor) -> Tensor:
        """Return the sums (n, C, H, W) with weights (n, r)."""
        total = weights.new_zeros(len(weights), self.feature.numel())
        lengths = [len(part) for part in self.parts]
        for part, some in zip(self.parts, weights.split(lengths, dim=1)):
            total.addmm_(some, part.flatten(1))
        return total.view(-1, *self.feature.shape)

    @cached_property
    def feature_sums(self) -> Tensor:
        """``Σ_k g_k ∘ A_k``, shape (r, H, W)."""
        return torch.cat([(part * self.feature).sum(dim=1)
                          for part in self.parts])

    @cached_property
    def channel_means(self) -> Tensor:
        """The means over the level, shape (r, C)."""
        return torch.cat([part.mean(dim=(2, 3)) for part in self.parts])


class SummedGradients(LevelGradients):
    """Gradients of n detections that are each a part in a window, and a
    weighted sum of gradients of the whole level that all share.

    What is linear in the gradients is made of the parts; ``gradients`` are
    summed when they are asked for.

    Args:
        local (LevelGradients): The parts in windows.
        weights (Tensor): Shape (n, r).
        basis (Basis): What is weighted.
    """

    local: LevelGradients
    weights: Tensor
    basis: Basis

    def __init__(self, local: LevelGradients, weights: Tensor,
                 basis: Basis) -> None:
        where = LevelWindows.whole_level(
            local.windows.level, local.feature, local.windows.detections)
        # a frozen dataclass sets its fields in this way, too
        object.__setattr__(self, 'where', where)
        object.__setattr__(self, 'local', local)
        object.__setattr__(self, 'weights', weights)
        object.__setattr__(self, 'basis', basis)

    @property
    def gradients(self) -> Tensor:
        """``∂Y/∂A`` of the whole level, shape (n, C, H, W)."""
        return self.basis.sums(self.weights) + self.local.spread().gradients

    def feature_sums(self) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k`` on the whole level, shape (n, H, W)."""
        shared = (self.weights @ self.basis.feature_sums.flatten(1)).view(
            -1, *self.windows.grid)
        return shared + self.local.windows.spread(self.local.feature_sums())

    def channel_means(self) -> Tensor:
        """Compute the mean of each channel's gradient, shape (n, C)."""
        return self.weights @ self.basis.channel_means + \
            self.local.channel_means()

    def __neg__(self) -> SummedGradients:
        return SummedGradients(-self.local, -self.weights, self.basis)

    def spread(self) -> SummedGradients:
        return self

    def take(self, numbers: Sequence[int]) -> SummedGradients:
        return SummedGradients(
            self.local.take(numbers), self.weights[list(numbers)], self.basis)

    def as_level(self, level: int) -> SummedGradients:
        return SummedGradients(
            self.local.as_level(level), self.weights, self.basis)

    def renumbered(self, detections: Sequence[int]) -> SummedGradients:
        return SummedGradients(
            self.local.renumbered(detections), self.weights, self.basis)


@dataclass(frozen=True)
class Tolerance:
    """By how much the maps of a method may be off.

    Args:
        share (float): Of each map's peak, more than 0.
        joint (bool): Whether the maps of all outputs are shown as one, which
            has one peak.
        measure (Callable): Makes of gradients, and the name of their output,
            what its maps are made of, and is linear in them:
            (:class:`LevelGradients`, output) -> (n, H, W). What is below zero
            is not shown.
    """
    share: float
    joint: bool
    measure: Callable[[LevelGradients, str], Tensor]


@dataclass(frozen=True)
class OutputGradients:
    """The gradients of one output of some detections.

    Args:
        output (str): One of ``OUTPUTS``, or ``mask``.
        levels (list[LevelGradients]): Its gradients, on every level, of the
            detections that they hold.
    """
    output: str
    levels: list[LevelGradients]


#: How gradients are computed: (outputs (N, 5) with a graph, indices of the
#: columns wanted, what they may be off by; None for rounding alone) -> the
#: gradients of all detections and columns, in any order; without those of
#: outputs that depend on nothing, such as a coordinate clipped at the image's
#: edge.
GradientSource = Callable[[Tensor, Sequence[int], 'Tolerance | None'],
                          Iterator[OutputGradients]]


@dataclass(frozen=True)
class NetworkInput:
    """What the network gets, and what it predicts for changed copies of it.

    Args:
        image (Tensor): The network's input, normalised and padded, shape (3,
            H, W).
        black (Tensor): A black pixel in it, shape (3, 1, 1). Normalising is
            affine, so that ``black + m * (image - black)`` is the input of an
            image whose pixels were multiplied by ``m``.
        white (Tensor): A white pixel in it, of value 255 in all channels.
        candidates (Callable): Changed copies (B, 3, H, W) -> what the detector
            predicts for each, before the final filtering; without gradients.
        detections (Callable): Changed copies (B, 3, H, W) -> the final
            detections of each, as mmdet gives them for the original image.
    """
    image: Tensor
    black: Tensor
    white: Tensor
    candidates: Callable[[Tensor], list[Candidates]]
    detections: Callable[[Tensor], list[InstanceData]]

    def of_pixels(self, values: Tensor) -> Tensor:
        """Return what the network gets for pixels (3, ...) of values 0 to
        255, of the same shape."""
        shape = (3, ) + (1, ) * (values.dim() - 1)
        black, white = self.black.view(shape), self.white.view(shape)
        return black + values.to(black) / 255 * (white - black)


@dataclass(frozen=True)
class Trace:
    """One image through the detector, up to its final detections.

    Args:
        detections (InstanceData): ``bboxes`` (N, 4), last dim (x1, y1, x2,
            y2) in pixels of the original image, ``scores`` (N, ) and
            ``labels`` (N, ), as mmdet predicts them.
        outputs (Tensor): The detections' ``OUTPUTS``, differentiable, shape
            (N, 5); coordinates in pixels of the network's input.
        features (list[Tensor]): The target layer's maps, each (C, H, W);
            none if no gradients were asked for.
        frame (ImageFrame): Where the image lies in the network's input.
        input (NetworkInput): The network's input.
        source (Callable): The gradient strategy; see ``gradients``.
        lost (Callable): One of ``OUTPUTS`` -> where the detector loses its
            gradient; empty if it does not.
        masks (Callable, optional): The labels of the detections -> the
            gradient strategy of their masks; None where masks cannot be
            explained.
        classes (ClassScores, optional): How probable each class of each
            detection is; None where that was not recorded, or the detector
            does not tell.
    """
    detections: InstanceData
    outputs: Tensor
    features: list[Tensor]
    frame: ImageFrame
    input: NetworkInput
    source: GradientSource
    lost: Callable[[str], str] = lambda output: ''
    masks: Callable[[Tensor], GradientSource] | None = None
    classes: ClassScores | None = None

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.detections)

    def select(self, keep: Tensor | slice | list[int]) -> Trace:
        """Return the trace of some of the detections.

        Args:
            keep (Tensor | slice | list[int]): Which: a mask, indices or a
                slice.
        """
        if isinstance(keep, list):  # torch takes an empty one for floats
            keep = torch.tensor(keep, dtype=torch.long)
        with recording():
            outputs = self.outputs[keep]
        return replace(
            self, detections=self.detections[keep], outputs=outputs,
            classes=None if self.classes is None else self.classes[keep])

    def with_score(self, values: Tensor) -> Trace:
        """Return a trace in which something else is the score: what explains
        scores then explains that.

        Args:
            values (Tensor): Made of the trace's ``outputs`` or ``classes``
                with a graph, one of each detection, shape (N, ).

        Example:
            Explain the height of boxes::

                with torch.enable_grad():
                    heights = trace.outputs[:, 4] - trace.outputs[:, 2]
                heatmaps = ODAM(outputs='score')(trace.with_score(heights))
        """
        with recording():
            outputs = torch.cat([values[:, None], self.outputs[:, 1:]], dim=1)
        return replace(self, outputs=outputs)

    def gradients(
        self,
        outputs: Sequence[str] = OUTPUTS,
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        """Compute the gradients of some outputs of all detections.

        Gradients are made as they are asked for, of many detections at a
        time and in an order that is the strategy's own; keep what is computed
        from them, not the gradients.

        Args:
            outputs (Sequence[str]): Some of ``OUTPUTS``, and ``mask``.
            tolerance (Tolerance, optional): By how much maps may be off, where
                that is faster. Defaults to rounding alone.

        Yields:
            OutputGradients: The gradients of one output and some detections;
            a detection and output come once, or not at all if nothing of the
            target layer has an influence.

        Raises:
            ValueError: If there is no such output.
            RuntimeError: At the end, if the detector loses the gradient of an
                output; it says where.
        """
        check_outputs(outputs)
        return in_turns(self._gradients(outputs, tolerance))

    def _gradients(self, outputs: Sequence[str], tolerance: Tolerance | None
                   ) -> Iterator[OutputGradients]:
        if MASK in outputs:
            if self.masks is None:
                raise ValueError(
                    'this detector has no masks that can be explained: the '
                    'output mask is that of Mask R-CNN')
            yield from self.masks(self.detections.labels)(
                self.outputs.detach(), (), tolerance)
        columns = [OUTPUTS.index(output) for output in outputs
                   if output != MASK]
        reaching = set()
        for gradients in self.source(self.outputs, columns, tolerance):
            reaching.add(gradients.output)
            yield gradients
            del gradients  # before the next are made
        self._check_lost(outputs, reaching)

    def _check_lost(self, outputs: Sequence[str], reaching: set[str]) -> None:
        """Raise a RuntimeError if the score, or the box, was asked for, none
        of its gradients reaches the target layer, and the detector loses
        them."""
        if not len(self):
            return
        for kind in (OUTPUTS[:1], OUTPUTS[1:]):  # score, box
            asked = set(kind) & set(outputs)
            if not asked or asked & reaching:
                continue
            # each may be clipped or saturated, so that this alone is no error
            if place := self.lost(kind[0]):
                raise RuntimeError(
                    f'the detector loses the gradient of '
                    f'{", ".join(sorted(asked))}: {place}; explain other '
                    'outputs, or use D-RISE, which needs no gradient')


def whole_gradients(
    gradients: Iterable[OutputGradients]
) -> dict[tuple[int, str], dict[int, Tensor]]:
    """Return gradients one by one: for each detection and output, and by
    level, ``∂Y/∂A`` on the whole level, shape (C, H, W).

    This takes much memory, and is meant for checks and experiments.
    """
    found: dict[tuple[int, str], dict[int, Tensor]] = {}
    for of_output in gradients:
        for level in of_output.levels:
            for detection, gradient in zip(level.windows.detections,
                                           level.spread().gradients):
                found.setdefault((detection, of_output.output),
                                 {})[level.windows.level] = gradient
    return found

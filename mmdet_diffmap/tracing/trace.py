# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What an explainer sees of a detector: features, detections, gradients."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..maps.heatmaps import GridMap
from ..maps.image_frame import ImageFrame, Shape
from .candidates import Candidates
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


@dataclass(frozen=True)
class LevelGradient:
    """Where the gradient of one output may differ from zero on one level.

    Args:
        level (int): Index of the feature level.
        feature (Tensor): The whole level ``A``, shape (C, H, W).
        gradient (Tensor): ``∂Y/∂A`` inside the window, shape (C, h, w).
        top (int): First row of the window on the level.
        left (int): First column of the window on the level.
    """
    level: int
    feature: Tensor
    gradient: Tensor
    top: int = 0
    left: int = 0

    def whole(self) -> Tensor:
        """Put the gradient on the whole level, shape (C, H, W)."""
        if self.gradient.shape == self.feature.shape:
            return self.gradient
        whole = torch.zeros_like(self.feature)
        rows, columns = self.window
        whole[:, rows, columns] = self.gradient
        return whole

    def grid_map(self, values: Tensor) -> GridMap:
        """Place a map (h, w) of the window on the level's grid."""
        return GridMap(values, self.grid, (self.top, self.left))

    @property
    def grid(self) -> Shape:
        """Height and width of the level."""
        height, width = self.feature.shape[-2:]
        return height, width

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the level inside the window."""
        height, width = self.gradient.shape[-2:]
        return (slice(self.top, self.top + height),
                slice(self.left, self.left + width))

    @property
    def activation(self) -> Tensor:
        """``A`` inside the window, shape (C, h, w)."""
        rows, columns = self.window
        return self.feature[:, rows, columns]


@dataclass(frozen=True)
class OutputGradient:
    """The gradient of one output of one detection.

    Args:
        detection (int): Index of the detection in the trace.
        output (str): One of ``OUTPUTS``, or ``mask``.
        levels (list[LevelGradient]): The levels that the output depends on;
            empty where it depends on none, such as a coordinate clipped at
            the image's edge.
    """
    detection: int
    output: str
    levels: list[LevelGradient]


#: How gradients are computed: (outputs (N, 5) with a graph, indices of the
#: columns wanted) -> the gradient of every detection and column, any order.
GradientSource = Callable[[Tensor, Sequence[int]], Iterator[OutputGradient]]


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
    """
    detections: InstanceData
    outputs: Tensor
    features: list[Tensor]
    frame: ImageFrame
    input: NetworkInput
    source: GradientSource
    lost: Callable[[str], str] = lambda output: ''
    masks: Callable[[Tensor], GradientSource] | None = None

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.detections)

    def select(self, keep: Tensor | slice | list[int]) -> Trace:
        """Return the trace of some of the detections.

        Args:
            keep (Tensor | slice | list[int]): Which: a mask, indices or a
                slice.
        """
        with recording():
            outputs = self.outputs[keep]
        return replace(
            self, detections=self.detections[keep], outputs=outputs)

    def gradients(
            self,
            outputs: Sequence[str] = OUTPUTS) -> Iterator[OutputGradient]:
        """Compute the gradients of some outputs of all detections.

        Gradients are made as they are asked for, in an order that is the
        strategy's own; keep what is computed from one, not the gradient.

        Args:
            outputs (Sequence[str]): Some of ``OUTPUTS``, and ``mask``.

        Yields:
            OutputGradient: One for each detection and output.

        Raises:
            ValueError: If there is no such output.
            RuntimeError: At the end, if the detector loses the gradient of an
                output; it says where.
        """
        check_outputs(outputs)
        return in_turns(self._gradients(outputs))

    def _gradients(self, outputs: Sequence[str]) -> Iterator[OutputGradient]:
        if MASK in outputs:
            if self.masks is None:
                raise ValueError(
                    'this detector has no masks that can be explained: the '
                    'output mask is that of Mask R-CNN')
            yield from self.masks(self.detections.labels)(
                self.outputs.detach(), ())
        columns = [OUTPUTS.index(output) for output in outputs
                   if output != MASK]
        reaching = set()
        for gradient in self.source(self.outputs, columns):
            if gradient.levels:
                reaching.add(gradient.output)
            yield gradient
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

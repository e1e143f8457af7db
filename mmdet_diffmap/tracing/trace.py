# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What an explainer sees of a detector: features, detections, gradients."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..maps.image_frame import ImageFrame
from .candidates import Candidates
from .class_scores import ClassScores
from .level_gradients import LevelGradients
from .named_outputs import MASK, OUTPUTS, NamedOutput, classes_of
from .prompts import ReadPrompt
from .recording import recording
from .turns import in_turns


def check_outputs(outputs: Sequence[str]) -> None:
    """Raise a ValueError unless all of some outputs can be explained."""
    if not outputs:
        raise ValueError('outputs are empty: there is nothing to explain')
    for output in outputs:
        if output != MASK:
            NamedOutput.of(output)


def column_name(column: int) -> str:
    """Return the name of a column of the outputs that gradients are computed
    of; those after ``OUTPUTS`` have a name for the time of the
    computation."""
    return OUTPUTS[column] if column < len(OUTPUTS) else f'column {column}'


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
        output (str): Its name.
        levels (list[LevelGradients]): Its gradients, on every level, of the
            detections that they hold.
    """
    output: str
    levels: list[LevelGradients]


#: How gradients are computed: (outputs (N, 5) with a graph, or more columns
#: that are called by ``column_name``, indices of the columns wanted, what they
#: may be off by; None for rounding alone) -> the gradients of all detections
#: and columns, in any order; without those of outputs that depend on nothing,
#: such as a coordinate clipped at the image's edge.
GradientSource = Callable[[Tensor, Sequence[int], 'Tolerance | None'],
                          Iterator[OutputGradients]]


@dataclass(frozen=True)
class Masks:
    """How the masks of several detections are explained.

    Args:
        keys (Tensor): What tells the mask of each detection, its class or its
            number, int64, shape (N, ).
        source_of (Callable): Keys -> the gradients of the masks that they
            tell.
    """
    keys: Tensor
    source_of: Callable[[Tensor], GradientSource]

    def __getitem__(self, keep: Tensor | slice) -> Masks:
        return replace(self, keys=self.keys[keep])


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
            ``labels`` (N, ), as mmdet predicts them; also ``masks`` (N, H, W),
            if they are made anyway.
        outputs (Tensor): The detections' ``OUTPUTS``, differentiable, shape
            (N, 5); coordinates in pixels of the network's input.
        features (list[Tensor]): The target layer's maps, each (C, H, W);
            none if no gradients were asked for.
        frame (ImageFrame): Where the image lies in the network's input.
        input (NetworkInput): The network's input.
        source (Callable): The gradient strategy; see ``gradients``.
        lost (Callable): One of ``OUTPUTS`` -> where the detector loses its
            gradient; empty if it does not.
        masks (Masks, optional): How the masks of the detections are
            explained; None of a detector without.
        classes (ClassScores, optional): How probable each class of each
            detection is; None where that was not recorded, or the detector
            does not tell.
        scaled_channels (Callable, optional): For each of ``features``, factors
            of its channels (B, C) -> what the detector predicts for the image
            with each, before the final filtering; without gradients. None if
            no gradients were asked for.
        similarity (Tensor, optional): How much the appearance of each
            detection is that of its object in the frame before, in [-1, 1],
            with a graph, shape (N, ). None of a single image, or where a
            tracker does not look at appearances.
        prompt (ReadPrompt, optional): What the detector has read in the text
            that it was asked with; None of one that takes no text.
        own_boxes (bool): Whether boxes are more than what masks take up, so
            that they can be explained.
    """
    detections: InstanceData
    outputs: Tensor
    features: list[Tensor]
    frame: ImageFrame
    input: NetworkInput
    source: GradientSource
    lost: Callable[[str], str] = lambda output: ''
    masks: Masks | None = None
    classes: ClassScores | None = None
    scaled_channels: Callable[[Sequence[Tensor]],
                              list[Candidates]] | None = None
    similarity: Tensor | None = None
    prompt: ReadPrompt | None = None
    own_boxes: bool = True

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
            if isinstance(keep, list):  # torch takes an empty one for floats
                keep = torch.tensor(keep, dtype=torch.long)
            elif isinstance(keep, Tensor):  # no inference tensor of a caller
                keep = keep.clone()
            return replace(
                self, detections=self.detections[keep],
                outputs=self.outputs[keep],
                masks=None if self.masks is None else self.masks[keep],
                classes=None if self.classes is None else self.classes[keep],
                similarity=None if self.similarity is None
                else self.similarity[keep])

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

    def of_classes(self, detection: int,
                   labels: Sequence[int] | None = None) -> Trace:
        """Return a trace of one detection, once for each of several classes,
        or phrases of a text: the label of each is that class, and the score
        is its probability.

        Args:
            detection (int): Which.
            labels (Sequence[int], optional): The classes; all by default.

        Raises:
            ValueError: If the detector does not tell how probable they are.
        """
        classes = classes_of(self)
        if labels is None:
            labels = range(classes.probabilities.shape[1])
        own = torch.tensor(labels, device=self.outputs.device)
        rows = self.select([detection] * len(labels))
        values = classes[[detection] * len(labels)].probability(own)
        detections = InstanceData(
            bboxes=rows.detections.bboxes, scores=values.detach(), labels=own)
        return replace(rows, detections=detections).with_score(values)

    def output(self, name: str) -> Tensor:
        """Compute an output of each detection, with a graph, shape (N, ).

        Args:
            name (str): One of ``OUTPUTS``, or of
                :mod:`~mmdet_diffmap.tracing.named_outputs`.

        Raises:
            ValueError: If there is no such output, or not of this detector.

        Example:
            >>> from mmdet_diffmap import load_detector
            >>> from mmdet_diffmap.apis.image_pipeline import image_pipeline
            >>> from mmdet_diffmap.tracing.detector import DetectorAdapter
            >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
            >>> batch = image_pipeline(model)('scene://0/2').batch
            >>> trace = DetectorAdapter(model).trace(batch)
            >>> bool((trace.output('contrast')[:3] > 0).all())
            True
        """
        with recording():
            return NamedOutput.of(name)(self)

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
            outputs (Sequence[str]): Names of outputs; see :meth:`output`. Also
                ``mask``. Each that is none of ``OUTPUTS`` costs as much as one
                of them.
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
        if not self.own_boxes:
            self._check_boxes(outputs)
        if MASK in outputs:
            if self.masks is None:
                raise ValueError(
                    'this detector predicts no masks, so that there is no '
                    'output mask: explain its score or its box')
            yield from self.masks.source_of(self.masks.keys)(
                self.outputs.detach(), (), tolerance)
        further = [output for output in dict.fromkeys(outputs)
                   if output not in (*OUTPUTS, MASK)]
        values = self.outputs
        if further:
            with recording():
                values = torch.cat([self.outputs, torch.stack(
                    [self.output(output) for output in further], dim=1)],
                    dim=1)
        names = [*OUTPUTS, *further]
        columns = [names.index(output) for output in outputs
                   if output != MASK]
        names_of = {column_name(column): names[column] for column in columns}
        reaching = set()
        for gradients in self.source(values, columns, tolerance):
            output = names_of[gradients.output]
            reaching.add(output)
            yield replace(gradients, output=output)
            del gradients  # before the next are made
        self._check_lost(outputs, reaching)

    def _check_boxes(self, outputs: Sequence[str]) -> None:
        """Raise a ValueError if outputs are made of boxes that are drawn
        around masks."""
        of_box = [output for output in outputs if self._is_of_box(output)]
        if of_box:
            raise ValueError(
                f'{", ".join(of_box)} cannot be explained: boxes of this '
                'detector are drawn around its masks; explain the score or '
                'the mask')

    def _check_lost(self, outputs: Sequence[str], reaching: set[str]) -> None:
        """Raise a RuntimeError if the score, or the box, was asked for, none
        of its gradients reaches the target layer, and the detector loses
        them."""
        if not len(self):
            return
        boxes = {output for output in outputs if self._is_of_box(output)}
        for kind, asked in (OUTPUTS[:1], set(outputs) - boxes), \
                (OUTPUTS[1:], boxes):
            asked -= {MASK}
            if not asked or asked & reaching:
                continue
            # each may be clipped or saturated, so that this alone is no error
            if place := self.lost(kind[0]):
                raise RuntimeError(
                    f'the detector loses the gradient of '
                    f'{", ".join(sorted(asked))}: {place}; explain other '
                    'outputs, or use D-RISE, which needs no gradient')

    def _is_of_box(self, output: str) -> bool:
        """Whether an output is made of boxes alone."""
        if output in (*OUTPUTS, MASK):
            return output in OUTPUTS[1:]
        leaf = self.outputs.detach().requires_grad_()
        values = replace(self, outputs=leaf).output(output)
        if not values.requires_grad:
            return False
        with recording():
            (gradient, ) = torch.autograd.grad(values.sum(), leaf,
                                               retain_graph=True,
                                               allow_unused=True)
        return gradient is not None and not gradient[:, 0].any()


def no_gradients(outputs: Tensor, columns: Sequence[int],
                 tolerance: Tolerance | None) -> Iterator[OutputGradients]:
    """Raise an error in place of the gradients of a trace without them."""
    raise RuntimeError('the detector was run without gradients: give the '
                       'adapter a target layer')


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

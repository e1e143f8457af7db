# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Outputs by name: numbers made of a detection, or of two, that are explained
as a score is.

A function that is registered in ``NAMED_OUTPUTS`` gets a trace, and, if it has
a second parameter, what follows the colon in the output's name. It returns a
number of each detection, with a graph:

>>> @NAMED_OUTPUTS.register_module()
... def perimeter(trace):
...     return 2 * (width(trace) + height(trace))
>>> NamedOutput.of('-perimeter').sign
-1
>>> del NAMED_OUTPUTS.module_dict['perimeter']  # an example only
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from ..registry import NAMED_OUTPUTS

if TYPE_CHECKING:
    from .class_scores import ClassScores
    from .trace import Trace

#: The outputs of a detection that are columns of ``Trace.outputs``, in their
#: order.
OUTPUTS = ('score', 'x1', 'y1', 'x2', 'y2')
#: The mean logit inside the predicted mask, of detectors that predict masks.
MASK = 'mask'


@dataclass(frozen=True)
class NamedOutput:
    """An output that is computed from others, by its name.

    Args:
        sign (int): -1 for the output with the other sign, ``-NAME``; else 1.
        compute (Callable): (trace) -> the numbers (N, ).
    """
    sign: int
    compute: Callable[[Trace], Tensor]

    @classmethod
    def of(cls, name: str) -> NamedOutput:
        """Find what a name stands for.

        Raises:
            ValueError: If there is no such output, or it takes nothing, or
                something, after a colon.
        """
        plain = name.removeprefix('-')
        sign = 1 if plain == name else -1
        if plain in OUTPUTS:
            column = OUTPUTS.index(plain)
            return cls(sign, lambda trace: trace.outputs[:, column])
        kind, colon, argument = plain.partition(':')
        function = NAMED_OUTPUTS.module_dict.get(kind)
        if function is None:
            raise ValueError(
                f'there is no output {name!r}: outputs are '
                f'{", ".join((*OUTPUTS, MASK, *sorted(named_outputs())))}, '
                'and each of them but mask with a minus')
        takes = list(signature(function).parameters.values())[1:]
        if colon and not takes:
            raise ValueError(f'the output {kind} takes nothing after a colon: '
                             f'{name!r}')
        if not argument and takes and takes[0].default is Parameter.empty:
            raise ValueError(f'the output {kind} needs something after a '
                             f'colon, {kind}:{takes[0].name.upper()}')
        return cls(sign, lambda trace: function(
            trace, *([argument] if argument else [])))

    def __call__(self, trace: Trace) -> Tensor:
        """Compute it of each detection, shape (N, )."""
        return self.sign * self.compute(trace)


def named_outputs() -> list[str]:
    """Return the names of the registered outputs, with what they take."""
    names = []
    for name, function in NAMED_OUTPUTS.module_dict.items():
        _, *takes = signature(function).parameters.values()
        for each in takes:
            own = f':{each.name.upper()}'
            name += own if each.default is Parameter.empty else f'[{own}]'
        names.append(name)
    return names


@NAMED_OUTPUTS.register_module()
def width(trace: Trace) -> Tensor:
    """Compute the width of each box in pixels of the network's input."""
    return trace.outputs[:, 3] - trace.outputs[:, 1]


@NAMED_OUTPUTS.register_module()
def height(trace: Trace) -> Tensor:
    """Compute the height of each box in pixels of the network's input."""
    return trace.outputs[:, 4] - trace.outputs[:, 2]


@NAMED_OUTPUTS.register_module()
def area(trace: Trace) -> Tensor:
    """Compute the area of each box in square pixels of the network's
    input."""
    return width(trace) * height(trace)


@NAMED_OUTPUTS.register_module()
def iou(trace: Trace, other: str) -> Tensor:
    """Compute the intersection over union of each box with that of another
    detection.

    Args:
        trace (Trace): The detections.
        other (str): The number of the other one.
    """
    boxes = trace.outputs[:, 1:]
    return box_iou(boxes, boxes[[numbered(trace, other)]])[:, 0]


@NAMED_OUTPUTS.register_module()
def giou(trace: Trace, other: str) -> Tensor:
    """Compute the generalised intersection over union (Rezatofighi et al.,
    CVPR 2019) of each box with that of another detection; see
    :func:`iou`."""
    boxes = trace.outputs[:, 1:]
    return generalized_box_iou(boxes, boxes[[numbered(trace, other)]])[:, 0]


@NAMED_OUTPUTS.register_module()
def gap(trace: Trace, other: str) -> Tensor:
    """Compute how far apart the facing sides of each box and that of another
    detection are, in pixels of the network's input: ``x1`` of one less ``x2``
    of the other, or the same of ``y``, whichever is largest; negative where
    the boxes overlap. See :func:`iou`."""
    boxes = trace.outputs[:, 1:]
    rival = boxes[[numbered(trace, other)]]
    return torch.cat([rival[:, :2] - boxes[:, 2:], boxes[:, :2] -
                      rival[:, 2:]], dim=1).amax(dim=1)


@NAMED_OUTPUTS.register_module()
def logit(trace: Trace, name: str) -> Tensor:
    """Compute the logit of a class; with a softmax over the classes, the
    logarithm of its probability.

    Args:
        trace (Trace): The detections.
        name (str): The class.
    """
    classes = classes_of(trace)
    label = classes.label(name)
    return classes.logits(torch.full((len(trace), ), label))


@NAMED_OUTPUTS.register_module()
def probability(trace: Trace, name: str) -> Tensor:
    """Compute the probability of a class, or of a phrase of a text, before
    the score is made of it.

    Args:
        trace (Trace): The detections.
        name (str): The class.
    """
    classes = classes_of(trace)
    label = classes.label(name)
    return classes.probability(torch.full((len(trace), ), label))


@NAMED_OUTPUTS.register_module()
def contrast(trace: Trace, names: str = '') -> Tensor:
    """Compute the logit of one class less that of another.

    Args:
        trace (Trace): The detections.
        names (str): ``A/B`` for why ``A`` and not ``B``; ``B`` alone for why
            each detection's own class and not ``B``; nothing for the own
            class and the runner-up, the most probable of the others.
    """
    classes = classes_of(trace)
    return classes.contrast(*classes.pair(trace.detections.labels, names))


@NAMED_OUTPUTS.register_module()
def similarity(trace: Trace) -> Tensor:
    """Compute how much each object looks as it did in the frame before: the
    cosine of the angle between both embeddings, of trackers that make some.
    Their lengths are constants."""
    if trace.similarity is None:
        raise ValueError('the output similarity compares an object with '
                         'itself in the frame before: give a video, and a '
                         'tracker with embeddings, such as QDTrack')
    return trace.similarity


def numbered(trace: Trace, text: str) -> int:
    """Read the number of a detection of a trace."""
    if len(trace) == 1:
        raise ValueError('the image has one object, which is compared with no '
                         'other')
    if not text.isdecimal() or int(text) >= len(trace):
        raise ValueError(f'there is no object {text}: the detector finds '
                         f'{len(trace)}, counted from 0')
    return int(text)


def classes_of(trace: Trace) -> ClassScores:
    """Return what a trace knows about its classes."""
    if trace.prompt is not None and trace.prompt.in_parts:
        raise ValueError(
            'the detector reads the text in parts, and looks for the phrases '
            'of each at other places, so that an object has no probability of '
            'those of another part: give fewer phrases, or --cfg-options '
            'model.test_cfg.chunked_size=-1')
    if trace.classes is None:
        raise ValueError(
            'the detector does not tell how probable the other classes of a '
            'detection are, so that logits and contrasts cannot be explained')
    return trace.classes


@dataclass(frozen=True)
class Meaning:
    """What a signed map says, in words.

    Args:
        question (str): What it answers.
        above (str): What is above zero.
        below (str): What is below zero.
    """
    question: str
    above: str
    below: str


def meanings(trace: Trace, outputs: tuple[str, ...]) -> list[Meaning]:
    """Say of each detection what a signed map of some outputs means."""
    name = ' and '.join(outputs)
    kind, _, argument = name.partition(':')
    if kind != 'contrast' or trace.classes is None:
        return [Meaning(f'for and against its {name}', f'raises {name}',
                        f'lowers {name}')] * len(trace)
    pairs = zip(*(labels.tolist() for labels in trace.classes.pair(
        trace.detections.labels, argument)))
    words = [tuple(map(trace.classes.name, pair)) for pair in pairs]
    return [Meaning(f'why {first} and not {second}', first, second)
            if first != second else
            Meaning(f'it is {first}', first, second)
            for first, second in words]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is asked about an error, so that a map can answer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..tracing.named_outputs import OUTPUTS
from ..visualization import label_name
from .find import DetectorError, ExplainedErrors
from .kinds import Kind
from .misses import Mechanism

#: A side of a box is off if it is by more than this share of the annotated
#: box's width or height.
OFF = 0.1
#: The IoU from which it means something where the sides of a box are.
NEAR = 0.1
#: Of objects that no candidate is at.
NOTHING_THERE = (Mechanism.NO_BOX, Mechanism.MOVED_AWAY,
                 Mechanism.NO_PROPOSAL)


@dataclass(frozen=True)
class Question:
    """What a map says about an error.

    A heat map shows what a candidate is made of; with a ``rival``, what it is
    made of and the rival is not (paper, Eq. 4); with an ``output``, what
    raises it, and what lowers it.

    Args:
        text (str): What it shows, in words.
        candidate (int): Which candidate it is about.
        rival (int): The candidate that this one is compared with; -1 without.
        output (str): The name of an output; see
            :mod:`~mmdet_diffmap.tracing.named_outputs`. Empty without.
        above (str): What is above zero in a signed map, in words.
        below (str): What is below zero.
    """
    text: str
    candidate: int
    rival: int = -1
    output: str = ''
    above: str = ''
    below: str = ''

    @property
    def is_signed(self) -> bool:
        """Whether the map is in [-1, 1], not in [0, 1]."""
        return bool(self.output) or self.rival >= 0


class Questions:
    """Knows what to ask about an error of an image.

    Args:
        explained (ExplainedErrors): The errors.
        class_names (Sequence[str]): The name of each label.
    """

    def __init__(self, explained: ExplainedErrors,
                 class_names: Sequence[str]) -> None:
        self.explained = explained
        self.class_names = class_names
        self.trace = explained.candidates.trace

    def about(self, error: DetectorError) -> list[Question]:
        """Ask what maps can say about an error: the first question says most.

        Returns:
            list[Question]: None for an object without a candidate.
        """
        if error.candidate < 0:
            return []
        return list({
            Kind.WRONG_CLASS: self._about_class,
            Kind.BADLY_PLACED: self._about_place,
            Kind.BOTH: self._about_class_and_place,
            Kind.DUPLICATE: self._about_duplicate,
            Kind.BACKGROUND: self._about_background,
            Kind.MISSED: self._about_miss,
        }[error.kind](error))

    def about_detection(self, candidate: int) -> list[Question]:
        """Ask about a detection that is right: what it is made of."""
        return [self._heat(candidate), self._evidence(candidate)]

    def _about_class_and_place(self,
                               error: DetectorError) -> Iterator[Question]:
        yield from self._contrast(error.candidate, self._true_label(error))
        yield from self._sides(error)
        yield self._heat(error.candidate)

    def _about_class(self, error: DetectorError) -> Iterator[Question]:
        yield from self._contrast(error.candidate, self._true_label(error))
        yield self._heat(error.candidate)

    def _about_place(self, error: DetectorError) -> Iterator[Question]:
        yield from self._sides(error)
        yield self._heat(error.candidate)

    def _about_duplicate(self, error: DetectorError) -> Iterator[Question]:
        yield self._difference(error.candidate, error.rival, 'what it doubles')
        yield self._heat(error.candidate)

    def _about_background(self, error: DetectorError) -> Iterator[Question]:
        yield self._heat(error.candidate)
        yield self._evidence(error.candidate)
        if error.rival >= 0:
            yield self._difference(error.candidate, error.rival,
                                   'the nearest right one')

    def _about_miss(self, error: DetectorError) -> Iterator[Question]:
        candidate, label = error.candidate, self._true_label(error)
        assert error.miss is not None
        if error.miss.mechanism is Mechanism.OTHER_CLASS:
            yield from self._contrast(error.miss.rival, label)
        elif error.miss.rival >= 0:
            yield self._difference(candidate, error.miss.rival,
                                   'what suppressed it')
        if self._label(candidate) == label:
            yield self._evidence(candidate)
        elif candidate != error.miss.rival:
            yield from self._contrast(candidate, label)
        if error.miss.mechanism in NOTHING_THERE and error.iou >= NEAR:
            yield from self._sides(error)
        yield self._heat(candidate)

    def _heat(self, candidate: int) -> Question:
        return Question(f'what {self._name(candidate)} is made of', candidate)

    def _evidence(self, candidate: int) -> Question:
        return Question(
            f'what speaks for {self._name(candidate)}, and what against it',
            candidate, output='score',
            above='raises its score', below='lowers its score')

    def _difference(self, candidate: int, rival: int,
                    role: str) -> Question:
        return Question(
            f'{self._name(candidate)} against {role}, {self._name(rival)}',
            candidate, rival, above='this one only', below='the other only')

    def _contrast(self, candidate: int, true: int) -> Iterator[Question]:
        """Ask why a candidate has its class and not the true one, if the
        detector says how probable the others are."""
        classes = self.trace.classes
        found = self._label(candidate)
        if classes is None or found == true:
            return
        names = self._class_name(found), self._class_name(true)
        yield Question(
            f'why {names[0]} and not {names[1]}', candidate,
            output=f'contrast:#{found}/#{true}',
            above=names[0], below=names[1])

    def _sides(self, error: DetectorError) -> Iterator[Question]:
        """Ask about the sides of a box that are off."""
        found = self.trace.detections.bboxes[error.candidate].cpu()
        true = self.explained.errors.truth.bboxes[error.object]
        lengths = (true[2:] - true[:2]).repeat(2).clamp(min=1e-6)
        shares = (found - true) / lengths
        for column in shares.abs().argsort(descending=True).tolist():
            if abs(shares[column]) <= OFF:
                return
            name = ('left', 'top', 'right', 'bottom')[column]
            # towards which end of its axis the side is off
            wrong = 1 if shares[column] > 0 else -1
            ends = ('left', 'right') if column % 2 == 0 else ('up', 'down')
            directions = [f'pulls it {ends[end > 0]}'
                          for end in (wrong, -wrong)]
            yield Question(
                f'its {name} side, off by {abs(shares[column]):.0%} of the '
                f'object\'s {("width", "height")[column % 2]}',
                error.candidate,
                output=f'{"-" * (wrong < 0)}{OUTPUTS[1 + column]}',
                above=f'{directions[0]}, as it is',
                below=f'{directions[1]}, to where it should be')

    def _true_label(self, error: DetectorError) -> int:
        return int(self.explained.errors.truth.labels[error.object])

    def _label(self, candidate: int) -> int:
        return int(self.trace.detections.labels[candidate])

    def _class_name(self, label: int) -> str:
        return label_name(self.class_names, label)

    def _name(self, candidate: int) -> str:
        score = float(self.trace.detections.scores[candidate])
        return f'{self._class_name(self._label(candidate))} {score:.2f}'

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How probable each class of a detection is."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from .candidates import Candidates
from .recording import recording


@dataclass(frozen=True)
class ClassScores:
    """How probable each class of several detections is.

    Args:
        probabilities (Tensor): Of all classes, with a graph, shape (R, C).
        rows (Tensor): Which row is each detection's, int64, shape (N, ).
        independent (bool): Whether each class has a probability of its own
            (sigmoid), or all share one (softmax).
        names (tuple[str]): What the classes are called; empty if the detector
            does not tell.
    """
    probabilities: Tensor
    rows: Tensor
    independent: bool
    names: tuple[str, ...] = ()

    @classmethod
    def of_candidates(cls, head: Any, candidates: Candidates | None,
                      numbers: Tensor | None,
                      names: Sequence[str] = ()) -> ClassScores | None:
        """Return those of detections, of which it is known which candidates
        they were; else None."""
        if candidates is None or numbers is None or \
                candidates.probabilities is None:
            return None
        with recording():
            rows = numbers.clone() if candidates.rows is None else \
                candidates.rows[numbers]
        return cls(
            candidates.probabilities, rows,
            bool(getattr(getattr(head, 'loss_cls', None), 'use_sigmoid',
                         getattr(head, 'use_sigmoid_cls', True))),
            tuple(names))

    def __getitem__(self, keep: Any) -> ClassScores:
        return replace(self, rows=self.rows[keep])

    def knows(self, name: str) -> bool:
        """Whether there is a class of a name; ``#3`` is the class with label
        3."""
        number = name.removeprefix('#')
        return name in self.names or (
            number != name and number.isdecimal() and
            int(number) < self.probabilities.shape[1])

    def label(self, name: str) -> int:
        """Return the label of a class by its name; see :meth:`knows`.

        Raises:
            ValueError: If there is no such class.
        """
        if not self.knows(name):
            raise unknown_class(name, self.names or tuple(
                f'#{label}' for label in range(self.probabilities.shape[1])))
        return self.names.index(name) if name in self.names else \
            int(name.removeprefix('#'))

    def name(self, label: int) -> str:
        """Return the name of a label."""
        return self.names[label] if label < len(self.names) else \
            f'class {label}'

    def runners_up(self, own: Tensor) -> Tensor:
        """Return the most probable class of each detection but its own.

        Args:
            own (Tensor): Labels, int64, shape (N, ).

        Returns:
            Tensor: Labels, shape (N, ).

        Raises:
            ValueError: If there is only one class.

        >>> scores = ClassScores(torch.tensor([[.6, .1, .3]]),
        ...                      torch.tensor([0]), independent=False)
        >>> scores.runners_up(torch.tensor([0]))
        tensor([2])
        """
        if self.probabilities.shape[1] < 2:
            raise ValueError('the detector has one class, which is compared '
                             'with no other')
        values = self.probabilities.detach()[self.rows]
        return values.scatter(1, own.to(self.rows)[:, None], -torch.inf) \
            .argmax(dim=1)

    def pair(self, own: Tensor, names: str) -> tuple[Tensor, Tensor]:
        """Return the labels of both classes of a contrast, for each detection.

        Args:
            own (Tensor): The label of each, int64, shape (N, ).
            names (str): ``A/B`` for ``A`` and ``B``; ``B`` alone for each
                detection's own class and ``B``; nothing for the own class and
                the runner-up.

        Returns:
            tuple: Labels, shape (N, ) each.

        Raises:
            ValueError: If there is no such class, or both are one.

        >>> scores = ClassScores(torch.tensor([[.6, .1, .3]]),
        ...                      torch.tensor([0]), True, tuple('abc'))
        >>> [labels.item() for labels in scores.pair(torch.tensor([0]), 'b')]
        [0, 1]
        """
        if not names:
            return own, self.runners_up(own)
        if self.knows(names):
            return own, torch.full_like(own, self.label(names))
        # a class may have a slash in its name
        places = [place for place, letter in enumerate(names)
                  if letter == '/']
        halves = [(names[:place], names[place + 1:]) for place in places]
        known = [half for half in halves if all(map(self.knows, half))]
        if not known:
            unknown = next((name for half in halves[:1] for name in half
                            if not self.knows(name)), names)
            self.label(unknown)  # raises
        first, second = (self.label(name) for name in known[0])
        if first == second:
            raise ValueError(f'contrast:{names} has one class twice')
        return torch.full_like(own, first), torch.full_like(own, second)

    def contrast(self, found: Tensor, true: Tensor) -> Tensor:
        """Compute ``logit(found) - logit(true)`` of each detection, with a
        graph: what speaks for one class and against another.

        With a softmax it is the logarithm of the ratio of both probabilities.
        Where a probability is 1 or 0 to the last bit (logits of 17 and more),
        it is what single precision can tell from it, without a gradient.

        Args:
            found, true (Tensor): Labels, int64, shape (N, ).

        Returns:
            Tensor: Shape (N, ).

        >>> scores = ClassScores(torch.tensor([[.6, .2, .2]]),
        ...                      torch.tensor([0]), independent=False)
        >>> scores.contrast(torch.tensor([0]), torch.tensor([1]))  # log 3
        tensor([1.0986])
        """
        with recording():
            return self.logits(found) - self.logits(true)

    def probability(self, labels: Tensor) -> Tensor:
        """Return the probability of a class of each detection, with a graph.

        Args:
            labels (Tensor): int64, shape (N, ).

        Returns:
            Tensor: Shape (N, ).
        """
        with recording():
            return self.probabilities[self.rows, labels.to(self.rows)]

    def logits(self, labels: Tensor) -> Tensor:
        """Compute the logit of a class of each detection, with a graph; with
        a softmax, the logarithm of its probability.

        Args:
            labels (Tensor): int64, shape (N, ).

        Returns:
            Tensor: Shape (N, ).
        """
        with recording():
            values = self.probability(labels)
            return logits_of(values) if self.independent else \
                logarithms_of(values)


def logarithms_of(probabilities: Tensor) -> Tensor:
    """Compute the logarithm of probabilities; of 0, that of the smallest
    positive number, without a gradient."""
    smallest = torch.finfo(probabilities.dtype).tiny
    return probabilities.clamp(min=smallest).log()


def logits_of(probabilities: Tensor) -> Tensor:
    """Compute ``log(p / (1 - p))``; of 0 or 1, what single precision can tell
    from it, without a gradient."""
    largest = 1 - torch.finfo(probabilities.dtype).eps / 2
    return logarithms_of(probabilities) - torch.log1p(
        -probabilities.clamp(max=largest))


def unknown_class(name: str, names: tuple[str, ...]) -> ValueError:
    """Return the error of a class that a detector does not have."""
    close = get_close_matches(name, names, 3)
    hint = f': did you mean {" or ".join(close)}?' if close else \
        f'; it has {", ".join(names[:12])}{" …" * (len(names) > 12)}'
    return ValueError(f'the detector has no class {name!r}{hint}')


def check_classes(outputs: Sequence[str], names: Sequence[str]) -> None:
    """Raise a ValueError if outputs name a class that a detector does not
    have.

    Args:
        outputs (Sequence[str]): Names of outputs.
        names (Sequence[str]): What the detector's classes are called.
    """
    classes = ClassScores(torch.zeros(1, len(names)), torch.tensor([0]), True,
                          tuple(names))
    for output in outputs:
        kind, _, argument = output.removeprefix('-').partition(':')
        if kind in ('logit', 'probability'):
            classes.label(argument)
        elif kind == 'contrast':
            classes.pair(torch.tensor([0]), argument)

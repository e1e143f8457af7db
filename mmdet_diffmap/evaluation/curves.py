# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The scores of an image's objects while pixels are deleted and inserted."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

DIRECTIONS = ('deletion', 'insertion')
DIGITS = 7  # what single precision knows of a score


@dataclass(frozen=True)
class Place:
    """Of which curve a changed image is a point.

    Args:
        method (str): The method's name.
        direction (int): 0 for deletion, 1 for insertion.
        target (int): Whose map says which pixels are replaced.
        step (int): From 1 on.
    """
    method: str
    direction: int
    target: int
    step: int


@dataclass
class Curves:
    """The scores of all N objects behind changed pixels.

    Args:
        original (np.ndarray): On the untouched image, shape (N, ).
        black (np.ndarray): On a black image, shape (N, ).
        scores (dict): For each method, shape (2, N, steps + 1, N): direction,
            target, step, object.
    """
    original: np.ndarray
    black: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    def begin(self, method: str, steps: int) -> None:
        """Make room for the curves of a method."""
        count = len(self.original)
        self.scores[method] = np.zeros((2, count, steps + 1, count))

    def add(self, place: Place | None, scores: np.ndarray) -> None:
        """Note the scores (N, ) of a changed image; None is the black one."""
        if place is None:
            self.black = scores
        else:
            self.scores[place.method][place.direction, place.target,
                                      place.step] = scores

    def as_dict(self) -> dict[str, Any]:
        """Return, for each method and direction, ``target``: the target's
        score, and ``others``: the mean score of the others, each for every
        target at every step, N lists of steps + 1.

        Raises:
            FloatingPointError: If a score is not finite.
        """
        return {method: self._of_method(scores)
                for method, scores in self.scores.items()}

    def _of_method(self, scores: np.ndarray) -> dict[str, Any]:
        count = len(self.original)
        own = np.arange(count)
        scores[0, :, 0], scores[1, :, 0] = self.original, self.black
        if not np.isfinite(scores).all():
            raise FloatingPointError('the detector\'s scores are not finite '
                                     'behind changed pixels')
        # (2, N, steps + 1)
        target = scores[:, own, :, own].transpose(1, 0, 2)
        others = (scores.sum(axis=3) - target) / (count - 1)
        return {
            direction: dict(
                target=target[i].round(DIGITS).tolist(),
                others=others[i].round(DIGITS).tolist())
            for i, direction in enumerate(DIRECTIONS)
        }

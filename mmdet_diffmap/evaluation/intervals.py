# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Means over objects, each with a 95 % interval from resampled images."""
from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two means, with its 95 % interval.

    Args:
        mean (float, optional): None where nothing has a value.
        low, high (float, optional): The interval; None as well.
    """
    mean: float | None
    low: float | None
    high: float | None

    @property
    def limits(self) -> list[float] | None:
        """The interval as JSON holds it."""
        if self.low is None or self.high is None:
            return None
        return [self.low, self.high]

    def as_dict(self) -> dict[str, Any]:
        """Return ``mean`` and ``ci95``, ready for JSON."""
        return dict(mean=self.mean, ci95=self.limits)


class Means:
    """Means over objects, with intervals from resampled images.

    Objects of an image are not independent, so whole images are drawn with
    replacement, and the interval holds 95 % of the means (percentile
    bootstrap, Efron 1979). All quantities are resampled with the same draws,
    so that differences of two are paired.

    >>> means = Means()
    >>> for value in 1., 2., 3.:  # three images of one object each
    ...     means.add('score', [value])
    ...     means.add('twice', [2 * value])
    >>> estimates = means.estimates([('twice', 'score')])
    >>> estimates['score']
    Estimate(mean=2.0, low=1.0, high=3.0)
    >>> estimates['twice', 'score'].mean
    2.0
    """

    def __init__(self) -> None:
        self.sums: dict[Any, array] = {}
        self.counts: dict[Any, array] = {}

    def add(self, key: Any, values: Sequence[float | None]) -> None:
        """Add the values of an image's objects; None does not count. Every
        key gets one call an image, in the same order."""
        numbers = [value for value in values if value is not None]
        self.sums.setdefault(key, array('d')).append(sum(numbers))
        self.counts.setdefault(key, array('d')).append(len(numbers))

    def mean(self, key: Any) -> float | None:
        """Return the mean over all objects; None where nothing counts."""
        count = sum(self.counts[key])
        return sum(self.sums[key]) / count if count else None

    def estimates(
        self, pairs: Sequence[tuple[Any, Any]] = ()
    ) -> dict[Any, Estimate]:
        """Return the mean of each key with its interval; and by each pair of
        keys the same of the first one's mean less the second one's."""
        if not self.sums:
            return {}
        drawn: dict[Any, list[np.ndarray]] = {}
        for weights in draw_images(len(next(iter(self.sums.values())))):
            means = {key: self._resampled_means(key, weights)
                     for key in self.sums}
            for key, values in means.items():
                drawn.setdefault(key, []).append(values)
            for pair in pairs:
                drawn.setdefault(pair, []).append(
                    means[pair[0]] - means[pair[1]])
        exact: dict[Any, float | None] = {
            key: self.mean(key) for key in self.sums}
        for first, second in pairs:
            exact[first, second] = difference(exact[first], exact[second])
        return {
            key: Estimate(exact[key], *interval(np.concatenate(values)))
            for key, values in drawn.items()
        }

    def _resampled_means(self, key: Any,
                         weights: np.ndarray) -> np.ndarray:
        counts = weights @ np.asarray(self.counts[key])
        with np.errstate(invalid='ignore'):
            return weights @ np.asarray(self.sums[key]) / counts


def difference(first: float | None, second: float | None) -> float | None:
    """Subtract the second number from the first; None if one is None."""
    return None if first is None or second is None else first - second


def draw_images(images: int) -> Iterator[np.ndarray]:
    """Draw ``RESAMPLES`` samples of images with replacement, a few samples at
    a time.

    Yields:
        np.ndarray: How often each image is in each sample, shape (few,
        images).
    """
    random = np.random.default_rng(0)
    few = max(1, min(RESAMPLES, 10**7 // max(1, images)))
    for first in range(0, RESAMPLES, few):
        size = min(few, RESAMPLES - first)
        samples = random.integers(0, images, (size, images))
        yield np.stack([
            np.bincount(sample, minlength=images) for sample in samples
        ]).astype(float)


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Return what holds the middle 95 % of values, those that are numbers;
    twice None where none is."""
    numbers = values[~np.isnan(values)]
    if not len(numbers):
        return None, None
    low, high = np.percentile(numbers, (2.5, 97.5))
    return float(low), float(high)

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
        low, high (float, optional): The interval; None where fewer than two
            images have a value.
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

    def written(self, form: str) -> str:
        """Write the mean, and the interval where there is one.

        >>> Estimate(1.25, -1, 3).written('+.1f')
        '+1.2 (-1.0 to +3.0)'
        >>> Estimate(2, None, None).written('.0f')
        '2'
        """
        if self.mean is None:
            return '-'
        if self.limits is None:
            return f'{self.mean:{form}}'
        low, high = self.limits
        return f'{self.mean:{form}} ({low:{form}} to {high:{form}})'


class Means:
    """Means over objects, with intervals from resampled images.

    Objects of an image are not independent, so whole images are drawn with
    replacement, and the interval holds 95 % of the means (percentile
    bootstrap, Efron 1979). One image alone says nothing of others, and gives
    no interval. All quantities are resampled with the same draws,
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
        keys = list(self.sums)
        places = {key: number for number, key in enumerate(keys)}
        # (images, keys)
        sums, counts = (np.stack([np.asarray(of[key]) for key in keys], 1)
                        for of in (self.sums, self.counts))
        drawn = np.concatenate(
            [resampled_means(sums, counts, weights)
             for weights in draw_images(len(sums))])
        drawn[:, (counts > 0).sum(axis=0) < 2] = np.nan
        estimates = {key: Estimate(self.mean(key), *interval(values))
                     for key, values in zip(keys, drawn.T)}
        for first, second in pairs:
            estimates[first, second] = Estimate(
                difference(self.mean(first), self.mean(second)),
                *interval(drawn[:, places[first]] - drawn[:, places[second]]))
        return estimates


def resampled_means(sums: np.ndarray, counts: np.ndarray,
                    weights: np.ndarray) -> np.ndarray:
    """Return the means of samples of images.

    Args:
        sums, counts (np.ndarray): Of the values of each image, by quantity,
            shape (images, K).
        weights (np.ndarray): How often each image is in each sample, shape
            (samples, images).

    Returns:
        np.ndarray: Shape (samples, K); NaN where nothing counts.
    """
    with np.errstate(invalid='ignore'):
        return (weights @ sums) / (weights @ counts)


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

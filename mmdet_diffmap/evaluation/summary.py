# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of a whole run, from the entries of its images."""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from .curves import DIRECTIONS
from .map_metrics import MAP_METRICS
from .perturbation import area_under_curve

KINDS = ('target', 'others')
QUANTITIES = tuple(product(DIRECTIONS, KINDS))
RESAMPLES = 2000


class Means:
    """Means over objects, with intervals from resampled images.

    Objects of an image are not independent, so whole images are drawn with
    replacement, and the interval holds 95 % of the means (percentile
    bootstrap, Efron 1979). All quantities are resampled with the same draws,
    so that differences of two are paired.
    """

    def __init__(self) -> None:
        self.sums: dict[Any, array] = {}
        self.counts: dict[Any, array] = {}

    def add(self, key: Any, values: Sequence[float | None]) -> None:
        """The values of an image's objects; None does not count. Every key
        gets one call an image, in the same order."""
        known = [value for value in values if value is not None]
        self.sums.setdefault(key, array('d')).append(sum(known))
        self.counts.setdefault(key, array('d')).append(len(known))

    def mean(self, key: Any) -> float | None:
        """None where nothing counts."""
        count = sum(self.counts[key])
        return sum(self.sums[key]) / count if count else None

    def intervals(
        self, keys: Sequence[Any], pairs: Sequence[tuple[Any, Any]] = ()
    ) -> dict[Any, list[float] | None]:
        """The 95 % intervals of means, and of differences of two means."""
        draws: dict[Any, list[np.ndarray]] = {}
        for weights in resampled(len(self.sums[keys[0]])):
            means = {key: self._resampled_means(key, weights)
                     for key in keys}
            for key, values in means.items():
                draws.setdefault(key, []).append(values)
            for one, other in pairs:
                draws.setdefault((one, other),
                                 []).append(means[one] - means[other])
        return {key: interval(np.concatenate(values))
                for key, values in draws.items()}

    def _resampled_means(self, key: Any, weights: np.ndarray) -> np.ndarray:
        counts = weights @ np.asarray(self.counts[key])
        with np.errstate(invalid='ignore'):
            return weights @ np.asarray(self.sums[key]) / counts


def resampled(images: int) -> Iterator[np.ndarray]:
    """How often each image is in each of ``RESAMPLES`` samples, a few
    samples at a time: shape (few, images)."""
    random = np.random.default_rng(0)
    few = max(1, min(RESAMPLES, 10**7 // max(1, images)))
    for first in range(0, RESAMPLES, few):
        size = min(few, RESAMPLES - first)
        drawn = random.integers(0, images, (size, images))
        yield np.stack([
            np.bincount(one, minlength=images) for one in drawn
        ]).astype(float)


def interval(values: np.ndarray) -> list[float] | None:
    """What holds the middle 95 % of values, those that are numbers."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return [float(one) for one in np.percentile(known, (2.5, 97.5))]


def percent_curves(entry: dict[str, Any],
                   method: str) -> dict[tuple[str, str], np.ndarray]:
    """The curves of an image's objects, each shape (N, steps + 1), in per
    cent of the scores on the untouched image (paper, Sec. 4.3).

    Args:
        entry (dict): Of the journal.
        method (str): An explainer's name.

    Returns:
        dict: By direction and by ``target`` or ``others``.
    """
    own = np.array(entry['untouched'])
    others = (own.sum() - own) / (len(own) - 1)
    original = dict(target=own, others=others)
    scores = entry['scores'][method]
    return {
        (direction, kind):
        100 * np.array(scores[direction][kind]) / original[kind][:, None]
        for direction, kind in QUANTITIES
    }


def is_measured(entry: dict[str, Any]) -> bool:
    """Whether an entry has figures; one with too few objects has none."""
    return any(name in entry for name in ('scores', *MAP_METRICS))


class Summary:
    """Collects the entries of images, in the order of their ids.

    Args:
        methods (Sequence[str]): Names of explainers.
        pairs (Sequence): Pairs of names whose difference is wanted.
    """

    def __init__(self, methods: Sequence[str],
                 pairs: Sequence[tuple[str, str]]) -> None:
        self.methods = methods
        self.pairs = pairs
        self.images = self.skipped = self.objects = 0
        self.means = Means()
        self.curves: dict[tuple[str, str, str], np.ndarray] = {}

    def add(self, entry: dict[str, Any]) -> None:
        """Another image; one with too few objects is only counted."""
        if not is_measured(entry):
            self.skipped += 1
            return
        self.images += 1
        self.objects += len(entry['objects'])
        for method in self.methods:
            if 'scores' in entry:
                for quantity, curves in percent_curves(entry, method).items():
                    key = method, *quantity
                    self.curves[key] = \
                        self.curves.get(key, 0) + curves.sum(axis=0)
                    self.means.add(key,
                                   [area_under_curve(one) for one in curves])
            for group in MAP_METRICS:
                for name, values in entry.get(group, {}).get(method,
                                                             {}).items():
                    self.means.add((method, group, name), values)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; areas and curves in per cent."""
        keys = list(self.means.sums)
        means = {key: self.means.mean(key) for key in keys}
        pairs = [((one, *quantity), (other, *quantity))
                 for one, other in self.pairs
                 for method, *quantity in keys if method == one]
        limits = self.means.intervals(keys, pairs) if keys else {}
        explainers: dict[str, Any] = {name: {} for name in self.methods}
        for method, outer, inner in keys:
            key, found = (method, outer, inner), explainers[method]
            put(found, (outer, inner), means[key])
            put(found, ('ci95', outer, inner), limits[key])
            if key in self.curves:
                put(found, ('curves', outer, inner),
                    (self.curves[key] / self.objects).tolist())
        differences: dict[str, Any] = {}
        for pair in pairs:
            (one, outer, inner), (other, *_) = pair
            mean, base = (means[key] for key in pair)
            put(differences, (f'{one} - {other}', outer, inner),
                dict(
                    mean=None if mean is None or base is None else
                    mean - base,
                    ci95=limits[pair]))
        return dict(
            num_images=self.images,
            num_objects=self.objects,
            num_skipped=self.skipped,
            explainers=explainers,
            differences=differences)


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in a dict of dicts of ..."""
    *outer, last = path
    for name in outer:
        tree = tree.setdefault(name, {})
    tree[last] = value


def summarize(entries: Iterable[dict[str, Any]], methods: Sequence[str],
              pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The figures of a run; see :meth:`Summary.as_dict`."""
    summary = Summary(methods, pairs)
    for entry in entries:
        summary.add(entry)
    return summary.as_dict()

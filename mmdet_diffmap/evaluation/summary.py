# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The figures of a whole run, from those of its images."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .intervals import Estimate, Means
from .measured_image import MeasuredImage, Quantity
from .perturbation import area_under_curve


@dataclass
class MethodFigures:
    """The figures of a method.

    Args:
        estimates (dict): By quantity; areas under curves in per cent.
        curves (dict): By quantity the mean curve in per cent, ``steps + 1``
            estimates.
    """
    estimates: dict[Quantity, Estimate] = field(default_factory=dict)
    curves: dict[Quantity, list[Estimate]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return dicts of dicts, ready for JSON: by group and name the means,
        and in the same way below ``ci95`` and ``curves``."""
        tree: dict[str, Any] = {}
        for quantity, estimate in self.estimates.items():
            put(tree, quantity, estimate.mean)
            put(tree, ('ci95', *quantity), estimate.limits)
            if quantity in self.curves:
                curve = self.curves[quantity]
                put(tree, ('curves', *quantity),
                    [point.mean for point in curve])
                put(tree, ('curves_ci95', *quantity),
                    [point.limits for point in curve])
        return tree


class Pair(NamedTuple):
    """Two methods of which the first is compared with the second."""
    name: str
    base: str

    def __str__(self) -> str:
        return f'{self.name} - {self.base}'


@dataclass
class Figures:
    """The figures of a run.

    Args:
        num_images, num_objects (int): How many were measured.
        num_skipped (int): How many images have too few objects.
        methods (dict): By name.
        differences (dict): By pair of methods and quantity, object by object.
    """
    num_images: int
    num_objects: int
    num_skipped: int
    methods: dict[str, MethodFigures]
    differences: dict[Pair, dict[Quantity, Estimate]]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        differences: dict[str, Any] = {}
        for pair, estimates in self.differences.items():
            for quantity, estimate in estimates.items():
                put(differences, (str(pair), *quantity), estimate.as_dict())
        return dict(
            num_images=self.num_images,
            num_objects=self.num_objects,
            num_skipped=self.num_skipped,
            explainers={name: figures.as_dict()
                        for name, figures in self.methods.items()},
            differences=differences)


@dataclass
class RunRecord:
    """All that is known of a finished run; ``del_ins.json`` holds it.

    Args:
        settings (dict): All that changes results.
        environment (dict): What changes them by rounding only.
        failed (dict): By image id the reason.
        figures (Figures): The figures.
        bases (Mapping): By the name of each difference map, the method whose
            heat maps it compares.
        published (Mapping): Figures to print beside them: by method,
            ``deletion`` and ``insertion``, ``target`` and ``others``, in per
            cent.
    """
    settings: dict[str, Any]
    environment: dict[str, Any]
    failed: dict[str, str]
    figures: Figures
    bases: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        record = dict(
            settings=self.settings,
            environment=self.environment,
            failed=self.failed,
            bases=dict(self.bases),
            **self.figures.as_dict())
        if self.published:
            record['published'] = dict(self.published)
        return record


class Summary:
    """Sums up the images of a run, one after the other.

    Args:
        methods (Sequence[str]): Names of explainers.
        pairs (Sequence): Pairs of names whose difference is wanted.
    """

    def __init__(self, methods: Sequence[str],
                 pairs: Sequence[tuple[str, str]]) -> None:
        self.methods = methods
        self.pairs = [Pair(*pair) for pair in pairs]
        self.images = self.skipped = self.objects = 0
        #: Of (method, quantity).
        self.means = Means()
        #: Of (method, quantity, step).
        self.points = Means()

    def add(self, entry: dict[str, Any]) -> None:
        """Add an entry of the journal, in the order of the images' ids; one
        with too few objects is only counted."""
        image = MeasuredImage.of_entry(entry)
        if image is None:
            self.skipped += 1
            return
        self.images += 1
        self.objects += len(image.objects)
        for method in self.methods:
            for quantity, curves in image.percent_curves(method).items():
                key = method, quantity
                for step, values in enumerate(curves.T):
                    self.points.add((*key, step), values)
                self.means.add(key,
                               [area_under_curve(curve) for curve in curves])
            for quantity, numbers in image.values.get(method, {}).items():
                self.means.add((method, quantity), numbers)

    def figures(self) -> Figures:
        """Compute means, intervals and mean curves."""
        keys = [(pair, quantity) for pair in self.pairs
                for method, quantity in self.means.sums if method == pair.name]
        estimates = self.means.estimates([
            ((pair.name, quantity), (pair.base, quantity))
            for pair, quantity in keys])
        methods = {name: MethodFigures() for name in self.methods}
        for method, quantity in self.means.sums:
            methods[method].estimates[quantity] = estimates[method, quantity]
        for (method, quantity, _), point in self.points.estimates().items():
            methods[method].curves.setdefault(quantity, []).append(point)
        differences: dict[Pair, dict[Quantity, Estimate]] = {}
        for pair, quantity in keys:
            differences.setdefault(pair, {})[quantity] = estimates[
                (pair.name, quantity), (pair.base, quantity)]
        return Figures(self.images, self.objects, self.skipped, methods,
                       differences)


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in a dict of dicts of ...

    >>> tree = {}
    >>> put(tree, ['ci95', 'deletion', 'target'], [1, 2])
    >>> tree
    {'ci95': {'deletion': {'target': [1, 2]}}}
    """
    *outer, last = path
    for name in outer:
        tree = tree.setdefault(name, {})
    tree[last] = value

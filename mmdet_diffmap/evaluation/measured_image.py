# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What was measured of an image, as the journal has it."""
from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .curves import DIRECTIONS
from .map_metrics import MAP_METRICS
from .objects import ObjectRecord


class Quantity(NamedTuple):
    """What a figure tells of.

    Args:
        group (str): ``deletion`` or ``insertion``, or one of ``MAP_METRICS``.
        name (str): ``target`` or ``others``, or one of the group's
            quantities.
    """
    group: str
    name: str


#: Those that have a curve.
CURVES = tuple(
    Quantity(*names) for names in product(DIRECTIONS, ('target', 'others')))


@dataclass(frozen=True)
class MeasuredImage:
    """The figures of an image with enough objects.

    Args:
        image_id (Hashable): Its id in the data set.
        objects (list[ObjectRecord]): Its N objects.
        untouched (np.ndarray): Their scores on the untouched image, shape
            (N, ); empty without curves.
        scores (dict): By method, of each of ``CURVES`` the score behind
            changed pixels, shape (N, steps + 1).
        values (dict): By method, of each quantity of ``MAP_METRICS`` the
            value of every object.
    """
    image_id: Hashable
    objects: list[ObjectRecord]
    untouched: np.ndarray
    scores: dict[str, dict[Quantity, np.ndarray]]
    values: dict[str, dict[Quantity, list[float | None]]]

    @classmethod
    def of_entry(cls, entry: dict[str, Any]) -> MeasuredImage | None:
        """Read an entry of the journal; None for one with too few objects,
        which has no figures."""
        if not any(name in entry for name in ('scores', *MAP_METRICS)):
            return None
        return cls(
            entry['image_id'],
            [ObjectRecord(**record) for record in entry['objects']],
            np.array(entry.get('untouched', ())),
            {method: {quantity: np.array(curves[quantity.group][quantity.name])
                      for quantity in CURVES}
             for method, curves in entry.get('scores', {}).items()},
            values_by_method(entry))

    def percent_curves(self, method: str) -> dict[Quantity, np.ndarray]:
        """Compute the curves of the objects, each shape (N, steps + 1), in
        per cent of the scores on the untouched image (paper, Sec. 4.3); none
        where no curves were measured."""
        if method not in self.scores:
            return {}
        own = self.untouched
        others = (own.sum() - own) / (len(own) - 1)
        original = dict(target=own, others=others)
        return {
            quantity: 100 * scores / original[quantity.name][:, None]
            for quantity, scores in self.scores[method].items()
        }


def values_by_method(
        entry: dict[str, Any]
) -> dict[str, dict[Quantity, list[float | None]]]:
    """Read the quantities of ``MAP_METRICS`` from an entry."""
    values: dict[str, dict[Quantity, list[float | None]]] = {}
    for group in MAP_METRICS:
        for method, quantities in entry.get(group, {}).items():
            for name, numbers in quantities.items():
                values.setdefault(method, {})[Quantity(group, name)] = numbers
    return values

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is measured of maps themselves, beside what changed pixels do."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .ground_truth import GroundTruth
from .localization import (
    LOCALIZATION,
    box_regions,
    energy_share,
    localization,
    pointing_game,
)
from .shape import SHAPE, contour_band, shape

#: What :func:`parts` measures, and whether more is better.
PARTS = {
    'own_part': True,
    'common': False,
    'other_parts': False,
    'pointing_game_part': True,
}


def parts(heatmap: Tensor, own: int, masks: Tensor,
          distinguishing: Tensor) -> dict[str, float]:
    """Measure whether a map finds what tells its object from the others.

    Args:
        heatmap (Tensor): In the original image, not negative, shape (H, W).
        own (int): Which object is the map's.
        masks (Tensor): The objects, bool (M, H, W).
        distinguishing (Tensor): The part of each that tells it from the
            others, bool (M, H, W).

    Returns:
        dict: The shares of the energy in the own distinguishing part
        (``own_part``), in the rest of the own mask that is no other's
        distinguishing part (``common``), and in the distinguishing parts of
        others (``other_parts``); and whether the largest value lies in the
        own one (``pointing_game_part``).
    """
    part = distinguishing[own]
    rest = torch.arange(len(masks), device=masks.device) != own
    others = distinguishing[rest].any(dim=0) & ~part
    return dict(
        own_part=energy_share(heatmap, part),
        common=energy_share(heatmap, masks[own] & ~part & ~others),
        other_parts=energy_share(heatmap, others),
        pointing_game_part=pointing_game(heatmap, part))


class Regions:
    """Where the annotated objects of an image are.

    Args:
        truth (GroundTruth): The annotated objects.
        size (Sequence[int]): Height and width of the original image.
        device (torch.device): Of the regions.

    Attributes:
        boxes (Tensor): bool, shape (M, H, W).
        masks (Tensor, optional): The same; None if an object has none.
        parts (Tensor, optional): What tells each object from the others, the
            same.
    """

    def __init__(self, truth: GroundTruth, size: Sequence[int],
                 device: torch.device) -> None:
        self.boxes = box_regions(truth.bboxes, *size).to(device)
        self.masks, self.parts = (
            None if arrays is None else torch.from_numpy(arrays).to(device)
            for arrays in (truth.mask_arrays(size), truth.part_arrays(size)))

    @cached_property
    def bands(self) -> list[Tensor]:
        """The :func:`contour_band` of each mask."""
        return [] if self.masks is None else \
            [contour_band(mask) for mask in self.masks]


@dataclass(frozen=True)
class MapMetric:
    """A group of quantities of one map.

    Args:
        quantities (Mapping): Their names, and whether more is better; None
            for neither.
        measure (Callable): (map (H, W), not negative; which annotated object
            is its own; regions; region of the detection's box, bool (H, W))
            -> the quantities, NaN for what has no value; None if the regions
            do not tell.
    """
    quantities: Mapping[str, bool | None]
    measure: Callable[[Tensor, int, Regions, Tensor],
                      dict[str, float] | None]

    def __call__(self, heatmap: Tensor, own: int, regions: Regions,
                 box: Tensor, digits: int) -> dict[str, float | None]:
        """Return the rounded quantities, None where they have no value."""
        measured = self.measure(heatmap, own, regions, box) or {}
        values = {name: measured.get(name, math.nan)
                  for name in self.quantities}
        return {name: None if math.isnan(value) else round(value, digits)
                for name, value in values.items()}


#: The groups by their names.
MAP_METRICS = {
    'localization':
    MapMetric(
        LOCALIZATION, lambda heatmap, own, regions, box: None
        if regions.masks is None else localization(
            heatmap, own, regions.boxes, regions.masks)),
    'shape':
    MapMetric(
        SHAPE, lambda heatmap, own, regions, box: None
        if regions.masks is None else shape(
            heatmap, box, regions.masks[own], regions.bands[own])),
    'parts':
    MapMetric(
        PARTS, lambda heatmap, own, regions, box: None
        if regions.masks is None or regions.parts is None else parts(
            heatmap, own, regions.masks, regions.parts)),
}

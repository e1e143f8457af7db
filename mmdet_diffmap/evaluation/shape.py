# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How large, how rectangular and how near to edges the highlighted regions of
a map are: the paper's observations on detectors (Sec. 4.2) as numbers."""
from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from .localization import energy_share

#: What :func:`shape` measures; None: neither more nor less is better.
SHAPE = {
    'half_area': None,
    'mean_inside': None,
    'in_box': None,
    'rectangularity': None,
    'near_contour': None,
    'contour_density': None,
}
BAND = 0.1  # of the square root of a mask's area


def contour_band(mask: Tensor) -> Tensor:
    """Return the pixels near a mask's contour: no farther from it, inside or
    outside, than ``BAND`` times the square root of the mask's area.

    Args:
        mask (Tensor): bool, shape (H, W).

    Returns:
        Tensor: bool, shape (H, W).
    """
    array = np.pad(mask.cpu().numpy().astype(np.uint8), 1)  # edges are contour
    inside, outside = (
        cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for side in (array, 1 - array))
    # a pixel's distance is that to the nearest pixel on the other side, which
    # is half a pixel beyond the contour
    distance = np.maximum(inside, outside)[1:-1, 1:-1] - 0.5
    reach = BAND * math.sqrt(array.sum())
    return torch.from_numpy(distance <= reach).to(mask.device)


def shape(heatmap: Tensor, box: Tensor, mask: Tensor,
          band: Tensor) -> dict[str, float]:
    """Measure all of ``SHAPE`` for one map.

    Args:
        heatmap (Tensor): In the original image, in [0, 1], shape (H, W).
        box (Tensor): The region of the detection's own box, bool (H, W).
        mask (Tensor): The object's mask, bool (H, W).
        band (Tensor): Its :func:`contour_band`.

    Returns:
        dict: ``half_area``: how many pixels are above half of the map's
        largest value, as a multiple of the mask's. ``mean_inside``: the mean
        value in the mask. ``in_box``: the share of the energy in the box.
        ``rectangularity``: how much of the rectangle around the pixels above
        half of the largest value they fill; 1 for an upright rectangle, 0.79
        for an ellipse. ``near_contour``: the share of the energy in the band.
        ``contour_density``: of the energy in mask and band together, the
        share in the band, as a multiple of the band's share of their area;
        above 1 the contour is highlighted more than what is farther inside.
        NaN where a map of zeros leaves them open.
    """
    largest = heatmap.amax()
    above = heatmap > largest / 2
    count = int(above.sum())
    near = energy_share(heatmap, band)
    either = energy_share(heatmap, mask | band)
    band_share = int(band.sum()) / int((mask | band).sum())
    return dict(
        half_area=count / int(mask.sum()),
        mean_inside=float(heatmap[mask].mean()),
        in_box=energy_share(heatmap, box),
        rectangularity=count / rectangle_around(above)
        if count else math.nan,
        near_contour=near,
        contour_density=near / either / band_share if either else math.nan)


def rectangle_around(region: Tensor) -> int:
    """Compute the area of the upright rectangle around the pixels of a region.

    >>> rectangle_around(torch.eye(3, 5) > 0)
    9
    """
    rows = region.any(dim=1).nonzero()
    columns = region.any(dim=0).nonzero()
    return int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))

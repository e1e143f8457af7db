# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How well a map keeps to its own object, by boxes and masks that people
drew."""
import torch
from torch import Tensor

#: What :func:`localization` measures, and whether more is better.
LOCALIZATION = {
    'pointing_game_box': True,
    'pointing_game_mask': True,
    'energy_inside': True,
    'leakage': False,
    'odi_box': False,
    'odi_mask': False,
}


def pointing_game(heatmap: Tensor, region: Tensor) -> float:
    """Compute whether the map's largest value lies in a region (Zhang et al.,
    IJCV 2018, without tolerance).

    Args:
        heatmap (Tensor): Not negative, shape (H, W).
        region (Tensor): bool, shape (H, W).

    Returns:
        float: 0 or 1; where the largest value is reached at several pixels,
        the share of them in the region. 0 for a map of zeros.

    >>> heatmap = torch.tensor([[0.2, 1.0, 1.0]])
    >>> pointing_game(heatmap, heatmap[0] < 1)
    0.0
    >>> pointing_game(heatmap, torch.tensor([[False, False, True]]))
    0.5
    """
    largest = heatmap.amax()
    if not largest > 0:
        return 0.
    at = heatmap == largest
    return float((at & region).sum() / at.sum())


def energy_share(heatmap: Tensor, region: Tensor) -> float:
    """Compute the share of a map's sum that lies in a region, in [0, 1]; 0 for
    a map of zeros. Arguments as of :func:`pointing_game`."""
    total = heatmap.sum(dtype=torch.double)
    if not total > 0:
        return 0.
    return float(heatmap[region].sum(dtype=torch.double) / total)


def discrimination_index(heatmap: Tensor, others: Tensor,
                         every: Tensor) -> float:
    """Compute the ODI (object discrimination index, Zhao & Chan, "ODAM", ICLR
    2023): of the energy inside all objects, the share inside the others.
    Lower is better.

    Args:
        heatmap (Tensor): Not negative, shape (H, W).
        others (Tensor): The union of the other objects, bool (H, W).
        every (Tensor): The union of all objects, bool (H, W).

    Returns:
        float: In [0, 1]; NaN for a map that is zero in all objects.
    """
    total = heatmap[every].sum(dtype=torch.double)
    if not total > 0:
        return float('nan')
    return float(heatmap[others].sum(dtype=torch.double) / total)


def box_regions(bboxes: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels whose centres lie in boxes.

    Args:
        bboxes (Tensor): Shape (M, 4), last dim (x1, y1, x2, y2), in pixels.
        height, width (int): Of the image.

    Returns:
        Tensor: bool, shape (M, H, W).

    >>> box_regions(torch.tensor([[0., 0., 1.4, 1.]]), 1, 3)
    tensor([[[ True, False, False]]])
    """
    x = torch.arange(width, device=bboxes.device) + .5
    y = torch.arange(height, device=bboxes.device) + .5
    left, top, right, bottom = bboxes[..., None].unbind(dim=1)
    columns = (left <= x) & (x < right)
    rows = (top <= y) & (y < bottom)
    return rows[:, :, None] & columns[:, None]


def localization(heatmap: Tensor, own: int, boxes: Tensor,
                 masks: Tensor) -> dict[str, float]:
    """Measure all of ``LOCALIZATION`` for one map.

    Args:
        heatmap (Tensor): In the original image, not negative, shape (H, W).
        own (int): Which object is the map's.
        boxes (Tensor): The regions of all objects' boxes, bool (M, H, W).
        masks (Tensor): Their masks, bool (M, H, W).

    Returns:
        dict: ``energy_inside``: the share of the energy in the own mask.
        ``leakage``: the share in other objects' masks and not in the own one.
        See the functions of this module for the rest.
    """
    rest = torch.arange(len(masks), device=masks.device) != own
    other_masks = masks[rest].any(dim=0)
    return dict(
        pointing_game_box=pointing_game(heatmap, boxes[own]),
        pointing_game_mask=pointing_game(heatmap, masks[own]),
        energy_inside=energy_share(heatmap, masks[own]),
        leakage=energy_share(heatmap, other_masks & ~masks[own]),
        odi_box=discrimination_index(heatmap, boxes[rest].any(dim=0),
                                     boxes.any(dim=0)),
        odi_mask=discrimination_index(heatmap, other_masks,
                                      masks.any(dim=0)))

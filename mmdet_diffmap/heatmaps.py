# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What heat maps of every method have in common."""
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .image_frame import ImageFrame

LevelMaps = Mapping[int, Tensor]  # feature level -> map (h, w) on its grid


def min_max_normalize(maps: Tensor) -> Tensor:
    """Scale each map to [0, 1]; a flat map becomes zeros.

    Args:
        maps (Tensor): Shape (..., H, W).

    Returns:
        Tensor: The same shape.
    """
    if maps.numel() == 0:
        return maps.clone()
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    return (maps - low) / span.where(span > 0, torch.ones_like(span))


def normalize_levels(levels: LevelMaps) -> dict[int, Tensor]:
    """Scale the maps of one output to [0, 1] by their joint smallest and
    largest value; flat ones become zeros."""
    if not levels:
        return {}
    flat = torch.cat([level_map.flatten() for level_map in levels.values()])
    normalized = min_max_normalize(flat[None]).flatten()
    sizes = [level_map.numel() for level_map in levels.values()]
    return {
        level: values.view_as(levels[level])
        for level, values in zip(levels, normalized.split(sizes))
    }


def image_heatmaps(detections: Sequence[LevelMaps], frame: ImageFrame,
                   like: Tensor) -> Tensor:
    """Heat maps at the original image's size.

    A detection's levels are joined by the elementwise maximum, as the paper
    joins outputs (Eq. 3); the joint map is min-max normalised.

    Args:
        detections (Sequence): For each of N detections, its map, not
            negative, on every feature level that it depends on.
        frame (ImageFrame): The frame of the image.
        like (Tensor): Gives the device and type of the result.

    Returns:
        Tensor: Shape (N, H, W), in [0, 1].

    Raises:
        FloatingPointError: If a map is not finite.
    """
    heatmaps = like.new_zeros((len(detections), *frame.image_shape))
    for index, (heatmap, levels) in enumerate(zip(heatmaps, detections)):
        for level_map in levels.values():  # one at a time: they are large
            torch.maximum(heatmap, frame.to_image(level_map), out=heatmap)
        if not heatmap.isfinite().all():
            raise FloatingPointError(
                f'the heat map of detection {index} is not finite: the '
                'detector\'s features or gradients overflow')
        heatmap.copy_(min_max_normalize(heatmap))
    return heatmaps

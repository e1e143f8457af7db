# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The difference map ("Explaining Object Detection Through Difference Map",
Sec. 3.1, Eq. 4)."""
import torch
from torch import Tensor

from .heatmaps import min_max_normalize


def difference_map(heatmaps: Tensor, positive: bool = False) -> Tensor:
    """Compute what matters to each object and not to the others (Eq. 4).

    ``heatmaps[i] - max(heatmaps[n] for n != i)``; with no other
    object, the heat map itself. The maximum over the others needs only the
    two largest values of each pixel, so the cost grows with N, not with N².

    Args:
        heatmaps (Tensor): Heat maps of all objects of an image, floating
            point, shape (N, H, W), in [0, 1].
        positive (bool): Keep only the positive part, min-max normalised.

    Returns:
        Tensor: Shape (N, H, W); signed, in [-1, 1], or, with ``positive``, in
        [0, 1].

    Raises:
        ValueError: If ``heatmaps`` is no floating-point (N, H, W) tensor.

    Example:
        >>> heatmaps = torch.tensor([[[1.0, 0.5, 0.0]], [[0.0, 0.5, 1.0]]])
        >>> difference_map(heatmaps)
        tensor([[[ 1.,  0., -1.]],
                [[-1.,  0.,  1.]]])
    """
    if heatmaps.dim() != 3 or not heatmaps.is_floating_point():
        raise ValueError('heatmaps must be floating point of shape (N, H, W), '
                         f'not {heatmaps.dtype} of {tuple(heatmaps.shape)}')
    heatmaps = heatmaps.detach()
    differences = heatmaps.clone()
    if len(heatmaps) > 1:
        first, second = two_largest(heatmaps)
        for difference, heatmap in zip(differences, heatmaps):
            difference -= torch.where(heatmap == first, second, first)
    if positive:
        for difference in differences:  # one at a time: they are large
            difference.copy_(positive_part(difference))
    return differences


def positive_part(differences: Tensor) -> Tensor:
    """Return the difference map without its negative values.

    Args:
        differences (Tensor): Signed difference maps, shape (..., H, W).

    Returns:
        Tensor: ``ReLU(differences)``, each map min-max normalised to [0, 1].
    """
    return min_max_normalize(differences.relu())


def two_largest(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the second largest value of each pixel, each (H,
    W).

    Where the largest is reached twice, both are equal, so that the maximum
    over the others of a map that reaches it is the second in any case.
    """
    first, second = heatmaps[0], torch.full_like(heatmaps[0], -torch.inf)
    for heatmap in heatmaps[1:]:
        second = torch.maximum(second, torch.minimum(first, heatmap))
        first = torch.maximum(first, heatmap)
    return first, second

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The difference map ("Explaining Object Detection Through Difference Map",
Sec. 3.1, Eq. 4)."""
from collections.abc import Sequence

import torch
from torch import Tensor

from .heatmaps import min_max_normalize

#: Bytes of maps that are compared at one time.
MEMORY_BUDGET = 2**27
#: Maps in [0, 1] that differ less are the same.
ROUNDING = 1e-6


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
        for some, part in zip(parts(differences), parts(heatmaps)):
            some -= torch.where(part == first, second, first)
    if positive:
        for some in parts(differences):
            some.copy_(positive_part(some))
    return differences


def positive_part(differences: Tensor) -> Tensor:
    """Return the difference map without its negative values.

    Args:
        differences (Tensor): Signed difference maps, shape (..., H, W).

    Returns:
        Tensor: ``ReLU(differences)``, each map min-max normalised to [0, 1];
        zeros where maps differ by rounding alone.

    Example:
        >>> positive_part(torch.tensor([[[0.2, -1.0]], [[1e-7, 0.0]]]))
        tensor([[[1., 0.]],
                [[0., 0.]]])
    """
    positive = differences.relu()
    if positive.numel():
        peaks = positive.amax(dim=(-2, -1), keepdim=True)
        positive = torch.where(peaks > ROUNDING, positive, 0)
    return min_max_normalize(positive)


def two_largest(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the second largest value of each pixel, each (H,
    W).

    Where the largest is reached twice, both are equal, so that the maximum
    over the others of a map that reaches it is the second in any case.
    """
    first = heatmaps[0]
    second = torch.full_like(first, -torch.inf)
    for some in parts(heatmaps[1:]):
        # half of the maps meet the other half, until one is left
        larger, smaller = some, torch.full_like(some, -torch.inf)
        while len(larger) > 1:
            half = len(larger) // 2
            rest = slice(2 * half, None)
            pair = larger[:half], larger[half:2 * half]
            smaller = torch.cat([
                torch.maximum(
                    torch.minimum(*pair),
                    torch.maximum(smaller[:half], smaller[half:2 * half])),
                smaller[rest]
            ])
            larger = torch.cat([torch.maximum(*pair), larger[rest]])
        second = torch.maximum(
            torch.maximum(second, smaller[0]),
            torch.minimum(first, larger[0]))
        first = torch.maximum(first, larger[0])
    return first, second


def parts(maps: Tensor) -> Sequence[Tensor]:
    """Divide maps (N, H, W) so that work on a part keeps to
    ``MEMORY_BUDGET``."""
    pixels = maps[:1].numel() * maps.element_size()
    return maps.split(max(1, MEMORY_BUDGET // max(pixels, 1)))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What keeps two objects apart."""
import torch
from torch import Tensor

from .heatmaps import min_max_normalize


def separation_map(first: Tensor, second: Tensor) -> Tensor:
    """Compute what two objects have in common: the smaller of both heat maps.

    Two objects that touch are two for what both rest on, the border between
    them. The difference map shows the opposite, what each has for itself.
    docs/contrasts.md compares this with other formulations.

    Args:
        first, second (Tensor): Heat maps, floating point, shape (..., H, W),
            in [0, 1].

    Returns:
        Tensor: The same shape, min-max normalised to [0, 1].

    Raises:
        ValueError: If the shapes are not the same.

    >>> separation_map(torch.tensor([[1., .5, 0.]]),
    ...                torch.tensor([[0., .5, 1.]]))
    tensor([[0., 1., 0.]])
    """
    if first.shape != second.shape:
        raise ValueError('heat maps must be of one image, not of '
                         f'{tuple(first.shape)} and {tuple(second.shape)}')
    return min_max_normalize(torch.minimum(first, second))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deletion and Insertion: the pixels that matter most are replaced step by
step (paper, Sec. 4.3). Pure functions of tensors; they know no detector."""
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def step_counts(area: float, steps: int, pixels: int) -> list[int]:
    """Compute how many pixels are replaced after each step.

    >>> step_counts(area=99, steps=4, pixels=60)
    [0, 25, 50, 60, 60]

    Args:
        area (float): Pixels of the object's box, which are replaced in all.
        steps (int): In so many equal steps, each rounded to whole pixels, of
            which there is at least one.
        pixels (int): Of the image; there are no more to replace.

    Returns:
        list[int]: ``steps + 1`` numbers, the first of them 0.
    """
    step = max(1, round(area / steps))
    return [min(step * i, pixels) for i in range(steps + 1)]


def rank_pixels(importance: Tensor, count: int) -> Tensor:
    """Find the most important pixels, in descending order.

    Pixels of equal importance follow each other as a text is read, on every
    device. Only what is asked for is sorted.

    Args:
        importance (Tensor): Shape (H, W).
        count (int): How many, at most H * W.

    Returns:
        Tensor: int64, shape (count, ), indices into the flattened map.

    Raises:
        FloatingPointError: If a value is NaN, which has no rank.

    >>> rank_pixels(torch.tensor([[1., 3.], [2., 3.]]), 3)
    tensor([1, 3, 2])
    """
    values = importance.flatten()
    if values.isnan().any():
        raise FloatingPointError('the map holds NaN, which has no rank')
    if not count:
        return values.new_zeros(0, dtype=torch.long)
    least = values.topk(count, sorted=False).values.min()
    above = (values > least).nonzero()[:, 0]
    order = values[above].sort(descending=True, stable=True).indices
    equal = (values == least).nonzero()[:count - len(above), 0]
    return torch.cat([above[order], equal])


def perturb(start: Tensor, end: Tensor, order: Tensor,
            counts: Sequence[int]) -> Iterator[Tensor]:
    """Replace pixels of one image by those of another, step by step.

    Deletion starts from the image and ends in noise; Insertion starts from
    black and ends in the image.

    Args:
        start (Tensor): Shape (C, H, W).
        end (Tensor): The same shape.
        order (Tensor): Indices into the flattened H * W pixels, those that
            are replaced first coming first.
        counts (Sequence[int]): How many are replaced before the first step
            and after each; see :func:`step_counts`.

    Yields:
        Tensor: The image after each step, shape (C, H, W): one tensor, which
        the next step changes.
    """
    current = start.clone(memory_format=torch.contiguous_format)
    pixels, replacement = current.flatten(1), end.flatten(1)
    for first, last in pairwise(counts):
        chosen = order[first:last]
        pixels[:, chosen] = replacement[:, chosen]
        yield current


def area_under_curve(curve: Sequence[float]) -> float:
    """Compute the area under a curve whose points are evenly spaced over [0,
    1], by the trapezoid rule.

    >>> area_under_curve([1., 0.5, 0.])
    0.5
    """
    inner = sum(curve) - (curve[0] + curve[-1]) / 2
    return inner / (len(curve) - 1)

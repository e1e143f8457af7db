# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether a part of a network, run again, gives what it gave before."""
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-4  # of the largest value
TEN_BITS = 1e-2  # the same where convolutions may round to ten bits


Pairs = Sequence[tuple[Tensor, Tensor]]


def agree(raw: Pairs, features: Pairs = ()) -> bool:
    """Whether all pairs of tensors (n, C) are equal but for rounding.

    Args:
        raw (Sequence[tuple]): Raw maps again, and before. They are logits and
            distances, for which 1 is not much: that is what their rows are
            compared with, or with their largest value.
        features (Sequence[tuple]): Features again, and before. They may be of
            any size, and are compared with their largest value.

    >>> agree([(torch.tensor([[1.00001]]), torch.tensor([[1.]]))])
    True
    >>> agree([], [(torch.tensor([[3e-6]]), torch.tensor([[2e-6]]))])
    False
    """
    raw, features = (
        [(again.detach(), before.detach()) for again, before in pairs
         if before.numel()] for pairs in (raw, features))
    if not raw and not features:
        return True
    again, before = (torch.cat([each.reshape(-1) for each in tensors])
                     for tensors in zip(*raw, *features))
    shapes = [each.shape for _, each in (*raw, *features)]
    sizes = [part.view(shape) for part, shape in zip(
        before.nan_to_num(0, 0, 0).abs().split(
            [shape.numel() for shape in shapes]), shapes)]
    largest = [
        *(1 + part.amax(dim=1, keepdim=True) for part in sizes[:len(raw)]),
        *(part.amax() for part in sizes[len(raw):])
    ]
    scale = torch.cat([each.expand(shape).reshape(-1)
                       for each, shape in zip(largest, shapes)])
    close = (again - before).abs() <= tolerance(before) * scale
    same = torch.isclose(again, before, 0, 0, equal_nan=True)
    return bool((close | same).all())


def tolerance(raw: Tensor) -> float:
    """Return what rounding may amount to, as a share of a value."""
    coarse = raw.is_cuda and tf32_is_allowed()
    return max(TEN_BITS if coarse else TOLERANCE,
               16 * torch.finfo(raw.dtype).eps)


def tf32_is_allowed() -> bool:
    """Whether a GPU may round the factors of convolutions and matrix products
    to ten bits."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, 'conv'):  # the older flags may raise where it exists
        return 'tf32' in (cudnn.conv.fp32_precision, matmul.fp32_precision)
    return cudnn.allow_tf32 or matmul.allow_tf32

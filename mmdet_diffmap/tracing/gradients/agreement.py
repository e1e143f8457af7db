# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether a part of a network, run again, gives what it gave before."""
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-4  # of the largest value
TEN_BITS = 1e-2  # the same where convolutions may round to ten bits


def agree(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether the rows of all pairs of tensors (n, C) are equal but for
    rounding.

    >>> agree([(torch.tensor([[1.00001]]), torch.tensor([[1.]]))])
    True
    """
    differences, scales, same = [], [], []
    for again, before in pairs:
        again, before = again.detach(), before.detach()
        # raw maps are logits and distances, for which 1 is not much
        scale = before.nan_to_num(0, 0, 0).abs().amax(dim=1, keepdim=True) + 1
        differences.append((again - before).flatten())
        scales.append((tolerance(before) * scale).expand_as(before).flatten())
        same.append(torch.isclose(again, before, 0, 0, equal_nan=True
                                  ).flatten())
    if not pairs:
        return True
    close = torch.cat(differences).abs() <= torch.cat(scales)
    return bool((close | torch.cat(same)).all())


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

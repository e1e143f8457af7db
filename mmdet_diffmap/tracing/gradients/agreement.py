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
    if not pairs:
        return True
    again = torch.cat([each.detach().reshape(-1) for each, _ in pairs])
    before = torch.cat([each.detach().reshape(-1) for _, each in pairs])
    values = before.nan_to_num(0, 0, 0).abs()
    largest = [
        part.view(each.shape).amax(dim=1) for part, (_, each) in zip(
            values.split([each.numel() for _, each in pairs]), pairs)
    ]
    widths = torch.tensor([each.shape[1] for _, each in pairs
                           for _ in range(len(each))], device=values.device)
    # raw maps are logits and distances, for which 1 is not much
    scale = 1 + torch.cat(largest).repeat_interleave(
        widths, output_size=len(values))
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

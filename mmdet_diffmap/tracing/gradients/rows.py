# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Cotangents that are zero in most of their rows: one output of one detection
depends on one query of many, until queries are mixed."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from ..swapping import swapped

#: Up to which share of all rows those that are not zero are few.
FEW = 0.25
#: About how many rows, and how many of their columns, are looked at first: if
#: most of these rows are not zero, the others need not be looked at.
SAMPLE = 32, 8

in_batch = False  # see batches()


@contextmanager
def batches() -> Iterator[None]:
    """Look at no cotangent in this context: those of a batch
    (``torch.vmap``) have no values of their own."""
    with swapped(sys.modules[__name__], 'in_batch', True):
        yield


def few_rows(cotangent: Tensor) -> Tensor | None:
    """Return which rows of a cotangent are not zero, if they are few.

    Args:
        cotangent (Tensor): Shape (rows, C).

    Returns:
        Tensor: Their numbers, int64; None if they are many, or nobody may
        look: in a batch, or on a device that would have to be waited for.

    >>> import torch
    >>> few_rows(torch.eye(5))
    >>> few_rows(torch.arange(8.)[:, None].eq(3).float())
    tensor([3])
    """
    if in_batch or cotangent.device.type != 'cpu':
        return None
    count = len(cotangent)
    rows, columns = SAMPLE
    sample = cotangent[::-(-count // rows) or 1, :columns].any(dim=1)
    if 2 * int(sample.count_nonzero()) > len(sample):
        return None
    numbers = cotangent.any(dim=1).nonzero()[:, 0]
    return numbers if len(numbers) <= FEW * count else None

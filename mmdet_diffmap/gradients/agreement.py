# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether a part of a network, run again, gives what it gave before."""
from collections.abc import Sequence

import torch
from torch import Tensor

# of the largest value; convolutions on GPUs may round to ten bits
TOLERANCE = {'cpu': 1e-4, 'cuda': 1e-2}


def agree(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether the rows of all pairs of tensors (n, C) are equal but for
    rounding."""
    good = []
    for again, before in pairs:
        again, before = again.detach(), before.detach()
        tolerance = TOLERANCE.get(before.device.type, TOLERANCE['cuda'])
        # raw maps are logits and distances, for which 1 is not much
        scale = before.abs().amax(dim=1, keepdim=True) + 1
        good.append(((again - before).abs() <= tolerance * scale).all())
    return bool(torch.stack(good).all())

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How many operations some work starts: what a GPU's time depends on where
tensors are small."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from ...tracing.gradients.rows import batches

#: Operations that start nothing on a device, beside those marked as views.
FREE = {'aten::_unsafe_view', 'aten::detach', 'aten::lift_fresh'}
#: Operations whose results the processor needs before it can go on: it waits
#: for the device.
WAITS = {
    'aten::_local_scalar_dense', 'aten::nonzero', 'aten::equal',
    'aten::is_nonzero', 'aten::masked_select', 'aten::_unique2',
    'aten::unique_dim', 'torchvision::nms'
}


@dataclass(frozen=True)
class Operations:
    """What was counted.

    Args:
        total (int): Operations, those that only view a tensor in another way
            not counted; copies to the device and waits for it are.
        waits (int): Those for which the processor waits.
    """
    total: int
    waits: int

    def __sub__(self, other: Operations) -> Operations:
        """Return what this is more than another."""
        return Operations(self.total - other.total, self.waits - other.waits)


class OperationCounter(TorchDispatchMode):
    """Counts the operations that are started in its context, by name.

    Example:
        >>> import torch
        >>> with OperationCounter() as counter:
        ...     _ = (torch.ones(2, 3).T + 1).sum().item()
        >>> counter.operations()  # ones, add, sum, item; the transpose is free
        Operations(total=4, waits=1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        if not func.is_view and func._schema.name not in FREE:
            self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    def operations(self) -> Operations:
        """Return the numbers so far."""
        return Operations(
            sum(self.counts.values()),
            sum(count for name, count in self.counts.items()
                if name in WAITS))


def count_operations(work: Callable, *args: Any) -> Operations:
    """Count the operations of some work."""
    # as on a GPU, where nobody looks at cotangents
    with batches(), OperationCounter() as counter:
        work(*args)
    return counter.operations()

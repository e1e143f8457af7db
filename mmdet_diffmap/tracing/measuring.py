# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How long something takes on a device, and how much memory."""
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from .nested import all_tensors


@dataclass
class Peak:
    """The largest amount of memory in use at one time, beyond what was in use
    before."""
    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the memory of the tensors that are made in the context.

    On the GPU the allocator knows; elsewhere the storages of all new tensors
    are followed.
    """
    peak = Peak()
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
    else:
        with StorageCounter(peak):
            yield peak


def clock(device: torch.device) -> float:
    """Return the time in seconds, after all work on the device is done."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


class StorageCounter(TorchDispatchMode):
    """Follows the storages of all tensors that operations return."""

    def __init__(self, peak: Peak) -> None:
        super().__init__()
        self.peak = peak
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self,
                           func: Any,
                           types: Any,
                           args: Any = (),
                           kwargs: Any = None) -> Any:
        given = {
            tensor.untyped_storage()._cdata
            for tensor in all_tensors((args, kwargs))
        }
        result = func(*args, **(kwargs or {}))
        self.alive = {
            key: (reference, size)
            for key, (reference, size) in self.alive.items()
            if not reference.expired()
        }
        for tensor in all_tensors(result):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in given and key not in self.alive:
                self.alive[key] = StorageWeakRef(storage), storage.nbytes()
        in_use = sum(size for _, size in self.alive.values())
        self.peak.bytes = max(self.peak.bytes, in_use)
        return result

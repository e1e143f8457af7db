# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Vector-Jacobian products, one after the other or batched."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..measuring import clock, peak_memory
from ..trace import recording

Gradients = list[Tensor | None]

MEMORY_BUDGET = 2**30  # bytes that the products of one batch may take
TRIAL = 4  # products that are timed both ways
WORTH_A_TRIAL = 4 * TRIAL


@dataclass
class Measured:
    """What was found about the products of a head on a device.

    Args:
        batched (bool): Whether a batch is faster than a loop.
        memory (int): Bytes that one product takes while it is computed.
    """
    batched: bool
    memory: int


known: WeakKeyDictionary[nn.Module, dict[torch.device, Measured]]
known = WeakKeyDictionary()


@dataclass(frozen=True)
class Products:
    """Products of cotangents with the Jacobian of a head.

    Batched products (``is_grads_batched``) fill a large device better, and
    are slower than a loop on most CPUs. So the first that are asked for are
    computed both ways, once for each head and device, and the faster way is
    taken from then on, in batches that keep to ``MEMORY_BUDGET``.

    Args:
        head (nn.Module): By which the measurement is remembered.
        raw (list[Tensor]): What is differentiated, with a graph to
            ``features``.
        features (list[Tensor]): By what it is differentiated, leaves.
    """
    head: nn.Module
    raw: list[Tensor]
    features: list[Tensor]

    def __call__(self, cotangents: Iterator[list[Tensor]],
                 count: int) -> Iterator[Gradients]:
        """The products of ``count`` cotangents, each a list of tensors like
        ``raw``.

        Yields:
            list[Tensor | None]: One tensor for each feature map, None where
            there is no path, in the order of the cotangents.
        """
        measured = known.setdefault(self.head, {}).get(self.raw[0].device) \
            if self.raw else None
        if measured is None and count >= WORTH_A_TRIAL:
            trial = list(islice(cotangents, TRIAL))
            measured, products = self._measure(trial)
            known[self.head][self.raw[0].device] = measured
            yield from products
        size = 1
        if measured is not None and measured.batched:
            size = max(1, MEMORY_BUDGET // max(measured.memory, 1))
        while batch := list(islice(cotangents, size)):
            yield from self.batched(batch) if len(batch) > 1 else \
                map(self.single, batch)

    def single(self, cotangent: list[Tensor]) -> Gradients:
        """One product."""
        if not self.raw:
            return [None] * len(self.features)
        with recording():
            return list(
                torch.autograd.grad(
                    self.raw,
                    self.features,
                    cotangent,
                    retain_graph=True,
                    allow_unused=True))

    def batched(self, cotangents: list[list[Tensor]]) -> list[Gradients]:
        """Several products at once.

        Raises:
            RuntimeError: If an operation of the head cannot be batched.
        """
        with recording():
            stacked = torch.autograd.grad(
                self.raw,
                self.features,
                [torch.stack(each) for each in zip(*cotangents)],
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=True)
        return [[None if each is None else each[number] for each in stacked]
                for number in range(len(cotangents))]

    def _measure(
            self,
            trial: list[list[Tensor]]) -> tuple[Measured, list[Gradients]]:
        """Compute some products both ways."""
        device = self.raw[0].device
        with peak_memory(device) as memory:
            products = [self.single(trial[0])]
        started = clock(device)
        products += map(self.single, trial[1:])
        looped = (clock(device) - started) / (len(trial) - 1)
        try:
            self.batched(trial[:2])  # the first call sets things up
            started = clock(device)
            self.batched(trial)
        except RuntimeError:  # some operation knows no batches
            return Measured(False, memory.bytes), products
        together = (clock(device) - started) / len(trial)
        return Measured(together < looped, memory.bytes), products

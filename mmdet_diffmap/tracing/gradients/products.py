# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Vector-Jacobian products, one after the other or batched."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..measuring import clock, peak_memory
from ..recording import recording
from .rows import batches

#: Of k products: for each feature map a tensor (k, C, H, W), or None.
Gradients = list[Tensor | None]

MEMORY_BUDGET = 2**28  # bytes that the products of one batch may take
TRIAL = 2  # products that are timed both ways
WORTH_A_TRIAL = 16  # products
CLEARLY_FASTER = 0.8  # time of a batch, as a share of the loop's


@dataclass
class Measured:
    """What a trial has told about the products of a head on a device.

    Args:
        batched (bool): Whether a batch is clearly faster than a loop.
        memory (float): Bytes that one product takes while it is computed, for
            each value in the feature maps.
    """
    batched: bool
    memory: float


#: By head and device.
measurements: WeakKeyDictionary[nn.Module, dict[torch.device, Measured]]
measurements = WeakKeyDictionary()


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
        """Compute the products of ``count`` cotangents, each a list of
        tensors like ``raw``.

        Yields:
            list[Tensor | None]: Of one or several products, in the order of
            the cotangents: a tensor (k, C, H, W) for each feature map, None
            where there is no path.
        """
        measured = measurements.setdefault(self.head,
                                           {}).get(self.raw[0].device)
        if measured is None and count >= WORTH_A_TRIAL:
            trial = list(islice(cotangents, TRIAL))
            measured, products = self._measure(trial)
            measurements[self.head][self.raw[0].device] = measured
            yield from products
        size = 1
        if measured is not None and measured.batched:
            memory = measured.memory * self._values
            size = max(1, int(MEMORY_BUDGET // max(memory, 1)))
        while batch := list(islice(cotangents, size)):
            yield from self._products(batch)

    @property
    def _values(self) -> int:
        return sum(feature.numel() for feature in self.features)

    def _products(self, cotangents: list[list[Tensor]]) -> Iterator[Gradients]:
        """Compute the products of a batch, one by one if it cannot be a
        batch."""
        if len(cotangents) > 1:
            try:
                yield self.batched(cotangents)
                return
            except RuntimeError:  # an operation that others do not need
                measurements[self.head][self.raw[0].device] = Measured(
                    False, 0)
        yield from map(self.single, cotangents)

    def single(self, cotangent: list[Tensor]) -> Gradients:
        """Compute one product."""
        with recording():
            return list(
                torch.autograd.grad(
                    self.raw,
                    self.features,
                    cotangent,
                    retain_graph=True,
                    allow_unused=True))

    def batched(self, cotangents: list[list[Tensor]]) -> Gradients:
        """Compute several products at once.

        Raises:
            RuntimeError: If an operation of the head cannot be batched.
        """
        stacked = batched_products(
            self.raw, self.features,
            [torch.stack(each) for each in zip(*cotangents)])
        return [None if each is None else each.flatten(0, 1)
                for each in stacked]

    def _measure(
            self,
            trial: list[list[Tensor]]) -> tuple[Measured, list[Gradients]]:
        """Compute some products both ways."""
        device = self.raw[0].device
        with peak_memory(device) as memory:
            products = [self.single(trial[0])]
        bytes_per_value = memory.bytes / self._values
        if memory.bytes * len(trial) > MEMORY_BUDGET:
            products += map(self.single, trial[1:])
            return Measured(False, bytes_per_value), products
        started = clock(device)
        products += map(self.single, trial[1:])
        looped = (clock(device) - started) / (len(trial) - 1)
        try:
            self.batched(trial)  # the first call sets things up
            started = clock(device)
            self.batched(trial)
        except RuntimeError:  # some operation knows no batches
            return Measured(False, bytes_per_value), products
        together = (clock(device) - started) / len(trial)
        return Measured(together < CLEARLY_FASTER * looped,
                        bytes_per_value), products


def batch_size(gradients: Gradients) -> int:
    """Return the number of products."""
    return next((len(each) for each in gradients if each is not None), 1)


def vector_products(outputs: Sequence[Tensor], inputs: Sequence[Tensor],
                    cotangents: Sequence[Tensor]) -> list[Tensor | None]:
    """Compute several products of cotangents with a Jacobian in one backward
    pass, or one by one where an operation cannot be batched.

    Args:
        outputs (Sequence[Tensor]): What is differentiated.
        inputs (Sequence[Tensor]): By what.
        cotangents (Sequence[Tensor]): For each output, those of k products,
            shape (k, ...).

    Returns:
        list[Tensor | None]: For each input the products, shape (k, ...); None
        where there is no path.
    """

    count = len(cotangents[0])
    if count > 1:
        try:
            return batched_products(outputs, inputs, cotangents)
        except RuntimeError:  # an operation that knows no batches
            pass
    with recording():
        each = [
            torch.autograd.grad(
                outputs,
                inputs, [cotangent[number] for cotangent in cotangents],
                retain_graph=True,
                allow_unused=True) for number in range(count)
        ]
    return [None if of_input[0] is None else torch.stack(of_input)
            for of_input in zip(*each)]


def batched_products(outputs: Sequence[Tensor], inputs: Sequence[Tensor],
                     cotangents: Sequence[Tensor]) -> list[Tensor | None]:
    """Compute several products in one backward pass; see
    :func:`vector_products`.

    Raises:
        RuntimeError: If an operation cannot be batched.
    """
    reached: list[int] = []

    def product(*cotangent: Tensor) -> list[Tensor]:
        gradients = torch.autograd.grad(
            outputs, inputs, cotangent, retain_graph=True, allow_unused=True)
        reached[:] = [number for number, gradient in enumerate(gradients)
                      if gradient is not None]
        return [gradients[number] for number in reached]

    with recording(), batches():
        # is_grads_batched runs convolutions one by one, this does not
        stacked = torch.vmap(product)(*cotangents)
    of_inputs = dict(zip(reached, stacked))
    return [of_inputs.get(number) for number in range(len(inputs))]

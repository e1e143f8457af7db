# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Gradients of convolutional heads whose GroupNorm layers couple each
level."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ..level_gradients import (
    Basis,
    LevelGradients,
    LevelWindows,
    SummedGradients,
)
from ..trace import OutputGradients, Tolerance, column_name
from .dense import DenseGradients, again
from .group_norm import Call
from .jacobian import SparseJacobian, alike
from .products import vector_products
from .window import WindowGradients, WindowRun

#: Bytes that gradients of whole levels may take at one time, and the fields
#: that are followed through a head at once.
MEMORY_BUDGET = 2**28
FIELDS_BUDGET = 2**25
#: What is below zero is not shown, but counts with this share: a map that is
#: all but zero needs no tolerance of its own.
SMALLEST_PEAK = 0.1
#: How much larger than estimated the norm of a gradient may be where none was
#: followed.
BOUND = 2


@dataclass(frozen=True)
class Coupling:
    """How a GroupNorm layer couples what depends on a level.

    With the gradient ``g`` of what the layer gives, of which each group has
    ``M`` values, its gradient goes on as ``r (γ g - a / M - x̂ b / M)``, with
    the group's ``a = Σ γ g`` and ``b = Σ γ g x̂``, the normalised ``x̂`` and
    ``r`` one by the standard deviation (Wu & He, Group Normalization, ECCV
    2018). The first part is local. The others are fields on the whole level,
    of which each output needs but two numbers for each group.

    Args:
        call (Call): The call of the layer with the whole level.
        numbers (Tensor): ``a`` and ``b`` of k outputs of n detections, shape
            (k, n, 2, groups).
        norm (Tensor): Of all local gradients of what the layer gets.
    """
    call: Call
    numbers: Tensor
    norm: Tensor

    @classmethod
    def of(cls, call: Call, x: Tensor, gradients: Tensor) -> Coupling:
        """Sum up the gradients in windows.

        Args:
            call (Call): The call of the layer with the whole level.
            x (Tensor): What the layer got for the windows, (n, C, h, w).
            gradients (Tensor): Of what it gave, (k, n, C, h, w).
        """
        if call.layer.affine:
            gradients = gradients * call.layer.weight.detach()[:, None, None]
        normal = (x.detach() - call.mean) * call.rstd
        groups = call.layer.num_groups, -1
        numbers = torch.stack([
            each.sum(dim=(3, 4)).unflatten(2, groups).sum(dim=3)
            for each in (gradients, gradients * normal)
        ], dim=2)
        return cls(call, numbers, (gradients * call.rstd).norm())

    def scale(self, norm: Tensor) -> Tensor:
        """Return about how large the gradients become that the fields of unit
        numbers lead to, shape (2, groups): as much larger or smaller than the
        fields as local gradients, of which the norm is given, become on the
        same way."""
        each = self.call.layer.num_channels // self.call.layer.num_groups
        fields = self.call.rstd[0, ::each, 0, 0] / self._count**0.5
        gain = (norm / self.norm).nan_to_num(0, 0, 0)
        return (gain * fields).expand(2, -1)

    @property
    def _count(self) -> int:
        """The values ``M`` of a group."""
        return self.call.map.numel() // self.call.layer.num_groups

    @cached_property
    def _factors(self) -> Tensor:
        """What ``a`` and ``b`` count for in the constant and in the slope of
        a field, shape (3, C, 1, 1)."""
        constant = -self.call.rstd / self._count
        slope = constant * self.call.rstd
        return torch.cat([constant, slope, -slope * self.call.mean])

    def fields(self, numbers: Tensor) -> Tensor:
        """Return the fields (r, 1, C, H, W) of numbers (r, 2, groups)."""
        each = self.call.layer.num_channels // self.call.layer.num_groups
        a, b = numbers.repeat_interleave(each, dim=2)[..., None, None].unbind(
            dim=1)
        of_a, of_b, of_mean = self._factors
        constant = torch.addcmul(a * of_a, b, of_mean)
        return torch.addcmul(constant[:, None], self.call.map.detach(),
                             (b * of_b)[:, None])


@dataclass(frozen=True)
class CoupledGradients:
    """Gradients of convolutional heads with GroupNorm layers, exact to a
    tolerance.

    Windows give each output's local part, as if the layers' statistics were
    constants, and its couplings. The rest is the same linear function of the
    couplings for all outputs that come from one level on one way through the
    head. Few directions of them are followed through the whole head, and
    become the basis in which the outputs are written. A random one (as in the
    randomised range finder of Halko, Martinsson & Tropp, SIAM Review 2011) is
    a sample of what is left, and tells how large the map of a direction
    becomes: if those of what is left are below the tolerance, it is enough.
    If not, the strongest directions are followed, as many as that asks for,
    and the next sample is drawn.

    Without a tolerance, or where an output comes from several places, each
    output has a pass of its own.

    Args:
        windows (WindowGradients): The head on windows, whose statistics hold
            on to the maps of the recorded run.
        raw (list[Tensor]): The head's raw maps, with their graph.
    """
    windows: WindowGradients
    raw: list[Tensor]

    def __call__(
        self,
        outputs: Tensor,
        columns: Sequence[int],
        tolerance: Tolerance | None = None
    ) -> Iterator[OutputGradients]:
        windows = self.windows
        one_by_one = DenseGradients(windows.head, windows.inputs, self.raw,
                                    windows.cut)
        if tolerance is None:
            yield from one_by_one(outputs, columns)
            return
        jacobian = SparseJacobian.of(outputs, windows.cut, columns)
        levels, elsewhere = windows.places(jacobian, columns)
        for some in windows.chunks(levels):
            watched: list[tuple[Call, Tensor, Tensor]] = []
            run = WindowRun.of(windows, some, partial(watch, watched))
            parts: list[LocalPart] = []
            if run.agrees():
                parts += self.local_parts(run, watched, jacobian, columns)
            else:
                elsewhere += run.detections
            del run, watched  # whose graph is no longer needed
            yield from self.exact(parts, tolerance)
        if elsewhere:
            yield from again(one_by_one, outputs, columns, elsewhere)

    def exact(self, parts: Sequence[LocalPart],
              tolerance: Tolerance) -> Iterator[OutputGradients]:
        """Add what windows do not tell, from passes through the whole head.

        Args:
            parts (Sequence[LocalPart]): Of all levels and outputs.
            tolerance (Tolerance): By how much maps may be off.
        """
        peaks: dict[int, Tensor] = {}
        if tolerance.joint:
            for part in parts:
                level = part.gradients[0].windows.level
                own = part.peaks(tolerance).amax(dim=0)
                peaks[level] = own.maximum(peaks.get(level, own))
        for part in parts:
            level = part.gradients[0].windows.level
            shown = peaks[level] if tolerance.joint else \
                part.peaks(tolerance)
            exact = add_couplings(part, shown, self.windows.inputs[level],
                                  tolerance)
            for output, of_level in zip(part.outputs, exact):
                for some in of_level.split(MEMORY_BUDGET):
                    yield OutputGradients(output, [some])

    def local_parts(self, run: WindowRun,
                    watched: list[tuple[Call, Tensor, Tensor]],
                    jacobian: SparseJacobian,
                    columns: Sequence[int]) -> Iterator[LocalPart]:
        """Go back through a run of the head on windows.

        Args:
            run (WindowRun): The run.
            watched (list[tuple]): The recorded calls of GroupNorm layers,
                what they got in the run, and what they gave.
            jacobian (SparseJacobian): ``∂Y/∂R``.
            columns (Sequence[int]): The columns of the outputs.
        """
        lengths = run.lengths.values()  # not of levels without detections
        watched = [seen for seen in watched if len(seen[1]) in lengths]
        for some, stacked in alike(run.cotangents(jacobian, columns)):
            levels = run.levels_of(stacked)
            products = vector_products(
                [run.raw[number] for number in stacked],
                [*(run.leaves[level] for level in levels),
                 *(output for _, _, output in watched)],
                list(stacked.values()))
            of_calls = products[len(levels):]
            for level, gradients in zip(levels, products):
                assert gradients is not None
                count = len(run.where[level].windows)
                yield LocalPart(
                    [column_name(column) for column in some],
                    [LevelGradients(each, run.where[level])
                     for each in gradients],
                    [Coupling.of(call, x[:count], gradient[:, :count])
                     for (call, x, _), gradient in zip(watched, of_calls)
                     if gradient is not None
                     and len(x) == run.lengths[level]])


@dataclass(frozen=True)
class LocalPart:
    """What windows of a level tell about outputs that go the same way through
    the head.

    Args:
        outputs (list[str]): k outputs.
        gradients (list[LevelGradients]): Their local gradients, each of n
            detections.
        couplings (list[Coupling]): Of the layers on their way.
    """
    outputs: list[str]
    gradients: list[LevelGradients]
    couplings: list[Coupling]

    def peaks(self, tolerance: Tolerance) -> Tensor:
        """Return the peaks of the outputs' maps, shape (k, n)."""
        peaks = []
        for output, gradients in zip(self.outputs, self.gradients):
            maps = tolerance.measure(gradients, output).flatten(1)
            high, low = (each.amax(dim=1).relu() for each in (maps, -maps))
            peaks.append(high.maximum(SMALLEST_PEAK * low))
        return torch.stack(peaks)

    def scale(self) -> Tensor:
        """Return about how large the gradients become that unit numbers of
        all couplings lead to, shape (numbers, )."""
        norm = torch.stack([each.gradients.norm()
                            for each in self.gradients]).norm()
        return torch.cat([each.scale(norm).flatten()
                          for each in self.couplings])

    def numbers(self) -> Tensor:
        """Return the couplings of all outputs, shape (k * n, numbers)."""
        return torch.cat([each.numbers.flatten(2)
                          for each in self.couplings], dim=2).flatten(0, 1)


def watch(watched: list[tuple[Call, Tensor, Tensor]], call: Call, x: Tensor,
          output: Tensor) -> None:
    """Note what a layer gets, and what it gives."""
    watched.append((call, x, output))


def add_couplings(part: LocalPart, peaks: Tensor, level: Tensor,
                  tolerance: Tolerance) -> Sequence[LevelGradients]:
    """Add to local gradients what couplings add, up to a tolerance.

    Args:
        part (LocalPart): The local gradients, of k outputs.
        peaks (Tensor): The peaks of the maps in which they are shown, shape
            (k, n) or (n, ).
        level (Tensor): The level, (1, C, H, W), with a graph to the layers'
            maps.
        tolerance (Tolerance): By how much maps may be off.

    Returns:
        Sequence[LevelGradients]: Of the k outputs.
    """
    local, scale = part.gradients, part.scale()
    feature = local[0].feature
    peaks = peaks.expand(len(local), -1).flatten()
    rows = (part.numbers() * scale / peaks[:, None]).nan_to_num(0, 0, 0)
    left = Rows(rows.double().cpu())
    directions: list[Tensor] = []
    gradients: list[Tensor] = []

    def take(some: Tensor) -> float:
        """Follow directions (r, numbers), and return the largest peak that
        they lead to."""
        found = follow((some.to(scale) / scale).nan_to_num(0, 0, 0),
                       part.couplings, level)
        directions.append(some)
        gradients.append(found)
        whole = LevelWindows.whole_level(local[0].windows.level, feature,
                                         range(len(some)))
        maps = tolerance.measure(LevelGradients(found, whole),
                                 part.outputs[0])
        return float(maps.abs().max())

    def suffices(gain: float, rank: int = 0) -> bool:
        # a map is off at a pixel, and at the peak by which it is divided
        return 2 * gain * left.longest(rank) <= tolerance.share

    # the map of a gradient of norm 1 is no larger than a cell's features
    if suffices(BOUND * float(feature.norm(dim=0).max())):
        return local
    gain = take(left.sample())
    if suffices(gain):
        return local
    left = left.without(directions[-1])
    while left.rank:
        needed = next(rank for rank in range(left.rank + 1)
                      if suffices(gain, rank))
        if needed:
            gain = max(gain, take(left.directions[:needed]))
            left = left.without(directions[-1])
        if not left.rank:
            break
        certificate = take(left.sample())
        if suffices(certificate):
            break
        gain = max(gain, certificate)
        left = left.without(directions[-1])
    basis = Basis(gradients, feature)
    weights = (rows @ torch.cat(directions).to(rows).T) * peaks[:, None]
    return [SummedGradients(each, some, basis)
            for each, some in zip(local, weights.split(len(local[0].windows)))]


class Rows:
    """What is left of the outputs' couplings, each a row.

    Args:
        values (Tensor): Shape (rows, numbers), double.
        smallest (float): Singular values that are rounding.
    """

    def __init__(self, values: Tensor, smallest: float | None = None) -> None:
        self.values = values
        u, sizes, self.directions = torch.linalg.svd(values,
                                                     full_matrices=False)
        known = sizes.tolist()
        self.smallest = 1e-6 * max(known) if smallest is None else smallest
        self.rank = sum(size > self.smallest for size in known)
        self.sizes = sizes * (sizes > self.smallest)
        # the squared length of each row, in each direction and all after it
        tails = (u * self.sizes).square().flip(1).cumsum(dim=1).flip(1)
        self.lengths = tails.amax(dim=0).sqrt().tolist()

    def longest(self, rank: int = 0) -> float:
        """Return the length of the longest row without its parts in the first
        directions."""
        return self.lengths[rank] if rank < self.rank else 0.

    def sample(self) -> Tensor:
        """Return a random direction, shape (1, numbers): the sum of all rows
        with random weights, in which each direction has the length that it
        has in the rows."""
        random = torch.Generator().manual_seed(self.rank)
        signs = 2. * torch.randint(
            0, 2, self.sizes.shape, generator=random) - 1
        sample = (signs * self.sizes) @ self.directions / self.sizes.norm()
        return sample[None]

    def without(self, directions: Tensor) -> Rows:
        """Return the rows without their parts in orthogonal directions (r,
        numbers)."""
        return Rows(self.values - self.values @ directions.T @ directions,
                    self.smallest)


def follow(numbers: Tensor, couplings: Sequence[Coupling],
           level: Tensor) -> Tensor:
    """Follow the fields of couplings through the whole head.

    Args:
        numbers (Tensor): Of all groups of all layers, one after the other,
            shape (r, numbers).
        couplings (Sequence[Coupling]): Of all layers.
        level (Tensor): The level, (1, C, H, W).

    Returns:
        Tensor: The gradients in the level, (r, C, H, W).
    """
    parts = numbers.split([each.numbers[0, 0].numel() for each in couplings],
                          dim=1)
    size = max(1, FIELDS_BUDGET // (
        len(couplings) * level.numel() * level.element_size()))
    found = []
    for first in range(0, len(numbers), size):
        (gradients, ) = vector_products(
            [each.call.map for each in couplings], [level], [
                each.fields(part[first:first + size].unflatten(1, (2, -1)))
                for each, part in zip(couplings, parts)
            ])
        assert gradients is not None
        found.append(gradients.flatten(0, 1))
    return torch.cat(found)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How much of a level one location of a head's raw maps depends on."""
from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..nested import flat_tensors
from .group_norm import FrozenStatistics

LIMIT = 12  # cells; a larger window would save little


@dataclass(frozen=True)
class ReceptiveField:
    """A head that works on each level alone and sees a square of it.

    Args:
        radius (int): A location depends on the cells at most so far from it,
            along rows and columns.
        levels (list[int]): The level of each raw map, in the order in which
            the head gives them.
        shrinks (bool): Whether the head can run with unpadded convolutions:
            a square then shrinks layer by layer, and no cell is computed that
            its middle does not depend on.
        takes_none (bool): Whether the head takes a level of no squares at
            all.
    """
    radius: int
    levels: list[int]
    shrinks: bool
    takes_none: bool = True


Fields = dict[tuple, ReceptiveField | None]
#: What was measured, by head, then by ``frozen`` and the levels' channels.
measured: WeakKeyDictionary[nn.Module, Fields] = WeakKeyDictionary()


def receptive_field(head: nn.Module, inputs: Sequence[Tensor],
                    frozen: bool) -> ReceptiveField | None:
    """Return the receptive field of a head, measured once for each head.

    Args:
        head (nn.Module): Maps the levels to raw maps.
        inputs (Sequence[Tensor]): The levels, each (1, C, H, W).
        frozen (bool): Take the statistics of GroupNorm layers for constant.

    Returns:
        ReceptiveField | None: None if there is none: some raw map is no grid
        of its level, or a location depends on the whole level.
    """
    if not all(
            isinstance(level, Tensor) and level.dim() == 4 and len(level) == 1
            for level in inputs):
        return None
    fields = measured.setdefault(head, {})
    key = (frozen, *(level.shape[1] for level in inputs))
    if key not in fields:
        fields[key] = None if samples_anywhere(head) else \
            Probe(head, inputs, frozen).field()
    return fields[key]


def samples_anywhere(head: nn.Module) -> bool:
    """Whether a head has deformable layers, which NaN does not show: it makes
    them sample nothing."""
    return any('Deform' in type(module).__name__ for module in head.modules())


def forget(head: nn.Module) -> None:
    """Take back what was measured of a head: it has no receptive field."""
    fields = measured.setdefault(head, {})
    fields.update(dict.fromkeys(fields))


class Probe:
    """Finds a head's receptive field by seeing how far NaN spreads.

    NaN passes through every sum, whatever the weights. In double precision no
    convolution takes the way of Winograd, which spreads it over tiles. A copy
    of the head is probed, on the CPU. Whatever goes wrong there, the answer
    is that there is no receptive field.

    Args:
        head, inputs, frozen: See :func:`receptive_field`.
    """

    def __init__(self, head: nn.Module, inputs: Sequence[Tensor],
                 frozen: bool) -> None:
        self.original = head
        self.inputs = inputs
        self.frozen = frozen

    def field(self) -> ReceptiveField | None:
        """Measure what :func:`receptive_field` returns."""
        try:
            self.head = copy.deepcopy(self.original).cpu().double()
        except Exception:  # such as a part of some graph in it
            return None
        for module in self.head.modules():  # hooks see real maps only
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        side = 2 * LIMIT + 1
        raw = self.run(side, shrink=False)
        if not raw or any(raw_map.dim() != 4 for raw_map in raw):
            return None
        # each level has its own width
        levels = [(raw_map.shape[3] - side) // 2 for raw_map in raw]
        if any(level not in range(len(self.inputs))
               or raw_map.shape[2:] != (side, side + 2 * level)
               for level, raw_map in zip(levels, raw)):
            return None
        radius = max(map(spread, raw))
        if radius >= LIMIT:
            return None
        side = 2 * radius + 1
        numbers = range(len(self.inputs))
        for shrinks in (True, False):
            if all(
                    self.is_apart(self.run(side, shrinks, number), levels,
                                  number) for number in numbers):
                return ReceptiveField(
                    radius, levels, shrinks,
                    all(self.run(side, shrinks, number, alone=True)
                        for number in numbers))
        return None

    @torch.no_grad()
    def run(self,
            side: int,
            shrink: bool,
            everywhere: int | None = None,
            alone: bool = False) -> list[Tensor] | None:
        """Run the head on levels of zeros with NaN in some places.

        Args:
            side (int): The height of the levels. Each is two cells wider than
                the one before.
            shrink (bool): Whether convolutions run without padding.
            everywhere (int, optional): The level that is NaN everywhere; the
                middle of each level if None.
            alone (bool): Whether the other levels are empty.

        Returns:
            list[Tensor] | None: The raw maps; None if the head does not take
            such levels.
        """
        maps = []
        for number, level in enumerate(self.inputs):
            zeros = torch.zeros(1, level.shape[1], side, side + 2 * number)
            if everywhere is None:
                zeros[..., side // 2, side // 2 + number] = torch.nan
            elif everywhere == number:
                zeros.fill_(torch.nan)
            elif alone:
                zeros = zeros[:0]
            maps.append(zeros.double())
        try:
            with ExitStack() as stack:
                if self.frozen:
                    stack.enter_context(FrozenStatistics(self.head).skipped())
                if shrink:
                    stack.enter_context(unpadded(self.head))
                return flat_tensors(self.head.forward(tuple(maps)))
        except Exception:  # sizes that do not fit, values that are NaN
            return None

    @staticmethod
    def is_apart(raw: list[Tensor] | None, levels: list[int],
                 number: int) -> bool:
        """Whether raw maps have a middle, and only those of level ``number``
        have NaN."""
        return raw is not None and all(
            raw_map.shape[2] % 2 == raw_map.shape[3] % 2 == 1 and
            (level == number or not raw_map.isnan().any())
            for level, raw_map in zip(levels, raw))


def spread(raw: Tensor) -> int:
    """Count the cells that NaN reaches from the middle of a map (1, C, h,
    w)."""
    rows, columns = raw.isnan().any(dim=1)[0].nonzero(as_tuple=True)
    middle_row, middle_column = raw.shape[2] // 2, raw.shape[3] // 2
    offsets = torch.cat([rows - middle_row, columns - middle_column])
    return int(offsets.abs().max()) if len(offsets) else 0


@contextmanager
def unpadded(head: nn.Module) -> Iterator[None]:
    """Take the padding of a head's convolutions away for the time of the
    context."""
    paddings = {
        conv: conv.padding
        for conv in head.modules() if isinstance(conv, nn.Conv2d)
    }
    try:
        for conv in paddings:
            conv.padding = (0, 0)
        yield
    finally:
        for conv, padding in paddings.items():
            conv.padding = padding


@contextmanager
def zero_outside(head: nn.Module, inside: Mapping[int, Tensor]
                 ) -> Iterator[None]:
    """Let every convolution of a head see zeros outside of the level, as its
    padding would show it.

    Args:
        head (nn.Module): The head.
        inside (Mapping): For batches that enter the head, by their length: 1
            inside of the level, 0 outside, shape (n, 1, h, w). Smaller maps
            have the same middle.
    """

    def hide(conv: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        mask = inside.get(len(x))
        if mask is None:
            return args
        top, left = ((whole - part) // 2
                     for whole, part in zip(mask.shape[2:], x.shape[2:]))
        part = mask[..., top:top + x.shape[2], left:left + x.shape[3]]
        return (x * part, *args[1:])

    with ExitStack() as stack:
        for conv in head.modules():
            if isinstance(conv, nn.Conv2d) and max(conv.kernel_size) > 1:
                stack.callback(conv.register_forward_pre_hook(hide).remove)
        yield

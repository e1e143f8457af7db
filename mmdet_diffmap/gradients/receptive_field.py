# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How much of a level one location of a head's raw maps depends on."""
from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
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
    """
    radius: int
    levels: list[int]
    shrinks: bool


Known = dict[tuple, ReceptiveField | None]
known_fields: WeakKeyDictionary[nn.Module, Known] = WeakKeyDictionary()


def receptive_field(head: nn.Module, inputs: Sequence[Tensor],
                    frozen: bool) -> ReceptiveField | None:
    """The receptive field of a head; measured once for each head.

    Args:
        head (nn.Module): Maps the levels to raw maps.
        inputs (Sequence[Tensor]): The levels, each (1, C, H, W).
        frozen (bool): Take the statistics of GroupNorm layers for constant.

    Returns:
        ReceptiveField | None: None if there is none: some raw map is no grid
        of its level, or a location depends on the whole level.
    """
    if any(level.dim() != 4 or len(level) != 1 for level in inputs):
        return None
    known = known_fields.setdefault(head, {})
    key = (frozen, *(level.shape[1] for level in inputs))
    if key not in known:
        known[key] = probe(head, inputs, frozen, shrink=True) or \
            probe(head, inputs, frozen, shrink=False)
    return known[key]


def forget(head: nn.Module) -> None:
    """Take back what was found about a head: it has none."""
    known = known_fields.setdefault(head, {})
    known.update(dict.fromkeys(known))


@torch.no_grad()
def probe(head: nn.Module, inputs: Sequence[Tensor], frozen: bool,
          shrink: bool) -> ReceptiveField | None:
    """Put NaN into the middle cell of each level and see how far it spreads.

    NaN passes through every sum, whatever the weights. In double precision no
    convolution takes the way of Winograd, which spreads it over tiles.
    """
    head = copy.deepcopy(head).double()
    side = 2 * LIMIT + 1
    maps = []
    for number, one in enumerate(inputs):  # each level has its own width
        probe_map = torch.zeros(1, one.shape[1], side, side + 2 * number)
        probe_map[..., LIMIT, LIMIT + number] = torch.nan
        maps.append(probe_map.to(one.device, torch.float64))
    try:
        with ExitStack() as stack:
            if frozen:
                stack.enter_context(FrozenStatistics(head).skipped())
            if shrink:
                stack.enter_context(unpadded(head))
            raw = flat_tensors(head.forward(tuple(maps)))
    except RuntimeError:  # made for maps of other sizes or types
        return None
    radii, levels = [], []
    for one in raw:
        if one.dim() != 4:
            return None
        height, width = one.shape[-2:]
        level = (width - height) // 2
        if level not in range(len(inputs)) or height % 2 == 0 or \
                width % 2 == 0 or height > side or \
                (not shrink and height != side):
            return None
        middle = torch.tensor([height // 2, width // 2], device=one.device)
        offsets = one.isnan().any(dim=1)[0].nonzero() - middle
        radii.append(int(offsets.abs().max()) if len(offsets) else 0)
        levels.append(level)
        if radii[-1] >= height // 2 and height > 1:
            return None
    if not radii:
        return None
    return ReceptiveField(max(radii), levels, shrink)


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
def zero_outside(head: nn.Module, inside: Tensor) -> Iterator[None]:
    """Let every convolution of a head see zeros outside of the level, as its
    padding would show it.

    Args:
        head (nn.Module): The head.
        inside (Tensor): 1 inside of the level, 0 outside, shape (n, 1, h, w),
            for the maps that enter the head. Smaller maps have the same
            middle.
    """

    def hide(conv: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        if len(x) != len(inside):
            return args
        top, left = ((whole - part) // 2
                     for whole, part in zip(inside.shape[2:], x.shape[2:]))
        part = inside[..., top:top + x.shape[2], left:left + x.shape[3]]
        return (x * part, *args[1:])

    with ExitStack() as stack:
        for conv in head.modules():
            if isinstance(conv, nn.Conv2d) and max(conv.kernel_size) > 1:
                stack.callback(conv.register_forward_pre_hook(hide).remove)
        yield

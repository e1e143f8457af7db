# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The real numbers of which a detector's binary masks are made."""
from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import fcn_mask_head
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from .class_scores import logits_of
from .swapping import swapped

#: Functions that compare, by their names; some include what is equal.
INCLUDE = {'ge', '__ge__'}
COMPARE = {'gt', '__gt__', *INCLUDE}
#: Functions that change the type of a tensor, or its place in memory.
CONVERT = {'to', 'bool', 'float', 'byte', 'int', 'long', 'double', 'type',
           'type_as', 'clone', 'contiguous', 'detach', 'cpu', 'cuda',
           '__deepcopy__'}
#: Functions that pick, order or lay out what a tensor holds.
PICK = {'__getitem__', 'index_select', 'squeeze', 'unsqueeze', 'permute',
        'transpose', 'movedim', 'flip', 'reshape', 'view', 'flatten',
        'unflatten', 'narrow', 'select', 'expand'}
#: Functions that do so with several tensors.
JOIN = {'cat', 'concat', 'stack'}


@dataclass(frozen=True)
class RealMasks:
    """What binary masks (N, H, W) were before they were compared.

    Args:
        values (Tensor): The numbers, with a graph, shape (N, H, W); or (N, h,
            w) if they are grids that were pasted into boxes.
        threshold (float): What is above it is inside.
        includes (bool): Whether so is what is equal to it. Logits behind a
            rectifier are often exactly 0.
        are_logits (bool): Whether they are known to be logits.
        pasted (bool): Whether they are grids in boxes.
    """
    values: Tensor
    threshold: float
    are_logits: bool = False
    pasted: bool = False
    includes: bool = False

    def mean_logits(self, masks: Tensor) -> Tensor:
        """Compute the mean logit inside of each mask.

        Args:
            masks (Tensor): The binary masks.

        Returns:
            Tensor: Shape (N, ), with a graph; 0 where a mask is empty.
        """
        compare = torch.ge if self.includes else torch.gt
        inside = compare(self.values, self.threshold) if self.pasted else \
            masks.bool()
        return mean_inside(
            logits_of(self.values) if self.are_probabilities else self.values,
            inside)

    @property
    def are_probabilities(self) -> bool:
        """Whether the numbers are probabilities: all are in [0, 1], and so is
        the threshold, between both ends."""
        return not self.are_logits and 0 < self.threshold < 1 and \
            self.values.numel() > 0 and \
            bool((self.values >= 0).all() and (self.values <= 1).all())


def mean_inside(values: Tensor, inside: Tensor) -> Tensor:
    """Compute the mean of values (N, H, W) in masks of that shape, (N, ); 0 in
    an empty one."""
    count = inside.flatten(1).sum(dim=1)
    sums = torch.where(inside, values, 0).flatten(1).sum(dim=1)
    return sums / count.clamp(min=1)


@dataclass
class WrittenMasks:
    """Binary masks that were written into the rows of one tensor.

    Args:
        rows (dict): What the mask of each row was.
    """
    rows: dict[int, RealMasks] = field(default_factory=dict)

    def joined(self, count: int) -> RealMasks | None:
        """Return what the masks of so many rows were; None if that of some is
        not known."""
        if not count or set(self.rows) != set(range(count)):
            return None
        return replace(self.rows[0], values=torch.stack(
            [self.rows[row].values for row in range(count)]))


class MaskValues(TorchFunctionMode):
    """In this context, remembers of which numbers binary masks were made.

    A detector compares numbers with a threshold at one place, and picks and
    orders the binary masks afterwards. What is picked of the result of a
    comparison is picked of the numbers as well. Of what a sigmoid gives the
    logits are known as long as it is only picked from; if probabilities are
    averaged or resized, the logit is that of the result.

    Example::

        with MaskValues().listening() as values:
            samples = model.predict(inputs, samples)
        masks = samples[0].pred_instances.masks
        outputs = values.of(masks).mean_logits(masks)
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: Any = WeakIdKeyDictionary()  # RealMasks of binary masks
        self.written: Any = WeakIdKeyDictionary()  # WrittenMasks of them
        self.logits: Any = WeakIdKeyDictionary()  # of probabilities
        self.grids: Any = WeakIdKeyDictionary()  # of what was pasted

    @contextmanager
    def listening(self) -> Iterator[MaskValues]:
        """Listen in this context, also to grids that are pasted into boxes
        before they are compared."""
        original = fcn_mask_head._do_paste_mask
        paste = partial(self._paste, original)
        with ExitStack() as stack:
            for module in list(sys.modules.values()):
                if getattr(module, '__dict__', {}).get(
                        '_do_paste_mask') is original:
                    stack.enter_context(
                        swapped(module, '_do_paste_mask', paste))
            stack.enter_context(self)
            yield self

    def of(self, masks: Tensor) -> RealMasks | None:
        """Return what binary masks of this context were; None if that is not
        known."""
        if masks in self.written:
            return self.written[masks].joined(len(masks))
        return self.known.get(masks)

    def __torch_function__(self,
                           function: Callable,
                           types: Sequence[type],
                           args: tuple = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = getattr(function, '__name__', '')
        if name == '__setitem__':
            self._write(*args)
        elif not isinstance(result, Tensor) or not args:
            pass
        elif name in JOIN:
            self._join(function, args, kwargs, result)
        elif not isinstance(args[0], Tensor):
            pass
        elif name == 'sigmoid':
            self.logits[result] = args[0]
        elif name in COMPARE:
            self._compare(args[0], args[1], result, name in INCLUDE)
        elif name in PICK:
            self._pick(function, args, kwargs, result)
        elif name in CONVERT and result is not args[0]:
            for notes in self.known, self.logits, self.grids:
                if args[0] in notes:
                    notes[result] = notes[args[0]]
        return result

    def _compare(self, given: Tensor, threshold: Any, result: Tensor,
                 includes: bool) -> None:
        if not given.requires_grad or (isinstance(threshold, Tensor) and
                                       threshold.numel() != 1):
            return
        limit = float(threshold)
        values = self.grids.get(given, given)
        logits = self.logits.get(values)
        if logits is not None and 0 < limit < 1:
            values, limit = logits, math.log(limit / (1 - limit))
        self.known[result] = RealMasks(values, limit, logits is not None,
                                       given in self.grids, includes)

    def _pick(self, function: Callable, args: tuple, kwargs: dict[str, Any],
              result: Tensor) -> None:
        given, *how = args
        if given in self.logits:
            self.logits[result] = function(self.logits[given], *how, **kwargs)
        real = self.of(given)
        if real is not None and (not real.pasted or picks_rows(function, how)):
            self.known[result] = replace(
                real, values=function(real.values, *how, **kwargs))

    def _join(self, function: Callable, args: tuple, kwargs: dict[str, Any],
              result: Tensor) -> None:
        given, *how = args
        parts = [self.of(part) for part in given]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts):
            self.known[result] = replace(known[0], values=function(
                [part.values for part in known], *how, **kwargs))

    def _write(self, target: Tensor, place: Any, value: Any) -> None:
        real = self.of(value) if isinstance(value, Tensor) else None
        rows = place[0] if isinstance(place, tuple) and place else place
        if real is None or not isinstance(rows, (int, Tensor)):
            return
        written = self.written.setdefault(target, WrittenMasks())
        if isinstance(rows, int):
            written.rows[rows] = real
            return
        written.rows.update(
            (row, replace(real, values=values))
            for row, values in zip(rows.tolist(), real.values))

    def _paste(self, original: Callable, masks: Tensor, boxes: Tensor,
               img_h: int, img_w: int, skip_empty: bool = True) -> tuple:
        """Paste grids (n, 1, h, w) into boxes as mmdet does, also into boxes
        outside of the image."""
        low, high = boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)
        if low[0] >= img_w or low[1] >= img_h or (high <= 0).any():
            skip_empty = False  # mmdet fails where the image has no part
        # mmdet pastes in single precision, also what is not
        result, place = original(masks, boxes.float(), img_h, img_w,
                                 skip_empty)
        self.grids[result] = masks[:, 0]
        return result, place


def picks_rows(function: Callable, how: Sequence[Any]) -> bool:
    """Whether a function picks whole rows of its tensor."""
    return getattr(function, '__name__', '') == '__getitem__' and (
        isinstance(how[0], (slice, list)) or
        (isinstance(how[0], Tensor) and how[0].dim() == 1))

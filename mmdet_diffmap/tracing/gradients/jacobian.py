# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""``∂Y/∂R``: how each output depends on the head's raw maps."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from .products import vector_products

Row = tuple[int, int]  # detection, column of the outputs

# Columns of the outputs (score, x1, y1, x2, y2) that depend on different
# elements in most heads, so that they can be differentiated together.
INDEPENDENT_COLUMNS = ((0, 1, 2), (3, 4))
#: Bytes that the gradients of the passes that are made at once may take.
MEMORY_BUDGET = 2**28


@dataclass(frozen=True)
class Weights:
    """Numbers that tell the rows of a group apart, digit by digit: powers of
    two with a sign, by which a gradient is multiplied without rounding.

    Args:
        base (int): How many digits there are.
        lowest (int): The exponent of the first one.
    """
    base: int
    lowest: int

    def of_digits(self, digits: Tensor) -> Tensor:
        """Return the weights of some digits, int64, in single precision."""
        signs = 1. - 2 * (digits % 2)
        return signs * torch.exp2(self.lowest + (digits // 2).float())

    def digits(self, values: Tensor, weighted: Tensor
               ) -> tuple[Tensor, Tensor]:
        """Return the digits by whose weights values were multiplied, and
        whether that is exactly so, each (n, )."""
        ratios = weighted / values
        exponents = ratios.abs().log2().round().nan_to_num(0, 0, 0)
        exponents = exponents.clamp(self.lowest,
                                    self.lowest + self.base // 2 - 1)
        digits = 2 * (exponents - self.lowest).long() + (ratios < 0)
        exact = values * self.of_digits(digits).to(values) == weighted
        return digits, exact


def weights_for(rows: int) -> Weights:
    """Return weights for a group of so many rows.

    Single precision has exponents from -126 to 127. Derivatives take the
    middle: with the first kind all below 2^43 stay finite, and with the other
    those between 2^-96 and 2^38 stay exact, which spares most groups of more
    rows another backward pass.
    """
    few, many = Weights(170, 0), Weights(240, -30)
    return many if few.base < rows <= many.base else few


#: ``∂Y/∂R`` by the number of the raw map.
Cotangents = dict[int, Tensor]


@dataclass(frozen=True)
class RawPart:
    """A raw map, or a part of it.

    Args:
        shape (torch.Size): Its shape.
        places (Mapping): For each detection, the flat index in the part of the
            element with a given flat index in the raw map.
    """
    shape: torch.Size
    places: Mapping[int, Callable[[int], int]]


@dataclass(frozen=True)
class SparseJacobian:
    """``∂Y/∂R`` by its elements that are not zero.

    An output depends on few elements of the raw maps: on the class score or
    the box of one location, one proposal or one query.

    Args:
        rows (dict): For each row (detection, column), the raw maps that it
            depends on, and where their elements stand in what follows.
        indices (list[int]): Flat index of each element in its raw map.
        values (Tensor): The derivative of the row by each element.
    """
    rows: dict[Row, dict[int, slice]]
    indices: list[int]
    values: Tensor

    @property
    def detections(self) -> int:
        """The number of detections."""
        return 1 + max((detection for detection, _ in self.rows), default=-1)

    @classmethod
    def of(cls, outputs: Tensor, raw: Sequence[Tensor],
           columns: Sequence[int]) -> SparseJacobian:
        """Differentiate the outputs of all detections together.

        One backward pass for each output would go through the detector's
        whole post-processing each time. Outputs that share no element are
        differentiated as one sum instead, and the sum's gradient is taken
        apart (the compressed Jacobian of Curtis, Powell & Reid, 1974). Which
        of them an element belongs to is found by weighting the outputs with
        :class:`Weights`: where an element belongs to one alone, the weight
        comes out of the gradient to the last bit. A group that turns out to
        share elements is halved. What an output shares with another of more
        than 2^24 times its derivative can be lost.

        Args:
            outputs (Tensor): With a graph to ``raw``, shape (N, 5), or with
                further columns.
            raw (Sequence[Tensor]): Leaves of the graph, of any shape.
            columns (Sequence[int]): The columns of ``outputs`` wanted.
        """
        elements: list[tuple[Row, int, int]] = []  # row, raw map, index
        values = [outputs.new_zeros(0).detach()]
        waiting = first_groups(outputs, columns) if outputs.requires_grad \
            else []
        while waiting:
            groups, waiting = waiting, []
            for group, of_group in zip(groups,
                                       elements_of(outputs, raw, groups)):
                if of_group is None:
                    middle = len(group) // 2
                    waiting += [group[:middle], group[middle:]]
                    continue
                elements += zip(of_group.owners, of_group.maps,
                                of_group.indices)
                values.append(of_group.values)
                without = sorted(set(group) - set(of_group.owners))
                if 0 < len(without) < len(group):  # may have been outshone
                    waiting.append(without)
        order = sorted(range(len(elements)), key=elements.__getitem__)
        rows: dict[Row, dict[int, slice]] = {
            (detection, column): {}
            for detection in range(len(outputs)) for column in columns
        }
        for place, element in enumerate(order):
            row, number, _ = elements[element]
            start = rows[row].get(number, slice(place, place)).start
            rows[row][number] = slice(start, place + 1)
        return cls(rows, [elements[element][2] for element in order],
                   torch.cat(values)[order])

    def cotangents(self, columns: Iterable[int],
                   parts: Mapping[int, RawPart]) -> dict[int, Cotangents]:
        """Return ``∂Y/∂R`` of several detections.

        Args:
            columns (Iterable[int]): The columns of the outputs.
            parts (Mapping): The raw maps, or the parts of them that the
                detections come from, by the number of the raw map.

        Returns:
            dict: For each column, a cotangent for each raw map that it
            depends on.
        """
        starts: dict[tuple[int, int], int] = {}  # column, raw map
        targets: list[int] = []
        sources: list[int] = []
        total = 0
        for column in columns:
            for number, raw_part in parts.items():
                for detection, place in raw_part.places.items():
                    elements = self.rows[detection, column].get(number)
                    if elements is None:
                        continue
                    if (column, number) not in starts:
                        starts[column, number] = total
                        total += raw_part.shape.numel()
                    start = starts[column, number]
                    targets += [start + place(index)
                                for index in self.indices[elements]]
                    sources += range(elements.start, elements.stop)
        flat = self.values.new_zeros(total)
        where = torch.tensor([targets, sources], dtype=torch.int64,
                             device=flat.device)
        flat[where[0]] = self.values[where[1]]
        cotangents: dict[int, Cotangents] = {column: {} for column in columns}
        for (column, number), start in starts.items():
            shape = parts[number].shape
            cotangents[column][number] = \
                flat[start:start + shape.numel()].view(shape)
        return cotangents

    def raw_elements(self, detection: int,
                     columns: Iterable[int]) -> set[tuple[int, int]]:
        """Return the elements (raw map, flat index) that some columns of a
        detection depend on."""
        return {(number, index)
                for column in columns
                for number, part in self.rows[detection, column].items()
                for index in self.indices[part]}


@dataclass(frozen=True)
class Elements:
    """The elements of the raw maps that a group of rows depends on.

    Args:
        maps (list[int]): The raw map of each.
        indices (list[int]): Its flat index.
        owners (list[Row]): The one row that depends on it.
        values (Tensor): The derivative.
    """
    maps: list[int]
    indices: list[int]
    owners: list[Row]
    values: Tensor


def elements_of(outputs: Tensor, raw: Sequence[Tensor],
                groups: list[list[Row]]) -> Iterator[Elements | None]:
    """Differentiate groups of rows.

    Yields:
        Elements | None: Of each group; None if two of its rows share an
        element.
    """
    works = [weighted_sums(outputs, group) for group in groups]
    while works:
        # a batch of whole groups, so that no gradient waits for others
        size = fitting(raw, [len(sums) for _, _, sums in works])
        batch, works = works[:size], works[size:]
        gradients = vector_products(
            [outputs], raw, [torch.cat([sums for _, _, sums in batch])]
        ) if raw else []
        reached = any(gradient is not None for gradient in gradients)
        start = 0
        for group, own, sums in batch:
            stop = start + len(sums)
            yield elements_of_group(group, own, [
                (number, gradient[start:stop].reshape(len(sums), -1))
                for number, gradient in enumerate(gradients)
                if gradient is not None
            ]) if reached else Elements([], [], [], outputs.detach()[:0, 0])
            start = stop


def weighted_sums(outputs: Tensor,
                  group: list[Row]) -> tuple[list[Row], Weights, Tensor]:
    """Return a group, its weights, and the cotangents (k, N, 5) of the sum of
    its rows and of their sums weighted by each of their numbers' digits."""
    own = weights_for(len(group))
    rows = tuple(torch.tensor(group, device=outputs.device).T)
    factors = [outputs.new_ones(len(group)).detach()]
    order = torch.arange(len(group), device=outputs.device)
    power = 1
    while power < len(group):
        factors.append(
            own.of_digits(order // power % own.base).to(outputs.dtype))
        power *= own.base
    sums = torch.zeros((len(factors), *outputs.shape),
                       dtype=outputs.dtype, device=outputs.device)
    sums[(slice(None), *rows)] = torch.stack(factors)
    return group, own, sums


def fitting(raw: Sequence[Tensor], passes: Sequence[int]) -> int:
    """Return how many of the first groups, of so many passes each, keep to
    ``MEMORY_BUDGET``; at least one."""
    memory = sum(raw_map.numel() * raw_map.element_size() for raw_map in raw)
    totals = accumulate(memory * count for count in passes)
    return max(1, sum(total <= MEMORY_BUDGET for total in totals))


def elements_of_group(group: list[Row], weights: Weights,
                      passes: list[tuple[int, Tensor]]) -> Elements | None:
    """Take a group's gradients apart; None if two of its rows share an
    element.

    Args:
        group (list[Row]): The rows.
        weights (Weights): By which they were weighted.
        passes (list): Raw maps, one or more, and for each its gradients (k,
            size): of the sum of the rows, and of their sums weighted by each
            of their numbers' digits.
    """
    places, parts, shown = [], [], []
    for number, gradients in passes:
        place = gradients[0].nonzero()[:, 0]
        places.append((number, place))
        parts.append(gradients[:, place])
        shown.append(gradients.count_nonzero(dim=1))
    values, *scaled = torch.cat(parts, dim=1)
    owners = torch.zeros_like(values, dtype=torch.int64)
    # what the weights alone have shown had cancelled out
    complete = torch.stack(shown).sum(dim=0) <= len(values)
    alone = [complete.all()]
    power = 1
    for weighted in scaled:
        digits, exact = weights.digits(values, weighted)
        alone.append(exact.all())
        owners += digits * power
        power *= weights.base
    alone.append((owners < len(group)).all())
    if len(group) > 1 and not torch.stack(alone).all():
        return None
    return Elements(
        [number for number, place in places for _ in range(len(place))],
        torch.cat([place for _, place in places]).tolist(),
        [group[owner] for owner in owners.tolist()], values)


def alike(cotangents: Mapping[int, Cotangents]
          ) -> Iterator[tuple[list[int], Cotangents]]:
    """Put the columns together that depend on the same raw maps.

    Args:
        cotangents (Mapping): By column; see
            :meth:`SparseJacobian.cotangents`.

    Yields:
        tuple: k columns, and for each raw map their cotangents, (k, ...).
    """
    kinds: dict[tuple[int, ...], list[int]] = {}
    for column, of_column in cotangents.items():
        if of_column:
            kinds.setdefault(tuple(sorted(of_column)), []).append(column)
    for numbers, columns in kinds.items():
        yield columns, {
            number: torch.stack(
                [cotangents[column][number] for column in columns])
            for number in numbers
        }


def first_groups(outputs: Tensor, columns: Sequence[int]) -> list[list[Row]]:
    """Make groups of rows that may share no element.

    Two detections with the same box are kept apart: most often they are two
    classes at one location. So are sides at zero, and the largest ones where
    several boxes have them: most often they are clipped at the image's edge
    and depend on nothing, which would have to be made sure of in another
    pass.
    """
    boxes = outputs.detach()[:, 1:]
    equal = boxes[:, None] == boxes[None]
    same = equal.all(dim=2)
    earlier = same.tril(diagonal=-1).sum(dim=1)
    clipped = (equal & ~same[..., None]).any(dim=1) & (
        boxes == boxes.amax(dim=0)) | (boxes == 0) if len(boxes) else \
        boxes == 0
    # most often of the class, or of the box
    further = [(column, ) for column in columns if column > 4]
    number_of, *sides = torch.stack([earlier, *clipped.T]).tolist()
    clipped_rows = [(detection, column) for column in columns
                    if 0 < column <= len(sides)
                    for detection, is_clipped in enumerate(sides[column - 1])
                    if is_clipped]
    apart = set(clipped_rows)
    groups = [[(detection, column) for column in independent
               if column in columns
               for detection, count in enumerate(number_of)
               if count == number and (detection, column) not in apart]
              for number in sorted(set(number_of))
              for independent in (*INDEPENDENT_COLUMNS, *further)]
    return [group for group in [*groups, clipped_rows] if group]

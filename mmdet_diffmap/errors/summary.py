# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The errors of a detector in a whole data set, and what they cost."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..io.tables import Name, Number, Table
from ..visualization import label_name
from .changes import is_mended
from .costs import ErrorCosts, error_costs, error_gains
from .kinds import ERRORS, Kind, Thresholds
from .misses import Mechanism
from .records import ErrorRecord, ImageRecord


@dataclass(frozen=True)
class ErrorRow:
    """An error of a data set.

    Args:
        image (ImageRecord): Where it is.
        detector (int): 0 of the detector, 1 of that which it is compared
            with.
        number (int): Its number among the detector's errors in the image.
        record (ErrorRecord): What it is.
        cost (float): By how many points average precision would rise if it
            alone were mended.
        mended (bool, optional): Whether the other detector does not make it;
            None without another one.
    """
    image: ImageRecord
    detector: int
    number: int
    record: ErrorRecord
    cost: float
    mended: bool | None


class ErrorSummary:
    """The errors of one detector, or of two, in a data set.

    Args:
        images (Iterable[ImageRecord]): All images.
        classes (Sequence[str]): The name of each label.
        names (Sequence[str]): The names of the detectors.
        thresholds (Thresholds): Where kinds part.

    Raises:
        ValueError: If no object is annotated.
    """

    def __init__(self, images: Iterable[ImageRecord], classes: Sequence[str],
                 names: Sequence[str], thresholds: Thresholds) -> None:
        self.images = list(images)
        self.classes = classes
        self.names = names
        self.foreground = thresholds.foreground
        self.costs: list[ErrorCosts] = []
        #: The errors of each detector, the most costly first.
        self.rows: list[list[ErrorRow]] = []
        for detector in range(len(names)):
            errors = [image.detectors[detector].errors
                      for image in self.images]
            self.costs.append(error_costs(errors))
            rows = list(self._rows(detector, thresholds))
            self.rows.append(sorted(rows, key=lambda row: -row.cost))

    def _rows(self, detector: int,
              thresholds: Thresholds) -> Iterator[ErrorRow]:
        """List the errors of a detector."""
        gains = error_gains([image.detectors[detector].errors
                             for image in self.images])
        for image, own in zip(self.images, gains):
            others = [other for number, other in enumerate(image.detectors)
                      if number != detector]
            for number, record in enumerate(
                    image.detectors[detector].records):
                cost = own.objects[record.object] \
                    if record.kind == Kind.MISSED.value else \
                    own.detections[record.detection]
                mended = is_mended(record, others[0], thresholds) \
                    if others else None
                yield ErrorRow(image, detector, number, record, cost, mended)

    def counts(self, detector: int = 0) -> dict[str, int]:
        """Count images, annotated objects, those that are found, and
        detections."""
        errors = [image.detectors[detector].errors for image in self.images]
        return dict(
            images=len(errors),
            objects=sum(len(image.truth) for image in errors),
            found=sum(int((image.found_by >= 0).sum()) for image in errors),
            detections=sum(len(image.kinds) for image in errors))

    def reasons(self, detector: int = 0) -> Counter[str]:
        """Count why objects are not found by any detection."""
        unfound: dict[tuple[int, int], str] = {
            (index, record.object): record.reason
            for index, image in enumerate(self.images)
            for record in image.detectors[detector].records if record.reason}
        return Counter(unfound.values())

    def tables(self) -> list[Table]:
        """Make the tables of all figures."""
        tables: list[Table] = []
        for detector, name in enumerate(self.names):
            whose = f' of {name}' if len(self.names) > 1 else ''
            tables += [self._kinds(detector, f'Errors{whose}'),
                       self._reasons(detector,
                                     f'Why objects are not found{whose}')]
        if len(self.names) > 1:
            tables.append(self._changes())
        return tables

    def _kinds(self, detector: int, title: str) -> Table:
        costs = self.costs[detector]
        order = sorted(ERRORS, key=lambda kind: -costs.gains[kind])
        rows = [(kind.value, costs.counts[kind], costs.gains[kind])
                for kind in order]
        rows.append(('all wrong detections', sum(
            costs.counts[kind] for kind in ERRORS if kind != Kind.MISSED),
            costs.without_false_positives))
        counts = self.counts(detector)
        rows.append(('all objects not found',
                     counts['objects'] - counts['found'],
                     costs.without_misses))
        return Table(
            f'{title}: average precision {costs.average_precision:.2f} at IoU '
            f'{self.foreground}',
            ['kind', 'number', 'points of average precision'],
            [[self._name(detector, 'kind', kind), Number(number),
              Number(points, 2)] for kind, number, points in rows],
            ['number', 'points'])

    def _reasons(self, detector: int, title: str) -> Table:
        reasons = self.reasons(detector)
        order = [mechanism.value for mechanism in Mechanism
                 if reasons[mechanism.value]]
        return Table(title, ['reason', 'objects'], [
            [self._name(detector, 'reason', reason), Number(reasons[reason])]
            for reason in sorted(order, key=lambda reason: -reasons[reason])],
            ['number'])

    def _changes(self) -> Table:
        first, second = self.names
        mended, made = (Counter(row.record.kind for row in rows if row.mended)
                        for rows in self.rows)
        return Table(
            f'{second} in place of {first}',
            ['kind', 'errors mended', 'errors made'],
            [[self._name(0, 'kind', kind.value), Number(mended[kind.value]),
              Number(made[kind.value])] for kind in ERRORS],
            ['mended_by_the_other', 'made_by_the_other'])

    def _name(self, detector: int, column: str, value: str) -> Name:
        """Name a row that is about one detector."""
        keys = dict(detector=self.names[detector], kind='', reason='')
        return Name(value, keys=keys | {column: value})

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        detectors = []
        for detector, name in enumerate(self.names):
            costs, rows = self.costs[detector], self.rows[detector]
            by_kind: dict[str, Any] = {
                kind.value: dict(number=costs.counts[kind],
                                 cost=costs.gains[kind]) for kind in ERRORS}
            if len(self.names) > 1:
                mended = Counter(row.record.kind for row in rows
                                 if row.mended)
                for kind in ERRORS:
                    by_kind[kind.value]['mended_by_the_other'] = \
                        mended[kind.value]
            detectors.append(dict(
                name=name,
                **self.counts(detector),
                average_precision=costs.average_precision,
                kinds=by_kind,
                without_wrong_detections=costs.without_false_positives,
                without_misses=costs.without_misses,
                reasons=dict(self.reasons(detector).most_common()),
                classes=self._classes(detector)))
        return dict(detectors=detectors)

    def _classes(self, detector: int) -> dict[str, dict[str, int]]:
        """Count the errors of each class, by kind: that of the object, or, on
        the background, that of the detection."""
        counts: dict[str, Counter[str]] = {}
        for row in self.rows[detector]:
            label = row.record.true_label if row.record.true_label >= 0 \
                else row.record.found_label
            counts.setdefault(label_name(self.classes, label),
                              Counter())[row.record.kind] += 1
        return {name: dict(counts[name]) for name in sorted(counts)}

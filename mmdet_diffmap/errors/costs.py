# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What each kind of error costs a detector: the average precision that it
would gain without it."""
from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from .kinds import ERRORS, ImageErrors, Kind

#: Score, and whether it is right: a detection as average precision sees it.
Verdict = tuple[float, bool]
#: What detections are sorted by, the best first: the negative score, then the
#: number of the image and that in the image.
SortKey = tuple[float, tuple[int, int]]
#: What becomes of a detection once some errors are mended: its class and
#: verdict, or None if it is gone.
Mend = Callable[[ImageErrors, int], tuple[int, Verdict] | None]


@dataclass(frozen=True)
class ErrorCosts:
    """What a data set's errors cost, in points of average precision.

    Args:
        average_precision (float): At the foreground threshold, in 0..100: the
            mean of all classes that have an annotated object.
        counts (dict[Kind, int]): How many errors of each kind there are.
        gains (dict[Kind, float]): By how much the average precision rises if
            all errors of a kind, and those alone, are mended (``dAP``).
        without_false_positives (float): By how much it rises if all wrong
            detections are gone.
        without_misses (float): By how much if all objects that no detection
            finds are not asked for.
    """
    average_precision: float
    counts: dict[Kind, int]
    gains: dict[Kind, float]
    without_false_positives: float
    without_misses: float


def error_costs(images: Sequence[ImageErrors]) -> ErrorCosts:
    """Compute what each kind of error costs (TIDE, Bolya et al., ECCV 2020,
    section 2.3).

    Mending gives the best detection of an object that none finds the right
    class, or the right place, and takes all other wrong detections of the kind
    away. A missed object is no longer asked for.

    Args:
        images (Sequence[ImageErrors]): All images of the data set.

    Raises:
        ValueError: If no object is annotated.
    """
    asked = Counter(label for image in images
                    for label in image.truth.labels.tolist())
    if not asked:
        raise ValueError('no object is annotated: what errors cost is a share '
                         'of the objects that a detector should find')
    before = mean_average_precision(images, as_it_is, asked)

    def gain(mend: Mend, found: Callable[[ImageErrors], Tensor] | None = None
             ) -> float:
        left: Mapping[int, int] = asked
        if found is not None:
            gone = Counter(
                label for image in images
                for label in image.truth.labels[~found(image)].tolist())
            left = {label: count - gone[label]
                    for label, count in asked.items()}
        return mean_average_precision(images, mend, left) - before

    gains = {kind: gain(as_it_is, not_missed) if kind is Kind.MISSED else
             gain(partial(without, kind)) for kind in ERRORS}
    return ErrorCosts(
        before,
        {kind: sum(len(image.of_kind(kind)) for image in images)
         for kind in ERRORS},
        # what is below zero comes from the 101 recalls
        {kind: max(points, 0) for kind, points in gains.items()},
        gain(only_right),
        gain(as_it_is, lambda image: image.found_by >= 0))


def not_missed(image: ImageErrors) -> Tensor:
    """Tell which objects are not missed, bool (M, )."""
    return (image.found_by >= 0) | (image.nearly_found_by >= 0)


def as_it_is(image: ImageErrors,
             number: int) -> tuple[int, Verdict] | None:
    """Return the verdict on a detection; None if it does not count."""
    kind = image.kinds[number]
    if kind is Kind.IGNORED:
        return None
    score, label = image.detections.scores, image.detections.labels
    return int(label[number]), (float(score[number]), kind is Kind.CORRECT)


def only_right(image: ImageErrors,
               number: int) -> tuple[int, Verdict] | None:
    """Return the verdict on a detection; None if it is wrong."""
    return as_it_is(image, number) \
        if image.kinds[number] is Kind.CORRECT else None


def without(mended: Kind, image: ImageErrors,
            number: int) -> tuple[int, Verdict] | None:
    """Return the verdict on a detection if all errors of a kind are mended;
    None if it is gone."""
    verdict = as_it_is(image, number)
    if verdict is None or image.kinds[number] is not mended:
        return verdict
    about = int(image.objects[number])
    if mended not in (Kind.WRONG_CLASS, Kind.BADLY_PLACED) or \
            image.nearly_found_by[about] != number:
        return None
    _, (score, _) = verdict
    return int(image.truth.labels[about]), (score, True)


def mean_average_precision(images: Sequence[ImageErrors], mend: Mend,
                           asked: Mapping[int, int]) -> float:
    """Return the mean of the average precision of all classes that are asked
    for, in 0..100; 0 if there is none.

    Args:
        images (Sequence[ImageErrors]): All images.
        mend (Callable): The verdict on each detection.
        asked (Mapping): How many objects of each class should be found. A
            class of which none should, but that is detected, counts as 0.
    """
    verdicts: defaultdict[int, list[Verdict]] = defaultdict(list)
    for label, verdict in mended_verdicts(images, mend):
        verdicts[label].append(verdict)
    each = [average_precision(verdicts[label], count) if count else 0.
            for label, count in asked.items() if count or verdicts[label]]
    return float(np.mean(each)) if each else 0.


def mended_verdicts(images: Sequence[ImageErrors],
                    mend: Mend) -> Iterator[tuple[int, Verdict]]:
    """Give the class and verdict of all detections that are left."""
    for image in images:
        for number in range(len(image.kinds)):
            mended = mend(image, number)
            if mended is not None:
                yield mended


@dataclass(frozen=True)
class ImageGains:
    """By how many points the average precision rises if one error of an image
    alone is mended.

    Args:
        detections (dict[int, float]): Of each wrong detection.
        objects (dict[int, float]): Of each missed object.
    """
    detections: dict[int, float]
    objects: dict[int, float]


def error_gains(images: Sequence[ImageErrors]) -> list[ImageGains]:
    """Compute what each single error costs, with errors mended as
    :func:`error_costs` mends all of a kind.

    Returns:
        list[ImageGains]: One for each image; not negative.
    """
    curves = ClassCurves(images)
    gains = []
    for index, image in enumerate(images):
        detections, objects = {}, {}
        for number, kind in enumerate(image.kinds):
            if kind not in ERRORS:
                continue
            detections[number] = curves.mended(
                int(image.detections.labels[number]),
                (-float(image.detections.scores[number]), (index, number)),
                without(kind, image, number))
        for number in image.of_kind(Kind.MISSED):
            label = int(image.truth.labels[number])
            objects[number] = curves.gain({}, {label: -1})
        gains.append(ImageGains(detections, objects))
    return gains


class ClassCurves:
    """The verdicts of each class, the best detection first.

    Args:
        images (Sequence[ImageErrors]): All images.
    """

    def __init__(self, images: Sequence[ImageErrors]) -> None:
        self.asked = Counter(label for image in images
                             for label in image.truth.labels.tolist())
        own: defaultdict[int, list[tuple[float, bool, tuple[int, int]]]] = \
            defaultdict(list)
        for index, image in enumerate(images):
            for number in range(len(image.kinds)):
                verdict = as_it_is(image, number)
                if verdict is not None:
                    label, (score, is_right) = verdict
                    own[label].append((score, is_right, (index, number)))
        #: By class, the keys of its verdicts in their order.
        self.order: dict[int, list[SortKey]] = {}
        self.right: dict[int, np.ndarray] = {}
        for label in {*own, *self.asked}:
            ordered = sorted((-score, detection, is_right)
                             for score, is_right, detection in own[label])
            self.order[label] = [(before, detection)
                                 for before, detection, _ in ordered]
            self.right[label] = np.array(
                [is_right for *_, is_right in ordered], float)
        self.values = {
            label: precision_of(self.right[label], count)
            for label, count in self.asked.items()}
        self.mean = float(np.mean(list(self.values.values())))

    def mended(self, label: int, key: SortKey,
               verdict: tuple[int, Verdict] | None) -> float:
        """Compute the gain if a wrong detection is right, or is gone.

        Args:
            label (int): The class that it has.
            key (tuple): What it is sorted by.
            verdict (tuple, optional): The class that it gets, with a verdict;
                None if it is gone.
        """
        place = bisect_left(self.order[label], key)
        right = self.right[label]
        if verdict is not None and verdict[0] == label:
            right = right.copy()
            right[place] = 1
            return self.gain({label: right})
        if verdict is None and not right[place:].any():
            return 0.  # precision at recalls that are reached stays
        changed = {label: np.delete(right, place)}
        if verdict is not None:
            other = verdict[0]
            place = bisect_left(self.order[other], key)
            changed[other] = np.insert(self.right[other], place, 1.)
        return self.gain(changed)

    def gain(self, changed: Mapping[int, np.ndarray],
             fewer: Mapping[int, int] | None = None) -> float:
        """Compute by how many points the mean rises with other verdicts of
        some classes, or with fewer objects that should be found."""
        values = dict(self.values)
        for label in {*changed, *(fewer or {})}:
            count = self.asked.get(label, 0) + (fewer or {}).get(label, 0)
            right = changed[label] if label in changed else self.right[label]
            if count:
                values[label] = precision_of(right, count)
            elif label in values and not len(right):
                del values[label]
            elif label in values:
                values[label] = 0.
        mean = float(np.mean(list(values.values()))) if values else 0.
        return max(mean - self.mean, 0.)


def average_precision(verdicts: Sequence[Verdict], asked: int) -> float:
    """Compute the average precision of a class as COCO does: the mean of the
    precision at 101 recalls, each the best at that recall or a larger one.

    Args:
        verdicts (Sequence[tuple]): Score and whether it is right, of each
            detection.
        asked (int): How many objects should be found, 1 or more.

    Returns:
        float: In 0..100.

    >>> average_precision([(.9, True), (.8, False), (.7, True)], 2)
    83.49834983498351
    """
    ordered = sorted(verdicts, key=lambda verdict: -verdict[0])
    return precision_of(
        np.array([is_right for _, is_right in ordered], float), asked)


def precision_of(right: np.ndarray, asked: int) -> float:
    """Compute the average precision of detections of which it is known
    whether they are right, 1 or 0, the best first; see
    :func:`average_precision`."""
    recalls = right.cumsum() / asked
    precisions = right.cumsum() / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precisions[::-1])[::-1]
    places = np.searchsorted(recalls, np.arange(101) / 100, side='left')
    return 100 * float(np.append(best, 0)[places].mean())

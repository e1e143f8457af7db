# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A page that shows a detector's errors, in one file that needs no network."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..explainers.explainer import JOINT, Evidence
from ..maps.heatmaps import GridMaps
from ..maps.image_frame import ImageFrame, Shape
from .missing import MissingImages
from .packed_maps import pack_evidence, pack_heatmaps
from .page_file import (
    LONGEST_SIDE,
    base64_text,
    described_picture,
    fitted,
    jpeg,
    write_page,
)

Box = Sequence[float]
#: A caption, names of columns, and rows of texts.
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]

#: Boxes are the same if no side is off by more, in pixels.
SAME = 0.01


@dataclass(frozen=True)
class View:
    """A map of an error.

    Args:
        text (str): What it shows, in words.
        kind (str): ``heat``, a heat map; ``difference``, a heat map less
            another one; ``signed``, what speaks for a number less what
            speaks against it.
        row (int): Which of the detector's heat maps it is; of ``signed``,
            which of the maps of its evidence.
        rival (int): Of ``difference``, the row of the heat map that is
            subtracted.
        above (str): What is above zero in a map that is not ``heat``, in
            words.
        below (str): What is below zero.
    """
    text: str
    kind: str
    row: int
    rival: int = -1
    above: str = ''
    below: str = ''


@dataclass(frozen=True)
class Finding:
    """What a detector says about the place of an error.

    Args:
        text (str): In words.
        box (Sequence[float], optional): Its detection, or its candidate: x1,
            y1, x2, y2 in pixels of the original image.
        rival (Sequence[float], optional): What that is compared with, also a
            box.
        views (Sequence[View]): Its maps; the first is shown first.
        name (str): What is written beside its box: class and score.
    """
    text: str
    box: Box | None
    rival: Box | None
    views: Sequence[View]
    name: str = ''


@dataclass(frozen=True)
class ErrorEntry:
    """An error of a detector.

    Args:
        kind (str): In words, such as ``missed``.
        reason (str): What led to it, in words; empty where that is unknown.
        true (str): The class of the annotated object; empty for none.
        found (str): The class of the detection or candidate; empty for none.
        score (float, optional): Its score.
        iou (float): Its overlap with the annotated object, in [0, 1].
        cost (float): Points of AP that are gained by mending it alone, >= 0.
        truth (Sequence[float], optional): The annotated box: x1, y1, x2, y2
            in pixels of the original image.
        findings (Sequence[Finding]): One for each detector.
        by (str): Which of two detectors make it, in words.
    """
    kind: str
    reason: str
    true: str
    found: str
    score: float | None
    iou: float
    cost: float
    truth: Box | None
    findings: Sequence[Finding]
    by: str = ''


@dataclass(frozen=True)
class MapsOfDetector:
    """The maps of all errors of an image by one detector.

    Args:
        heatmaps (Tensor): Shape (n, H, W), of the original image's size, in
            [0, 1].
        grids (Sequence[GridMaps]): What they are made of, on the detector's
            grids; empty for methods that make no maps on grids.
        evidence (Evidence, optional): Signed maps.
        frame (ImageFrame): Where the image lies in the detector's input.
    """
    heatmaps: Tensor
    grids: Sequence[GridMaps]
    evidence: Evidence | None
    frame: ImageFrame

    def count(self, kind: str) -> int:
        """Return how many maps there are for views of a kind.

        Raises:
            ValueError: If there is no such kind.
        """
        if kind == 'signed':
            return len(self.evidence.maps) if self.evidence else 0
        if kind in ('heat', 'difference'):
            return len(self.heatmaps)
        raise ValueError(f'a view is heat, difference or signed, not {kind}')


@dataclass(frozen=True)
class ErrorPhoto:
    """An image, and the errors on it.

    Args:
        name (str): Its path or URL.
        image (np.ndarray): uint8 BGR, shape (H, W, 3).
        objects (Sequence): For each detector, for each annotated object its
            box (x1, y1, x2, y2 in pixels), its class, and ``found``,
            ``missed`` or ``ignored``.
        detections (Sequence): For each detector, for each detection its box,
            its class, its score, and ``right``, ``wrong`` or ``ignored``.
        errors (Sequence[ErrorEntry]): The errors, of whichever detector.
        maps (Sequence[MapsOfDetector]): One for each detector.
    """
    name: str
    image: np.ndarray
    objects: Sequence[Sequence[tuple[Box, str, str]]]
    detections: Sequence[Sequence[tuple[Box, str, float, str]]]
    errors: Sequence[ErrorEntry]
    maps: Sequence[MapsOfDetector]


class ErrorReport:
    """An interactive page about the errors of a detector, and what another
    detector makes of them, if there is one.

    Args:
        title (str): Of the page.
        detectors (Sequence[str]): What they are called: the one whose errors
            are shown, and perhaps the other.
        settings (Mapping): What made the maps, by name, to be read by people.
        tables (Sequence[tuple]): What the page sums up: captions, names of
            columns, and rows of texts.
    """

    def __init__(self, title: str, detectors: Sequence[str],
                 settings: Mapping[str, str],
                 tables: Sequence[Table]) -> None:
        self.title = title
        self.detectors = list(detectors)
        self.settings = dict(settings)
        self.tables = list(tables)
        self.photos: list[dict[str, Any]] = []
        #: By name, what the page carries beside its data, in base64.
        self.payloads: dict[str, str] = {}

    def add(self, photo: ErrorPhoto) -> None:
        """Add an image; one without errors has nothing to show.

        Raises:
            ValueError: If there is not one finding and one set of maps for
                each detector, or a view is of a map that is not there.
        """
        check(photo, len(self.detectors))
        if not photo.errors:
            return
        number = len(self.photos)
        shown = fitted(photo.image.shape[:2], LONGEST_SIDE)
        self.payloads[f'photo-{number}'] = jpeg(photo.image, shown)
        self.photos.append(
            dict(
                described_picture(photo.name, photo.image, shown),
                objects=[described_objects(photo, detector)
                         for detector in range(len(photo.maps))],
                detections=[described_detections(photo, detector)
                            for detector in range(len(photo.maps))],
                errors=[described_error(error) for error in photo.errors],
                maps=[self._pack(maps, f'{number}-{index}', shown)
                      for index, maps in enumerate(photo.maps)]))

    def _pack(self, maps: MapsOfDetector, place: str,
              shown: Shape) -> dict[str, Any]:
        """Keep the maps of a detector as payloads, and describe them."""
        described = {}
        described['heat'], cells = pack_heatmaps(
            maps.heatmaps, {JOINT: maps.grids} if maps.grids else {},
            maps.frame, shown)
        self.payloads[f'heat-{place}'] = base64_text(cells)
        if maps.evidence is not None:
            described['signed'], cells = pack_evidence(
                maps.evidence, maps.frame, shown)
            self.payloads[f'signed-{place}'] = base64_text(cells)
        return described

    def save(self,
             path: Path,
             failures: Mapping[str, str] | None = None,
             asked: Sequence[str] = ()) -> None:
        """Write the page, which says what it lacks.

        Args:
            path (Path): The file; it is there whole, or not at all.
            failures (Mapping, optional): Why images failed, by their names.
            asked (Sequence[str]): The names of all images that were to be
                added. Defaults to those that were and those that failed.
        """
        missing = MissingImages()
        missing.note(asked, [photo['name'] for photo in self.photos],
                     failures or {})
        write_page(path, 'errors', dict(photos=self.photos), self.payloads,
                   self.settings, missing, title=self.title,
                   detectors=self.detectors, tables=self.tables)


def check(photo: ErrorPhoto, detectors: int) -> None:
    """Raise ``ValueError`` for an image that the page could not show."""
    for of_each in photo.maps, photo.objects, photo.detections:
        if len(of_each) != detectors:
            raise ValueError(f'{photo.name} has maps or boxes of '
                             f'{len(of_each)} detectors, not of {detectors}')
    for error in photo.errors:
        if len(error.findings) != detectors:
            raise ValueError(
                f'an error on {photo.name} has {len(error.findings)} '
                f'findings, not {detectors}')
        for finding, maps in zip(error.findings, photo.maps):
            for view in finding.views:
                rows = [view.row]
                if view.kind == 'difference':
                    rows.append(view.rival)
                if not all(0 <= row < maps.count(view.kind) for row in rows):
                    raise ValueError(f'{photo.name} has no map for the view '
                                     f'{view.text!r}')


def described_objects(photo: ErrorPhoto,
                      detector: int) -> list[dict[str, Any]]:
    """Return the annotated objects as a detector finds them, ready for JSON,
    each with the numbers of the errors that are about it."""
    return [
        dict(
            box=plain(box), label=label, state=state,
            errors=[number for number, error in enumerate(photo.errors)
                    if error.true == label and same(error.truth, box)])
        for box, label, state in photo.objects[detector]
    ]


def described_detections(photo: ErrorPhoto,
                         detector: int) -> list[dict[str, Any]]:
    """Return the detections of a detector, as the annotated objects."""
    return [
        dict(
            box=plain(box), label=label, score=float(score), state=state,
            errors=[number for number, error in enumerate(photo.errors)
                    if same(error.findings[detector].box, box)])
        for box, label, score, state in photo.detections[detector]
    ]


def described_error(error: ErrorEntry) -> dict[str, Any]:
    """Return an error, ready for JSON."""
    return dict(
        kind=error.kind,
        by=error.by,
        reason=error.reason,
        true=error.true,
        found=error.found,
        score=None if error.score is None else float(error.score),
        iou=float(error.iou),
        cost=float(error.cost),
        truth=plain(error.truth),
        findings=[
            dict(
                text=finding.text,
                name=finding.name,
                box=plain(finding.box),
                rival=plain(finding.rival),
                views=[vars(view) for view in finding.views])
            for finding in error.findings
        ])


def plain(box: Box | None) -> list[float] | None:
    """Return a box as plain numbers, whatever it was."""
    return None if box is None else [float(value) for value in box]


def same(one: Box | None, other: Box) -> bool:
    """Whether a box is another one, but for rounding."""
    return one is not None and all(
        abs(float(a) - float(b)) <= SAME for a, b in zip(one, other))

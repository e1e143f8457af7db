# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The page that shows a detector's errors with their maps."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import box_iou

from ..apis.each_image import result_names
from ..evaluation.image_loop import single_precision
from ..evaluation.image_set import FailedImage, TestImage
from ..explainers.explainer import Explainer
from ..io.files import save_picture
from ..io.progress import progress_bar
from ..report import (
    ErrorEntry,
    ErrorPhoto,
    ErrorReport,
    Finding,
    MapsOfDetector,
    View,
)
from ..visualization import label_name
from ..visualization.error_figure import draw_errors
from .find import DetectorError
from .kinds import Kind
from .loop import ErrorTestLoop
from .maps import ErrorExplanation, ErrorMaps, error_maps, title_of
from .questions import Question, Questions
from .records import ErrorRecord
from .summary import ErrorRow, ErrorSummary

#: Errors in one picture.
MOST_ROWS = 12
#: Why some of several images are not on the page, by their names.
Failures = dict[str, str]


def write_error_report(loop: ErrorTestLoop, summary: ErrorSummary,
                       explainer: Explainer, path: Path, num_images: int,
                       settings: Mapping[str, str],
                       pictures: Path | None = None,
                       failed: Mapping[str, str] | None = None) -> Failures:
    """Write the page with those images whose errors cost most. They go
    through the detector once more.

    Args:
        loop (ErrorTestLoop): The loop that has found the errors.
        summary (ErrorSummary): The errors.
        explainer (Explainer): The method of the maps.
        path (Path): The page's file; it is there whole, or not at all.
        num_images (int): So many images at most.
        settings (Mapping): What made the page, to be read by people.
        pictures (Path, optional): Folder for a picture of the errors of each
            image too.
        failed (Mapping, optional): Why images failed before, by their names.

    Returns:
        dict: Why images could not be explained, by their names, with those
        that failed before.
    """
    chosen = most_costly(summary, num_images)
    indices = {loop.image_set.image_id(index): index
               for index in range(loop.count)}
    loop.image_set.pictures = True
    report = ErrorReport('Why these errors? ' + ' and '.join(summary.names),
                         summary.names, settings,
                         [table.texts() for table in summary.tables()])
    failures: Failures = dict(failed or {})
    paths = [rows[0].image.path or str(image_id)
             for image_id, rows in chosen.items()]
    try:
        with single_precision(), \
                progress_bar('images of the report', len(chosen)) as advance:
            for (image_id, rows), image_path, name in zip(
                    chosen.items(), paths, result_names(paths)):
                image = loop.image_set[indices[image_id]]
                try:
                    if isinstance(image, FailedImage):
                        raise OSError(image.reason)
                    page = ImagePage(loop, summary, explainer, image, rows)
                    report.add(page.photo())
                    if pictures is not None:
                        save_picture(page.picture(),
                                     pictures / f'{name}.png')
                except (OSError, ValueError, ArithmeticError, RuntimeError,
                        MemoryError) as error:
                    failures[image_path] = str(error)
                advance(1)
    finally:
        report.save(path, failures, paths)
    return failures


def most_costly(summary: ErrorSummary, count: int
                ) -> dict[int | str, list[ErrorRow]]:
    """Choose the images whose errors cost most together, and return the
    errors of each."""
    images: dict[int | str, list[ErrorRow]] = {}
    for rows in summary.rows:
        for row in rows:
            images.setdefault(row.image.image_id, []).append(row)
    ordered = sorted(images, key=lambda image_id: -sum(
        row.cost for row in images[image_id]))
    return {image_id: images[image_id] for image_id in ordered[:count]}


@dataclass(frozen=True)
class Answer:
    """What one detector says about the place of an error: the text, its
    candidates there, and what its maps are asked."""
    text: str
    candidate: int = -1
    rival: int = -1
    questions: Sequence[Question] = ()


class ImagePage:
    """Makes what the page shows of one image.

    Args:
        loop, summary, explainer: See :func:`write_error_report`.
        image (TestImage): The image, with its pixels.
        rows (Sequence[ErrorRow]): The errors of all detectors in it.
    """

    def __init__(self, loop: ErrorTestLoop, summary: ErrorSummary,
                 explainer: Explainer, image: TestImage,
                 rows: Sequence[ErrorRow]) -> None:
        self.classes = summary.classes
        self.detectors = summary.names
        self.explainer = explainer
        self.image = image
        self.rows = rows
        self.explained = [
            loop.explained(image, number, explainer.target_layer,
                           explainer.statistics)
            for number in range(len(summary.names))]
        #: The errors of each detector, as :class:`ErrorRow` numbers them.
        self.errors = [list(explained) for explained in self.explained]
        self.records = [
            [ErrorRecord.of_error(error, explained) for error in errors]
            for errors, explained in zip(self.errors, self.explained)]
        for row in rows:
            again = self.records[row.detector][row.number:row.number + 1]
            if not again or not same_error(again[0], row.record):
                raise RuntimeError('the detector makes other errors when it '
                                   'runs again')
        self.questions = [Questions(explained, self.classes)
                          for explained in self.explained]
        self.thresholds = loop.thresholds
        self.numbers = range(len(summary.names))
        #: Those that both make are there twice.
        self.shown = [row for row in rows if row.detector == 0 or row.mended]
        self.answers = [self._answers(row) for row in self.shown]
        #: The maps of each detector.
        self.maps = [
            error_maps(explained.candidates.trace, self.explainer, [
                question for of_error in self.answers
                for question in of_error[number].questions])
            for number, explained in enumerate(self.explained)]

    def picture(self) -> np.ndarray:
        """Draw the (first) detector's errors, at most ``MOST_ROWS``, uint8
        RGB."""
        assert self.image.picture is not None
        own = [(row, of_error[0].questions)
               for row, of_error in zip(self.shown, self.answers)
               if row.detector == 0]
        rows = [
            ErrorExplanation(self.errors[0][row.number], row.record,
                             title_of(row.record, self.classes),
                             self.maps[0].answered(questions)).row()
            for row, questions in own[:MOST_ROWS]]
        return draw_errors(self.image.picture[..., ::-1].copy(), rows)

    def photo(self) -> ErrorPhoto:
        """Make what the page shows."""
        assert self.image.picture is not None
        return ErrorPhoto(
            self.rows[0].image.path or str(self.image.image_id),
            self.image.picture,
            [list(self._objects(number)) for number in self.numbers],
            [list(self._detections(number)) for number in self.numbers],
            [self._entry(row, of_error)
             for row, of_error in zip(self.shown, self.answers)],
            [MapsOfDetector(of_detector.heatmaps, of_detector.grids,
                            of_detector.evidence,
                            explained.candidates.trace.frame)
             for of_detector, explained in zip(self.maps, self.explained)])

    def _answers(self, row: ErrorRow) -> list[Answer]:
        """Return what each detector says about an error."""
        error = self.errors[row.detector][row.number]
        answers = []
        for number in self.numbers:
            if number == row.detector:
                answers.append(self._own(error, row.record, number))
                continue
            answer = None
            if error.object < 0 or row.mended is False:
                answer = self._same_place(row.record, number)
            if answer is None and error.object >= 0:
                answer = self._about_object(error, number)
            answers.append(answer or Answer('no such detection here'))
        return answers

    def _own(self, error: DetectorError, record: ErrorRecord,
             number: int) -> Answer:
        text = record.kind
        if record.reason:
            text += f': {record.reason}'
        return Answer(text, error.candidate, error.rival,
                      self.questions[number].about(error))

    def _about_object(self, error: DetectorError, number: int) -> Answer:
        """Return what another detector makes of an error's object."""
        explained = self.explained[number]
        found_by = int(explained.errors.found_by[error.object])
        if found_by >= 0:
            candidate = int(explained.numbers[found_by])
            return Answer('found', candidate, -1,
                          self.questions[number].about_detection(candidate))
        for other, record in zip(self.errors[number], self.records[number]):
            if other.object == error.object:
                return self._own(other, record, number)
        return Answer('not found')

    def _same_place(self, record: ErrorRecord, number: int) -> Answer | None:
        """Return what another detector says of an error of the same class in
        the same place; None if it makes none."""
        detected = [
            place for place, other in enumerate(self.records[number])
            if other.detection >= 0 and
            other.found_label == record.found_label]
        if record.box is None or not detected:
            return None
        ious = box_iou(
            torch.tensor([record.box]),
            torch.tensor([self.records[number][place].box
                          for place in detected]))[0]
        if ious.max() < self.thresholds.foreground:
            return None
        place = detected[int(ious.argmax())]
        return self._own(self.errors[number][place],
                         self.records[number][place], number)

    def _entry(self, row: ErrorRow,
               answers: Sequence[Answer]) -> ErrorEntry:
        record = row.record
        by = ''
        if row.mended is not None:
            by = f'{self.detectors[row.detector]} only' if row.mended \
                else 'both'
        return ErrorEntry(
            record.kind, record.reason, self._name(record.true_label),
            self._name(record.found_label), record.score, record.iou,
            row.cost, record.truth, [
                Finding(answer.text, self._box(number, answer.candidate),
                        self._box(number, answer.rival), [
                            view_of(question, self.maps[number])
                            for question, _ in self.maps[number].answered(
                                answer.questions)],
                        self._caption(number, answer.candidate))
                for number, answer in enumerate(answers)], by)

    def _box(self, number: int, candidate: int) -> list[float] | None:
        boxes = self.explained[number].candidates.trace.detections.bboxes
        return boxes[candidate].tolist() if candidate >= 0 else None

    def _caption(self, number: int, candidate: int) -> str:
        """Write class and score of a candidate."""
        if candidate < 0:
            return ''
        detections = self.explained[number].candidates.trace.detections
        return f'{self._name(int(detections.labels[candidate]))} ' \
            f'{float(detections.scores[candidate]):.2f}'

    def _name(self, label: int) -> str:
        return label_name(self.classes, label) if label >= 0 else ''

    def _objects(self, number: int
                 ) -> Iterator[tuple[Sequence[float], str, str]]:
        """List what is annotated, and whether a detector finds it."""
        errors = self.explained[number].errors
        for box, label, found_by in zip(
                errors.truth.bboxes.tolist(), errors.truth.labels.tolist(),
                errors.found_by.tolist()):
            yield box, self._name(label), \
                'found' if found_by >= 0 else 'missed'
        for instance in self.image.instances:
            if instance.get('ignore_flag'):
                yield list(map(float, instance['bbox'])), self._name(
                    instance['bbox_label']), 'ignored'

    def _detections(self, number: int
                    ) -> Iterator[tuple[Sequence[float], str, float, str]]:
        """List the detections of a detector."""
        errors = self.explained[number].errors
        for box, label, score, kind in zip(
                errors.detections.bboxes.tolist(),
                errors.detections.labels.tolist(),
                errors.detections.scores.tolist(), errors.kinds):
            state = {Kind.CORRECT: 'right', Kind.IGNORED: 'ignored'}.get(
                kind, 'wrong')
            yield box, self._name(label), score, state


def same_error(record: ErrorRecord, other: ErrorRecord) -> bool:
    """Whether two records are of one error, up to rounding."""
    return (record.kind, record.object, record.found_label) == (
        other.kind, other.object, other.found_label) and all(
            abs(side - own) < 1 for side, own in zip(
                record.box or (), other.box or ()))


def view_of(question: Question, maps: ErrorMaps) -> View:
    """Return a question as the page takes it."""
    if question.output:
        return View(question.text, 'signed', maps.outputs[question],
                    above=question.above, below=question.below)
    row = maps.candidates[question.candidate]
    if question.rival < 0:
        return View(question.text, 'heat', row)
    return View(question.text, 'difference', row,
                maps.candidates[question.rival], question.above,
                question.below)

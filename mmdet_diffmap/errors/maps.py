# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Maps that say something about a detector's errors."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..apis.image_pipeline import image_pipeline
from ..apis.loading import class_names
from ..explainers import DifferenceMap, ExplainerLike, build_explainer
from ..explainers.engine import (
    check_explainable,
    check_memory,
    make_maps,
)
from ..explainers.explainer import JOINT, Evidence, Explainer, method_name
from ..maps.heatmaps import GridMaps
from ..tracing.detector import DetectorAdapter
from ..tracing.recording import recording
from ..tracing.trace import Trace
from ..tracing.turns import one_at_a_time
from ..visualization import label_name
from ..visualization.colours import RIVAL, TARGET, WRONG
from ..visualization.error_figure import PicturePanel, PictureRow
from .find import DetectorError, find_errors
from .kinds import DEFAULT_THRESHOLDS, Thresholds
from .questions import Question, Questions
from .records import ErrorRecord


@dataclass(frozen=True)
class ErrorMaps:
    """The maps of an image that answer questions about its errors.

    Args:
        candidates (dict[int, int]): The row of each candidate that has a heat
            map.
        heatmaps (Tensor): Heat maps (n, H, W) of the original image's size,
            in [0, 1].
        grids (Sequence[GridMaps]): What they are made of; none of methods
            that make no maps on grids.
        outputs (dict[Question, int]): The row of each question that has
            signed evidence.
        evidence (Evidence, optional): That; None of methods that cannot tell
            what speaks against.
    """
    candidates: Mapping[int, int]
    heatmaps: Tensor
    grids: Sequence[GridMaps]
    outputs: Mapping[Question, int]
    evidence: Evidence | None

    def answers(self, question: Question) -> bool:
        """Whether there is a map that answers a question."""
        return not question.output or self.evidence is not None

    def answered(self, questions: Sequence[Question]
                 ) -> list[tuple[Question, Tensor]]:
        """List those of some questions that a map answers, with the map."""
        return [(question, self[question]) for question in questions
                if self.answers(question)]

    def __getitem__(self, question: Question) -> Tensor:
        """Return the map that answers a question, shape (H, W): in [0, 1], or
        in [-1, 1] if it is signed."""
        if question.output:
            assert self.evidence is not None
            return self.evidence.maps[self.outputs[question]]
        heatmap = self.heatmaps[self.candidates[question.candidate]]
        if question.rival < 0:
            return heatmap
        return heatmap - self.heatmaps[self.candidates[question.rival]]


def error_maps(trace: Trace, explainer: Explainer,
               questions: Sequence[Question]) -> ErrorMaps:
    """Make the maps that answer some questions about an image's errors, many
    at a time.

    Args:
        trace (Trace): All candidates of the image; see
            :class:`~mmdet_diffmap.tracing.filtering.CandidateTrace`.
        explainer (Explainer): The method of heat maps. It has the target
            layer and statistics with which the candidates were traced.
        questions (Sequence[Question]): Doubles cost nothing.

    Raises:
        MemoryError: If the maps do not fit in memory.
        ValueError: If the method makes difference maps.
    """
    check_method(explainer)
    wanted = sorted({
        candidate for question in questions if not question.output
        for candidate in (question.candidate, question.rival)
        if candidate >= 0})
    maps = make_maps(explainer, trace.select(wanted), True)
    asked = list(dict.fromkeys(
        question for question in questions if question.output))
    evidence = None
    if asked:
        numbers = with_outputs(trace, asked)
        check_memory(numbers, explainer)
        with one_at_a_time():
            evidence = explainer.weigh(numbers)
    return ErrorMaps(
        {candidate: row for row, candidate in enumerate(wanted)},
        maps.heatmaps, maps.grids.get(JOINT, ()),
        {question: row for row, question in enumerate(asked)}, evidence)


def check_method(explainer: Explainer) -> None:
    """Raise a ValueError for a method of difference maps."""
    if isinstance(explainer, DifferenceMap):
        raise ValueError(
            'errors choose themselves what is compared: give a method of heat '
            f'maps, {method_name(type(explainer.explainer))} for example, and '
            'not its difference map')


@dataclass(frozen=True)
class ErrorExplanation:
    """An error with its maps.

    Args:
        error (DetectorError): The error.
        record (ErrorRecord): The same as plain numbers and words.
        title (str): The same in a line.
        maps (list[tuple[Question, Tensor]]): What was asked, and the maps
            that answer, each (H, W) of the original image's size; the one
            that says most comes first.
    """
    error: DetectorError
    record: ErrorRecord
    title: str
    maps: list[tuple[Question, Tensor]]

    def row(self) -> PictureRow:
        """Return it as :func:`~mmdet_diffmap.visualization.draw_errors` draws
        it."""
        boxes = [(box, colour) for box, colour in (
            (self.record.truth, TARGET), (self.record.rival_box, RIVAL),
            (self.record.box, WRONG)) if box is not None]
        return PictureRow(self.title, boxes, [
            PicturePanel(question.text, values.float().cpu().numpy(),
                         question.above, question.below)
            for question, values in self.maps])


def title_of(record: ErrorRecord, class_names: Sequence[str]) -> str:
    """Say in a line what is wrong."""
    parts = [f'{record.kind}: {record.reason}' if record.reason
             else record.kind]
    if record.truth is not None:
        true = label_name(class_names, record.true_label)
        parts.append(f'annotated: {true}')
    if record.box is not None:
        parts.append(f'{label_name(class_names, record.found_label)} '
                     f'{record.score:.2f}')
        parts.append(f'IoU {record.iou:.2f}')
    return ', '.join(parts)


def explain_errors(model: nn.Module,
                   image: Any,
                   instances: Sequence[dict],
                   explainer: ExplainerLike = 'ODAM',
                   score_thr: float = 0.3,
                   thresholds: Thresholds = DEFAULT_THRESHOLDS
                   ) -> list[ErrorExplanation]:
    """Explain all errors that a detector makes on an image.

    Args:
        model (nn.Module): A detector; see :func:`~mmdet_diffmap.explain`.
        image (str | PathLike | np.ndarray): The image; see the same.
        instances (Sequence[dict]): What is annotated; see
            :func:`~mmdet_diffmap.errors.find.find_errors`.
        explainer (Explainer | dict | str): The method of heat maps.
        score_thr (float): Detections with a larger score count.
        thresholds (Thresholds): Where kinds of errors part.

    Raises:
        UnknownFilteringError: If the detector's candidates are not known.
        ValueError: As :func:`~mmdet_diffmap.errors.find.find_errors`.

    Example:
        >>> from mmdet_diffmap import load_detector
        >>> from mmdet_diffmap.datasets import render_scene
        >>> model = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
        >>> scene = render_scene(0, 2)
        >>> instances = [dict(bbox=box.tolist(), bbox_label=int(label))
        ...              for box, label in zip(scene.boxes, scene.labels)]
        >>> explanations = explain_errors(
        ...     model, scene.image, instances, score_thr=0.85)
        >>> {each.record.kind for each in explanations}
        {'missed'}
        >>> question, values = explanations[0].maps[0]
        >>> question.above, values.shape
        ('raises its score', torch.Size([192, 192]))
    """
    method = build_explainer(explainer)
    check_method(method)
    check_explainable(model, [method])
    explained = find_errors(
        DetectorAdapter(model, method.target_layer, method.statistics),
        image_pipeline(model)(image).batch, instances, 0, score_thr,
        thresholds)
    names = class_names(model)
    ask = Questions(explained, names)
    errors = list(explained)
    records = [ErrorRecord.of_error(error, explained) for error in errors]
    asked = [ask.about(error) for error in errors]
    maps = error_maps(explained.candidates.trace, method, [
        question for of_error in asked for question in of_error])
    return [
        ErrorExplanation(error, record, title_of(record, names),
                         maps.answered(of_error))
        for error, record, of_error in zip(errors, records, asked)]


def with_outputs(trace: Trace, questions: Sequence[Question]) -> Trace:
    """Return a trace of a candidate for each question, in which the question's
    output is the score."""
    some = trace.select([question.candidate for question in questions])
    with recording():
        values = torch.cat([
            trace.select([question.candidate]).output(question.output)
            for question in questions])
    return some.with_score(values)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a running page knows: the detector, its methods, and photographs."""
from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import PurePath
from typing import Any

from torch import nn

from ..apis.image_pipeline import image_pipeline
from ..apis.loading import class_names
from ..apis.prompt import Prompt, check_prompt
from ..explainers import Explainer, build_explainers
from ..explainers.engine import Selection, check_explainable, explain_image
from ..explainers.explainer import as_config
from ..io.checkpoint import first_line
from ..io.images import check_complete
from ..report import Photo, Report
from ..tracing.detector import unwrapped
from ..visualization import label_names
from .uploads import RefusedError, plain_name


@dataclass(frozen=True)
class Question:
    """What is asked about a photograph.

    Args:
        method (str): One of the session's.
        layer (str): The target layer; empty for the method's own.
        score_thr (float): Objects have a larger score.
    """
    method: str
    layer: str
    score_thr: float


@dataclass(frozen=True)
class Kept:
    """A photograph that was explained.

    Args:
        content (bytes): Its file, to be explained again.
        photo (Photo): What methods say about its objects.
        score_thr (float): Its objects have a larger score.
    """
    content: bytes
    photo: Photo
    score_thr: float


class Session:
    """Explains photographs, and keeps them for the page.

    Args:
        detector (nn.Module): The detector.
        methods (Mapping): Methods that can be chosen, by their names.
        selection (Selection): Which objects are explained, unless a question
            has another threshold.
        title (str): Of the page.
        settings (Mapping): What makes the maps, by name, for people to read.
        most (int): How many photographs are kept.
        prompt (Prompt, optional): What a text-prompted detector is to look
            for in all photographs.

    Raises:
        ValueError: If a text is missing, or not taken, a method cannot explain
            the detector, or its test pipeline reads files in a way of its own.
    """

    def __init__(self,
                 detector: nn.Module,
                 methods: Mapping[str, Explainer],
                 selection: Selection,
                 title: str = 'Why this object?',
                 settings: Mapping[str, str] | None = None,
                 most: int = 50,
                 prompt: Prompt | None = None) -> None:
        check_prompt(detector, prompt)
        self.detector = detector
        self.prompt = prompt
        self.methods = dict(methods)
        self.selection = selection
        self.title = title
        self.settings = dict(settings or {})
        self.most = most
        self.class_names: Sequence[str] = class_names(detector)
        self.pipeline = image_pipeline(detector)
        self.kept: list[Kept] = []
        self.explained = 0
        check_explainable(detector, list(self.methods.values()))
        if not self.pipeline.reads_files:
            raise ValueError(
                'the config\'s test pipeline loads images in a way of its '
                'own, from files, and photographs of the page are none: let '
                'it begin with LoadImageFromFile')

    def empty_report(self) -> Report:
        """Return the report about no photograph."""
        return Report(self.title, self.class_names, self.settings)

    def report(self) -> Report:
        """Return the report about all photographs that are kept."""
        report = self.empty_report()
        for kept in list(self.kept):
            report.add(kept.photo)
        return report

    def check_question(self, question: Question) -> None:
        """Raise a RefusedError for a method that there is not."""
        if question.method not in self.methods:
            raise RefusedError(
                400, f'there is no method {question.method!r}, but '
                f'{", ".join(self.methods)}')

    def check_room(self) -> None:
        """Raise a RefusedError if no photograph can be kept."""
        if len(self.kept) >= self.most:
            raise RefusedError(
                409, f'{len(self.kept)} photographs are kept, which is the '
                'most (--max-photos): press Clear, and begin anew')

    def photo_at(self, number: int) -> Kept:
        """Return a photograph that is kept.

        Raises:
            RefusedError: If there is none of that number.
        """
        if not 0 <= number < len(self.kept):
            raise RefusedError(404, 'the photograph is not kept any more: '
                               'drop it again')
        return self.kept[number]

    def clear(self) -> None:
        """Forget all photographs."""
        self.kept = []

    def explain(self, name: str, content: bytes, question: Question,
                check: Callable[[], None]) -> dict[str, Any]:
        """Explain a new photograph, and keep it.

        Args:
            name (str): For people to read.
            content (bytes): The image's file.
            question (Question): What is asked.
            check (Callable): Is called between steps; it may raise.

        Returns:
            dict: What the page is told, ready for JSON.
        """
        kept = self.kept
        start = time.perf_counter()
        photo = self.add_method(content, question, check, name=unique_name(
            plain_name(name), [one.photo.name for one in kept]))
        self.check_room()
        kept.append(Kept(content, photo, question.score_thr))
        return self.answer(kept, len(kept) - 1, question, start)

    def explain_again(self, number: int, question: Question,
                      check: Callable[[], None]) -> dict[str, Any]:
        """Explain a photograph that is kept, by one more method. With another
        threshold its objects are others, and it is begun anew.

        Args:
            number (int): Which photograph.
            question (Question): What is asked.
            check (Callable): Is called between steps; it may raise.

        Returns:
            dict: What the page is told, ready for JSON.
        """
        kept = self.kept
        start = time.perf_counter()
        old = self.photo_at(number)
        photo = old.photo
        same = question.score_thr == old.score_thr
        names = [method['name'] for method in photo.methods]
        if not same or self.name_of(question) not in names:
            photo = self.add_method(old.content, question, check,
                                    photo if same else None, photo.name)
        kept[number] = replace(old, photo=photo, score_thr=question.score_thr)
        return self.answer(kept, number, question, start)

    def add_method(self, content: bytes, question: Question,
                   check: Callable[[], None], photo: Photo | None = None,
                   name: str = '') -> Photo:
        """Return a photograph with what one more method says of it; the
        given one is left as it is."""
        check_complete(content, name)
        check()
        image = self.pipeline(name, content, self.prompt)
        check()
        if photo is None:
            photo = Photo(name, image.picture)
        else:
            photo = copy.copy(photo)
            photo.methods, photo.cells = [*photo.methods], [*photo.cells]
        (explanation, ) = explain_image(
            self.detector, image.batch, 0, [self.method(question)],
            replace(self.selection, score_thr=question.score_thr),
            by_output=True)
        check()
        photo.add(self.name_of(question), explanation)
        self.class_names = label_names(explanation.sample, self.class_names)
        check()
        return photo

    def answer(self, kept: list[Kept], number: int, question: Question,
               start: float) -> dict[str, Any]:
        """Return what the page is told of a photograph: its description, what
        the page carries beside it, named as of a first photograph, and what
        people read."""
        self.explained += 1
        report = self.empty_report()
        report.add(kept[number].photo)
        return dict(
            number=number,
            photo=report.photos[0],
            payloads=report.payloads,
            method=self.name_of(question),
            seconds=time.perf_counter() - start,
            first=self.explained == 1)

    def method(self, question: Question) -> Explainer:
        """Build the method that is asked for."""
        method = self.methods[question.method]
        if not self.takes(question):
            return method
        (built, ) = build_explainers(
            {question.method: as_config(method)},
            target_layer=question.layer).values()
        return built

    def takes(self, question: Question) -> bool:
        """Whether the layer that is asked for is another than the method's
        own."""
        method = self.methods[question.method]
        return method.target_layer is not None and question.layer not in (
            '', method.target_layer)

    def name_of(self, question: Question) -> str:
        """Return the name of what is asked for in the list of methods."""
        return f'{question.method}, {question.layer}' \
            if self.takes(question) else question.method

    def layers(self) -> list[str]:
        """Return target layers that people may try, of the many that there
        are."""
        model = unwrapped(self.detector)
        names = []
        for part in 'neck', 'backbone', 'encoder':
            module = getattr(model, part, None)
            if isinstance(module, nn.Module):
                names += [part, *(f'{part}.{name}' for name in stages(module))]
        return names


def stages(module: nn.Module) -> list[str]:
    """Return the names of the parts of a module that are made of parts
    themselves; of a list, which is never run as a whole, its own."""
    names = []
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            names += [f'{name}.{index}' for index in range(len(child))]
        elif any(True for _ in child.children()):
            names.append(name)
    return names


def unique_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that no other photograph has, with a number if need be.

    >>> unique_name('a.png', ['a.png', 'a.png (2)'])
    'a.png (3)'
    """
    numbered = (f'{name} ({number})' for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def sentence(error: Exception) -> str:
    """Return what an error says, in one line and without the paths of this
    machine."""
    return re.sub(r'(?<![\w.:/])/(?:[^\s/:\'"]+/)*([^\s/:\'",;)]+)',
                  lambda match: PurePath(match[0]).name, first_line(error))

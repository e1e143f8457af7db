# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What a run over images leaves behind: one class for each kind of result."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..explainers import Explainer
from ..explainers.engine import Explanation, PhraseSelection, Selection
from ..explainers.explainer import method_text
from ..io.files import printable, save_maps
from ..report import Photo, Report
from ..visualization.figure import (
    DEFAULT_STYLE,
    FigureStyle,
    explanations_drawing,
    label_names,
)
from .each_image import writable_folder


@dataclass(frozen=True)
class Run:
    """What all images of a run have in common.

    Args:
        out (Path): The folder of the results.
        detector (str): The detector's name.
        class_names (list[str]): The name of each label.
        methods (Mapping): The methods by their names.
        selection (Selection): Which detections are explained.
        save_maps (bool): Whether the maps themselves are written.
        paths (Sequence[str]): The paths or URLs of all images.
    """
    out: Path
    detector: str
    class_names: list[str]
    methods: Mapping[str, Explainer]
    selection: Selection
    save_maps: bool = False
    paths: Sequence[str] = ()

    def folder(self, method: str) -> Path:
        """Return the folder of a method's files; of one method alone, that of
        all results."""
        return self.out / (method * (len(self.methods) > 1))

    def make_folders(self, kind: str) -> None:
        """Make a folder of each method for one kind of files.

        Raises:
            OSError: If nothing can be written there.
        """
        for method in self.methods:
            writable_folder(self.folder(method) / kind)

    def caption(self, path: str, method: str) -> list[str]:
        """Say what made a picture, in lines."""
        return caption(self.detector, method, path, self.selection,
                       self.methods[method])


@dataclass(frozen=True)
class ExplainedImage:
    """An image of a run.

    Args:
        path (str): Its path or URL.
        name (str): What its files are called, without an ending.
        picture (np.ndarray): uint8 BGR, shape (H, W, 3).
    """
    path: str
    name: str
    picture: np.ndarray


class ResultWriter:
    """Writes one kind of result of a run over images.

    :func:`~mmdet_diffmap.apis.explain_files` calls :meth:`begin` once, then
    for each image :meth:`add` with each method and :meth:`end_image`, and
    :meth:`finish` when the run ends, also if it is interrupted. An image that
    fails half way is not ended. A writer of one's own overrides what it needs.
    """
    #: Whether explanations keep the maps of each output on the detector's
    #: grids.
    by_output = False

    def begin(self, run: Run) -> None:
        """Get ready, before the first image.

        Args:
            run (Run): What all images have in common.

        Raises:
            OSError: If nothing can be written.
        """

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        """Take what a method says about an image; its maps need not be kept.

        Args:
            image (ExplainedImage): The image.
            method (str): The name of the method.
            explanation (Explanation): The objects with their maps.
        """

    def end_image(self, image: ExplainedImage) -> str:
        """Take note that all methods were added; return what to print of the
        image, such as the name of a file."""
        return ''

    def finish(self, failures: Mapping[str, str]) -> None:
        """Write what is about all images that were ended.

        Args:
            failures (Mapping): For each image that failed, the reason.
        """


class PictureWriter(ResultWriter):
    """Writes ``vis/NAME.png``, or another format: a row for each object.

    Args:
        style (FigureStyle): How pictures look.
    """

    def __init__(self, style: FigureStyle = DEFAULT_STYLE) -> None:
        self.style = style

    def begin(self, run: Run) -> None:
        self.run = run
        run.make_folders('vis')

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        explanations_drawing(
            image.picture[..., ::-1].copy(),
            explanation.sample.pred_instances,
            label_names(explanation.sample, self.run.class_names),
            style=self.style, caption=self.run.caption(image.path, method)
        ).save(self.run.folder(method) / self._file(image))

    def end_image(self, image: ExplainedImage) -> str:
        methods = self.run.methods
        # as a shell names several files
        folder = self.run.out / ('{' + ','.join(methods) + '}') \
            if len(methods) > 1 else self.run.out
        return str(folder / self._file(image))

    def _file(self, image: ExplainedImage) -> str:
        return f'vis/{image.name}.{self.style.format}'


class MapWriter(ResultWriter):
    """Writes ``maps/NAME.npz``; see
    :func:`~mmdet_diffmap.io.files.save_maps`."""

    def begin(self, run: Run) -> None:
        self.run = run
        run.make_folders('maps')

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        save_maps(explanation.sample,
                  label_names(explanation.sample, self.run.class_names),
                  self.run.folder(method) / maps_file(image))


class ReportWriter(ResultWriter):
    """Writes ``report.html``, the page that shows all images.

    Args:
        report (Report): The page. Several detectors fill it one after the
            other, each by a writer and a run of its own.
        detector (str): What the page calls the detector, needed of several.
        path (Path, optional): The file. Defaults to ``report.html`` in the
            folder of the results.
    """
    by_output = True

    def __init__(self, report: Report, detector: str = '',
                 path: Path | None = None) -> None:
        self.report = report
        self.detector = detector
        self.path = path

    def begin(self, run: Run) -> None:
        self.run = run
        self.path = self.path or run.out / 'report.html'
        self.image: ExplainedImage | None = None

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        if image is not self.image:
            self.image = image
            self.photo = Photo(image.path, image.picture)
            self.class_names = label_names(explanation.sample,
                                           self.run.class_names)
        self.photo.add(method, explanation)

    def end_image(self, image: ExplainedImage) -> str:
        self.report.add(self.photo, self.detector,
                        self.report.class_names or self.class_names)
        return ''

    def finish(self, failures: Mapping[str, str]) -> None:
        assert self.path is not None  # a run has begun
        self.report.save(self.path, failures, self.run.paths, self.detector)


def maps_file(image: ExplainedImage) -> str:
    """Return the file of an image's maps, in the folder of a method."""
    return f'maps/{image.name}.npz'


def caption(detector: str, name: str, path: str, selection: Selection,
            method: Explainer) -> list[str]:
    """Say what made a picture, in lines.

    >>> from mmdet_diffmap.explainers import ODAM
    >>> caption('fcos', 'odam', 'a.jpg', Selection(0.4), ODAM(extents=True))
    ['fcos · odam', 'a.jpg · score > 0.4 · ODAM(extents=True)']
    """
    return [f'{detector} · {name}',
            ' · '.join([printable(path), selection_text(selection),
                        method_text(method)])]


def selection_text(selection: Selection) -> str:
    """Say which detections are explained.

    >>> selection_text(Selection(0.3, 5))
    'score > 0.3, the best 5'
    """
    text = f'score > {selection.score_thr:g}' + (
        '' if selection.max_objects is None else
        f', the best {selection.max_objects}')
    return f'phrases of object {selection.object_index} ({text})' \
        if isinstance(selection, PhraseSelection) else text

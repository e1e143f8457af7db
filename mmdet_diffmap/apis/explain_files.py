# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining many image files, with results on disk."""
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from ..explainers import Explainer, ExplainerLike, build_explainer
from ..explainers.engine import (
    DEFAULT_SELECTION,
    Selection,
    check_explainable,
    explain_image,
)
from ..explainers.explainer import method_name
from ..report import Report
from .each_image import check_folder_names, each_image, writable_folder
from .image_pipeline import image_pipeline
from .loading import class_names, detector_name
from .prompt import Prompt, PromptLike, check_prompt
from .result_writers import (
    ExplainedImage,
    MapWriter,
    PictureWriter,
    ReportWriter,
    ResultWriter,
    Run,
)


def explain_files(model: nn.Module,
                  paths: Sequence[str],
                  out_dir: str | os.PathLike = 'outputs',
                  explainers: ExplainerLike
                  | Mapping[str, ExplainerLike] = 'ODAM',
                  selection: Selection = DEFAULT_SELECTION,
                  save_npz: bool = False,
                  report: Report | None = None,
                  writers: Sequence[ResultWriter] | None = None,
                  prompt: PromptLike = None
                  ) -> dict[str, str]:
    """Explain image files one after the other.

    Writes ``OUT_DIR/vis/NAME.png`` (see :func:`draw_explanations`) and, with
    ``save_npz``, ``OUT_DIR/maps/NAME.npz`` (see :func:`save_maps`), of several
    methods into ``OUT_DIR/METHOD``; with a report, ``OUT_DIR/report.html``.
    Other writers take the place of the pictures. Prints a line an image. An
    image that fails does not stop the others; one that fails with one of the
    methods is not in the report.

    Args:
        model (nn.Module): The detector.
        paths (Sequence[str]): Paths or URLs of the images.
        out_dir (str | PathLike): Folder of the results.
        explainers (ExplainerLike | Mapping): The method, see
            :func:`explain`; or several by their names.
        selection (Selection): Which detections are explained.
        save_npz (bool): Whether to write the maps themselves.
        report (Report, optional): The page that shows all of it; it is
            written when the run ends, in whatever way.
        writers (Sequence[ResultWriter], optional): What else is written.
            Defaults to pictures, ``[PictureWriter()]``.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.

    Returns:
        dict: For each image that failed, the reason.

    Raises:
        OSError: If nothing can be written into ``out_dir``.
        ValueError: If the explainer or its target layer does not exist, or a
            text is missing, or not taken.
    """
    methods = {
        name: build_explainer(explainer)
        for name, explainer in by_name(explainers).items()
    }
    asked = Prompt.of(prompt)
    check_prompt(model, asked)  # before the work
    check_explainable(model, list(methods.values()))
    check_folder_names(methods)
    every: list[ResultWriter] = [
        *([PictureWriter()] if writers is None else writers),
        *[MapWriter()] * save_npz,
        *([] if report is None else [ReportWriter(report)])]
    run = Run(writable_folder(Path(out_dir)), detector_name(model),
              class_names(model), methods, selection,
              any(isinstance(writer, MapWriter) for writer in every), paths)
    for writer in every:
        writer.begin(run)
    by_output = any(writer.by_output for writer in every)
    pipeline = image_pipeline(model)

    def work(path: str, name: str) -> str:
        loaded = pipeline(path, prompt=asked)
        image = ExplainedImage(path, name, loaded.picture)
        count = 0
        for method, explanation in zip(methods, explain_image(
                model, loaded.batch, 0, list(methods.values()), selection,
                by_output)):
            for writer in every:
                writer.add(image, method, explanation)
            count = len(explanation.sample.pred_instances)
        places = [writer.end_image(image) for writer in every]
        return ', '.join([f'{count} object{"s" * (count != 1)}',
                          *filter(None, places)])

    failures: dict[str, str] = {}
    with ExitStack() as stack:  # all are finished, whatever happens
        for writer in reversed(every):
            stack.callback(writer.finish, failures)
        each_image(paths, work, failures)
    return failures


def by_name(explainers: ExplainerLike
            | Mapping[str, ExplainerLike]) -> Mapping[str, ExplainerLike]:
    """Return several methods by their names; one alone is called after its
    type."""
    if isinstance(explainers, (str, Explainer)) or 'type' in explainers:
        explainer: Any = explainers
        built = build_explainer(explainer)
        return {method_name(type(built)): built}
    return explainers

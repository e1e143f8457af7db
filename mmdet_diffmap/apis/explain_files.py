# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining many image files, with pictures and maps on disk."""
import os
from collections.abc import Mapping, Sequence
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
from ..io.files import save_maps, save_picture
from ..report import Photo, Report
from ..visualization import draw_explanations
from .each_image import check_folder_names, each_image, writable_folder
from .image_pipeline import image_pipeline
from .loading import class_names


def explain_files(model: nn.Module,
                  paths: Sequence[str],
                  out_dir: str | os.PathLike = 'outputs',
                  explainers: ExplainerLike
                  | Mapping[str, ExplainerLike] = 'ODAM',
                  selection: Selection = DEFAULT_SELECTION,
                  save_npz: bool = False,
                  report: Report | None = None) -> dict[str, str]:
    """Explain image files one after the other.

    Writes ``OUT_DIR/vis/NAME.png`` (see :func:`draw_explanations`) and, with
    ``save_npz``, ``OUT_DIR/maps/NAME.npz`` (see :func:`save_maps`), of several
    methods into ``OUT_DIR/METHOD``; with a report, ``OUT_DIR/report.html``.
    Prints a line an image. An image that fails does not stop the others; one
    that fails with one of the methods is not in the report.

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

    Returns:
        dict: For each image that failed, the reason.

    Raises:
        OSError: If nothing can be written into ``out_dir``.
        ValueError: If the explainer or its target layer does not exist.
    """
    methods = {
        name: build_explainer(explainer)
        for name, explainer in by_name(explainers).items()
    }
    check_explainable(model, list(methods.values()))  # before the work
    check_folder_names(methods)
    out = writable_folder(Path(out_dir))
    folders = {name: out / (name * (len(methods) > 1)) for name in methods}
    for folder in folders.values():
        for kind in ('vis', 'maps') if save_npz else ('vis', ):
            writable_folder(folder / kind)
    names = class_names(model)
    pipeline = image_pipeline(model)
    # as a shell names several files
    pictures = out / ('{' + ','.join(methods) + '}') / 'vis' \
        if len(methods) > 1 else out / 'vis'

    def work(path: str, name: str) -> str:
        image = pipeline(path)
        photo = Photo(path, image.picture)
        count = 0
        for method, explanation in zip(methods, explain_image(
                model, image.batch, 0, list(methods.values()), selection,
                by_output=report is not None)):
            sample = explanation.sample
            picture = draw_explanations(image.picture[..., ::-1].copy(),
                                        sample.pred_instances, names)
            save_picture(picture, folders[method] / f'vis/{name}.png')
            if save_npz:
                save_maps(sample, names, folders[method] / f'maps/{name}.npz')
            if report is not None:
                photo.add(method, explanation)
            count = len(sample.pred_instances)
        if report is not None:
            report.add(photo)
        return f'{count} object{"s" * (count != 1)}, {pictures / name}.png'

    failures: dict[str, str] = {}
    try:
        each_image(paths, work, failures)
    finally:
        if report is not None:
            report.save(out / 'report.html', failures)
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

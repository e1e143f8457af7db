# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining many image files, with pictures and maps on disk."""
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..detector import DetectorAdapter
from ..explainers import ExplainerLike, build_explainer
from ..files import save_maps, save_picture
from ..visualization import draw_explanations
from .detector import class_names
from .each_image import each_image, writable_folder
from .explain import explain_batch, single_batch
from .images import read_image


def explain_files(model: nn.Module,
                  paths: Sequence[str],
                  out_dir: str | os.PathLike = 'outputs',
                  explainer: ExplainerLike = 'ODAM',
                  score_thr: float = 0.3,
                  max_objects: int | None = None,
                  save_npz: bool = False) -> dict[str, str]:
    """Explain image files one after the other.

    Writes ``OUT_DIR/vis/NAME.png`` (see :func:`draw_explanations`) and, with
    ``save_npz``, ``OUT_DIR/maps/NAME.npz`` (see :func:`save_maps`); prints a
    line an image. An image that fails does not stop the others.

    Args:
        model (nn.Module): The detector.
        paths (Sequence[str]): Paths or URLs of the images.
        out_dir (str | PathLike): Folder of the results.
        explainer, score_thr, max_objects: See :func:`explain`.
        save_npz (bool): Whether to write the maps themselves.

    Returns:
        dict: For each image that failed, the reason.

    Raises:
        OSError: If nothing can be written into ``out_dir``.
        ValueError: If the explainer or its target layer does not exist.
    """
    explainer = build_explainer(explainer)
    # raises before the work
    DetectorAdapter(model, explainer.target_layer, explainer.statistics)
    out = writable_folder(Path(out_dir))
    for folder in ('vis', 'maps') if save_npz else ('vis', ):
        writable_folder(out / folder)
    names = class_names(model)

    def work(path: str, name: str) -> str:
        image = read_image(path)
        sample = explain_batch(model, single_batch(model, path), 0, explainer,
                               score_thr, max_objects)
        picture = draw_explanations(image[..., ::-1].copy(),
                                    sample.pred_instances, names)
        save_picture(picture, out / 'vis' / f'{name}.png')
        if save_npz:
            save_maps(sample, names, out / 'maps' / f'{name}.npz')
        count = len(sample.pred_instances)
        return f'{count} object{"s" * (count != 1)}, {out / "vis" / name}.png'

    return each_image(paths, work)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining many image files, with pictures and maps on disk."""
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from torch import nn

from ..detector import DetectorAdapter
from ..explainers import ExplainerLike, build_explainer
from ..files import save_maps, save_picture
from ..visualization import draw_explanations
from .detector import class_names
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
    failures: dict[str, str] = {}
    console = Console(highlight=False, soft_wrap=True)
    with Progress(console=console, transient=True) as progress:
        for path, name in progress.track(
                list(zip(paths, result_names(paths))),
                description='explaining'):
            start = time.perf_counter()
            try:
                image = read_image(path)
                sample = explain_batch(model, single_batch(model, path), 0,
                                       explainer, score_thr, max_objects)
                picture = draw_explanations(image[..., ::-1].copy(),
                                            sample.pred_instances, names)
                save_picture(picture, out / 'vis' / f'{name}.png')
                if save_npz:
                    save_maps(sample, names, out / 'maps' / f'{name}.npz')
            except (OSError, ValueError, ArithmeticError, RuntimeError,
                    MemoryError) as error:
                failures[path] = str(error)
                console.print(
                    printable(f'{path}: failed: {error}'), markup=False)
                continue
            count = len(sample.pred_instances)
            console.print(
                printable(f'{path}: {count} object{"s" * (count != 1)}, '
                          f'{time.perf_counter() - start:.1f} s, '
                          f'{out / "vis" / name}.png'),
                markup=False)
    return failures


def printable(text: str) -> str:
    """The text without the bytes of file names that are no text."""
    return os.fsencode(text).decode('utf-8', 'replace')


def writable_folder(folder: Path) -> Path:
    """The folder, made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f'output folder {folder} cannot be made: '
                      f'{error.strerror}') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f'output folder {folder} cannot be written to')
    return folder


def result_names(paths: Sequence[str]) -> list[str]:
    """A file name for the results of each image: its own without the
    extension; where two would be the same, the whole path in one word, and a
    number where those are the same too."""
    stems = [Path(path).stem for path in paths]
    count = Counter(stems)
    names: list[str] = []
    for path, stem in zip(paths, stems):
        word = path.replace('://', '_').replace(os.sep, '_').replace('.', '_')
        name = base = stem if count[stem] == 1 else word
        number = 2
        while name in names:
            name, number = f'{base}_{number}', number + 1
        names.append(name)
    return names

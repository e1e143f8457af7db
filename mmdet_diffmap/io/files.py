# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Writing results: a file is there whole, or not at all."""
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

DPI = 300  # of figures that are printed


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file beside ``path`` that takes its place when the context ends
    well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with open(handle, 'wb') as file:
            yield file
        os.chmod(name, 0o666 & ~current_umask())  # mkstemp's are private
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def printable(name: str) -> str:
    """Return a file's name without those of its bytes that are no text."""
    return os.fsencode(name).decode('utf-8', 'replace')


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write an RGB picture, uint8 (H, W, 3), in the format of the path's
    ending; as PNG if it has none that is known."""
    kind = Image.registered_extensions().get(path.suffix.lower(), 'PNG')
    with replacing(path) as file:
        Image.fromarray(picture).save(
            file, format=kind, compress_level=4, quality=95)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure of matplotlib as it goes into a paper: as ``PATH.pdf``,
    with its letters as text, and as ``PATH.png`` with 300 dots an inch.

    Args:
        figure (Figure): The figure.
        path (Path): The path of both files, without an ending.
    """
    # type 42 are fonts that publishers take; the date would change a file
    # that is otherwise the same
    with matplotlib.rc_context({'pdf.fonttype': 42, 'ps.fonttype': 42}):
        for kind, metadata in ('pdf', {'CreationDate': None}), ('png', {}):
            with replacing(path.with_name(f'{path.name}.{kind}')) as file:
                figure.savefig(file, format=kind, dpi=DPI, metadata=metadata)


#: The fields of results that are maps.
MAPS = ('heatmaps', 'difference_maps', 'evidence_maps')


def save_maps(sample: DetDataSample, class_names: Sequence[str],
              path: Path) -> None:
    """Write the result of :func:`~mmdet_diffmap.explain` as a ``.npz`` file.

    It holds, in pixels of the original image and without pickled objects:
    ``boxes`` (N, 4) float32, last dim (x1, y1, x2, y2), ``scores`` (N, )
    float32, ``labels`` (N, ) int64, indices into ``class_names``,
    ``heatmaps`` (N, H, W) float16 in [0, 1], and ``difference_maps`` and
    ``evidence_maps`` (N, H, W) float16, signed in [-1, 1], where there are
    such maps. Of a text-prompted detector also ``caption``, the text,
    ``word_spans`` (W, 2) int64, where its words stand in it, and
    ``word_values`` (N, W) float32, what each counts.
    """
    instances = sample.pred_instances.cpu().numpy()
    with replacing(path) as file:
        np.savez_compressed(
            file,
            boxes=instances.bboxes.astype(np.float32),
            scores=instances.scores.astype(np.float32),
            labels=instances.labels.astype(np.int64),
            class_names=np.array(class_names, dtype=str),
            **{name: instances[name].astype(np.float16)
               for name in MAPS
               if name in instances},
            **word_arrays(instances))


def word_arrays(instances: InstanceData) -> dict[str, Any]:
    """Return what each word of a text counts for objects, as arrays; nothing
    where there is no text, or no object."""
    words = instances.get('words')
    if not words:
        return {}
    return dict(
        caption=np.array(words[0].caption),
        word_spans=np.array(words[0].spans, np.int64).reshape(-1, 2),
        word_values=np.array([each.values for each in words], np.float32))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining why two objects of an image are two, and not one."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from ..explainers import ExplainerLike
from ..explainers.engine import (
    DEFAULT_SELECTION,
    Selection,
    as_difference,
    check_explainable,
    explain_image,
)
from ..maps.separation import separation_map
from ..tracing.trace import Trace
from ..visualization.figure import DEFAULT_STYLE, FigureStyle, label_names
from ..visualization.pair_figure import pair_drawing
from .each_image import each_image, writable_folder
from .explain import Image
from .image_pipeline import image_pipeline
from .loading import class_names, detector_name
from .prompt import Prompt, PromptLike, check_prompt
from .result_writers import caption

#: The method whose heat maps of two objects tell best what keeps them apart:
#: each output counts as much as the others, and pushes its side outward.
SEPARATION: dict[str, Any] = dict(
    type='ODAM', normalize_outputs=True, extents=True)


def explain_pair(model: nn.Module,
                 image: Image,
                 first: int,
                 second: int,
                 explainer: ExplainerLike = SEPARATION,
                 selection: Selection = DEFAULT_SELECTION,
                 prompt: PromptLike = None) -> InstanceData:
    """Explain why two objects of an image are two, and not one.

    Args:
        model (nn.Module): The detector.
        image (str | PathLike | np.ndarray): See
            :func:`~mmdet_diffmap.explain`.
        first, second (int): The objects, as numbered in the results and
            pictures of :func:`~mmdet_diffmap.explain`.
        explainer (ExplainerLike): The method of heat maps.
        selection (Selection): Which detections are objects.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.

    Returns:
        InstanceData: Both objects: ``bboxes`` (2, 4), last dim (x1, y1, x2,
        y2) in pixels of the original image, ``scores`` (2, ), ``labels``
        (2, ), ``heatmaps`` (2, H, W) in [0, 1], ``difference_maps`` (2, H, W),
        of each against the other, in [-1, 1], and ``separation_maps`` (2, H,
        W) in [0, 1]: twice what both have in common.

    Raises:
        OSError: If the image cannot be read.
        ValueError: If there are no such two objects.

    Example:
        >>> from mmdet_diffmap import explain_pair, load_detector
        >>> model = load_detector('mmdet_diffmap::demo/fcos_pairs.py')
        >>> pair = explain_pair(model, 'pairs://0/1', 0, 1)
        >>> pair.separation_maps.shape
        torch.Size([2, 192, 192])
    """
    asked = Prompt.of(prompt)
    check_prompt(model, asked)
    batch = image_pipeline(model)(image, prompt=asked).batch
    pair: InstanceData = pair_of(model, batch, first, second, explainer,
                                 selection).pred_instances
    return pair


def pair_of(model: nn.Module, batch: dict, first: int, second: int,
            explainer: ExplainerLike,
            selection: Selection) -> DetDataSample:
    """Explain two objects of a batch of one image; see
    :func:`explain_pair`."""
    check_pair(first, second)

    def both(trace: Trace) -> Trace:
        objects = selection(trace)
        for number in first, second:
            if not 0 <= number < len(objects):
                raise ValueError(f'there is no object {number}: the detector '
                                 f'finds {len(objects)}, counted from 0')
        return objects.select([first, second])

    (explanation, ) = explain_image(model, batch, 0, [explainer], both)
    pair = explanation.sample.pred_instances
    pair.separation_maps = separation_map(*pair.heatmaps).expand(2, -1, -1)
    return explanation.sample


def check_pair(first: int, second: int) -> None:
    """Raise a ValueError for one object twice."""
    if first == second:
        raise ValueError(f'object {first} twice is no pair: give two objects')


def pair_files(model: nn.Module,
               paths: Sequence[str],
               first: int,
               second: int,
               out_dir: str | os.PathLike = 'outputs',
               explainer: ExplainerLike = SEPARATION,
               selection: Selection = DEFAULT_SELECTION,
               style: FigureStyle = DEFAULT_STYLE,
               prompt: PromptLike = None) -> dict[str, str]:
    """Explain why two objects of each image are two, and not one.

    Writes ``OUT_DIR/pair/NAME.png``, or another format; see
    :func:`~mmdet_diffmap.visualization.pair_figure.draw_pair`.

    Args:
        model (nn.Module): The detector.
        paths (Sequence[str]): Paths or URLs of the images.
        first, second (int): The objects; see :func:`explain_pair`.
        out_dir (str | PathLike): Folder of the results.
        explainer (ExplainerLike): The method of heat maps.
        selection (Selection): Which detections are objects.
        style (FigureStyle): The format; such a figure always shows the part
            of the image around both objects.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.

    Returns:
        dict: For each image that failed, the reason.

    Raises:
        OSError: If nothing can be written into ``out_dir``.
        ValueError: If both objects are one, or the method does not exist.
    """
    check_pair(first, second)
    method = as_difference(explainer)
    asked = Prompt.of(prompt)
    check_prompt(model, asked)
    check_explainable(model, [method])
    folder = writable_folder(Path(out_dir, 'pair'))
    names = class_names(model)
    pipeline = image_pipeline(model)

    def work(path: str, name: str) -> str:
        image = pipeline(path, prompt=asked)
        sample = pair_of(model, image.batch, first, second, method, selection)
        file = folder / f'{name}.{style.format}'
        pair_drawing(
            image.picture[..., ::-1].copy(), sample.pred_instances,
            (first, second), label_names(sample, names),
            style, caption(detector_name(model), f'objects {first} and '
                           f'{second}', path, selection, method.explainer)
        ).save(file)
        return str(file)

    return each_image(paths, work)

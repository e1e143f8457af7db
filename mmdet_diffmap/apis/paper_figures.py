# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The paper's figures of maps, of any images and detectors."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from mmengine.structures import InstanceData
from torch import nn

from ..explainers import ExplainerLike, build_explainer
from ..explainers.engine import (
    DEFAULT_SELECTION,
    PhraseSelection,
    Selection,
    check_explainable,
    explain_image,
)
from ..explainers.paper_names import paper_name
from ..visualization.figure import HEATMAP, IMAGE, label_name, label_names
from ..visualization.lines import COLUMN, PAGE
from ..visualization.paper_figure import COLUMNS, Block, MapRow, draw_blocks
from .compare_files import Comparison
from .image_pipeline import image_pipeline
from .loading import class_names
from .prompt import Prompt, PromptLike, check_prompt


def comparison_figure(models: Mapping[str, nn.Module],
                      paths: Sequence[str],
                      objects: Sequence[int] = (0, ),
                      explainers: Mapping[str, ExplainerLike] | None = None,
                      selection: Selection = DEFAULT_SELECTION,
                      width: float = PAGE,
                      prompt: PromptLike = None) -> Figure:
    """Draw one object of each image as several detectors, or several methods,
    see it: the paper's Fig. 2 and Fig. 4.

    Each detector or method is a block: a row for each image, with the heat
    map, the difference map and its positive part; of a detector that is asked
    with a text, what each word counts is below.

    Args:
        models (Mapping): The detectors by the names that they get in the
            figure.
        paths (Sequence[str]): Paths or URLs of the images.
        objects (Sequence[int]): Which detection of the first detector, of
            each image, or one number for all; see
            :func:`~mmdet_diffmap.apis.compare_files`.
        explainers (Mapping, optional): The methods by their names. Defaults
            to ODAM.
        selection (Selection): Which detections are explained.
        width (float): Of the figure, in inches. One as wide as a page has two
            blocks beside each other.
        prompt (Prompt | str | Sequence[str], optional): What text-prompted
            detectors are to look for.

    Raises:
        ValueError: If an image has no such object, or as
            :func:`~mmdet_diffmap.apis.compare_files`.
        OSError: If an image cannot be read.
    """
    comparison = Comparison(models, explainers, selection, prompt)
    if len(objects) not in (1, len(paths)):
        raise ValueError(f'{len(objects)} objects for {len(paths)} images: '
                         'give one number for each image, or one for all')
    numbers = list(objects) * (len(paths) if len(objects) == 1 else 1)
    rows: dict[tuple[str, str], list[MapRow]] = {}
    for path, number in zip(paths, numbers):
        compared = comparison(path, number)
        for model, method, instances in compared.rows:
            found = len(instances) > 0
            label = object_label(compared.class_name, instances, 0) \
                if found else compared.class_name
            rows.setdefault((model, method), []).append(
                MapRow(label, compared.picture, instances,
                       0 if found else None))
    blocks = [Block(f'({chr(ord("a") + number)}) '
                    f'{comparison.title(model, paper_name(method))}', own)
              for number, ((model, method), own) in enumerate(rows.items())]
    methods = list(comparison.methods)
    columns = COLUMNS | ({HEATMAP: paper_name(methods[0])}
                         if len(methods) == 1 else {})
    return draw_blocks(blocks, columns, width, 1 if width <= COLUMN else 2)


def objects_figure(model: nn.Module,
                   paths: Sequence[str],
                   objects: Sequence[int] | None = None,
                   explainers: Mapping[str, ExplainerLike] | None = None,
                   selection: Selection = DEFAULT_SELECTION,
                   width: float = COLUMN,
                   prompt: PromptLike = None) -> Figure:
    """Draw objects of images, a row each, with the image, the heat map, the
    difference map and its positive part: the paper's Fig. 3. Of a detector
    that is asked with a text, what each word counts is below.

    Args:
        model (nn.Module): The detector.
        paths (Sequence[str]): Paths or URLs of the images.
        objects (Sequence[int], optional): Which detections of each image, as
            numbered in pictures of
            :func:`~mmdet_diffmap.apis.explain_files`. Defaults to the best
            two, or to all phrases of a
            :class:`~mmdet_diffmap.explainers.engine.PhraseSelection`.
        explainers (Mapping, optional): The method by its name. Defaults to
            ODAM.
        selection (Selection): Which detections are explained.
        width (float): Of the figure, in inches.
        prompt (Prompt | str | Sequence[str], optional): What a text-prompted
            detector is to look for.

    Raises:
        ValueError: If an image has no such object, or an explainer or its
            target layer does not exist.
        OSError: If an image cannot be read.
    """
    (title, explainer), = (explainers or dict(odam='odam')).items()
    method = build_explainer(explainer)
    prompt = Prompt.of(prompt)
    check_prompt(model, prompt)
    check_explainable(model, [method])
    classes = class_names(model)
    best = None if isinstance(selection, PhraseSelection) else 2
    pipeline = image_pipeline(model)
    rows = []
    for path in paths:
        image = pipeline(path, prompt=prompt)
        (explanation, ) = explain_image(model, image.batch, 0, [method],
                                        selection)
        instances = explanation.sample.pred_instances
        names = label_names(explanation.sample, classes)
        for index in (range(len(instances))[:best] if objects is None
                      else objects):
            if index >= len(instances):
                raise ValueError(
                    f'there is no object {index} in {path}: the detector '
                    f'finds {len(instances)}, counted from 0')
            name = label_name(names, int(instances.labels[index]))
            rows.append(MapRow(object_label(name, instances, index),
                               image.picture[..., ::-1].copy(), instances,
                               index))
    if not rows:
        raise ValueError('no object above the score threshold in any image')
    columns = {IMAGE: 'image', **COLUMNS,
               HEATMAP: paper_name(title)}
    return draw_blocks([Block('', rows)], columns, width, 1)


def object_label(name: str, instances: InstanceData, index: int) -> str:
    """Write an object's class and score."""
    return f'{name} {float(instances.scores[index]):.2f}'

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Pictures that compare methods, or detectors, on one object."""
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.ops import box_iou

from ..explainers import ExplainerLike, build_explainer
from ..explainers.engine import (
    DEFAULT_SELECTION,
    Selection,
    check_explainable,
    explain_image,
)
from ..explainers.explainer import method_text
from ..io.files import printable
from ..io.images import read_content
from ..visualization import label_name, label_names
from ..visualization.figure import (
    DEFAULT_STYLE,
    FigureStyle,
    comparison_drawing,
)
from .each_image import each_image, writable_folder
from .image_pipeline import image_pipeline
from .loading import class_names
from .prompt import Prompt, PromptLike, check_prompt
from .result_writers import selection_text

SAME = 0.5  # IoU of two boxes of one object


@dataclass(frozen=True)
class Chosen:
    """The object that is compared: its class and its box (1, 4)."""
    name: str
    box: Tensor

    @classmethod
    def of(cls, instances: InstanceData, index: int,
           names: Sequence[str]) -> 'Chosen':
        if not 0 <= index < len(instances):
            raise ValueError(f'there is no object {index}: the detector finds '
                             f'{len(instances)}, counted from 0')
        chosen = instances[index]
        return cls(
            label_name(names, int(chosen.labels)), chosen.bboxes.cpu())

    def among(self, instances: InstanceData,
              names: Sequence[str]) -> InstanceData:
        """Find the same object in other results: one, or none."""
        overlap = box_iou(self.box, instances.bboxes.cpu())[0]
        same = [label_name(names, int(label)) == self.name
                for label in instances.labels]
        overlap = overlap * overlap.new_tensor(same)
        best = overlap.argsort(descending=True, stable=True)[:1]
        return instances[best[overlap[best] >= SAME].to(
            instances.bboxes.device)]


@dataclass(frozen=True)
class ComparedObject:
    """One object as several methods, or several detectors, see it.

    Args:
        picture (np.ndarray): The image, uint8 RGB, shape (H, W, 3).
        class_name (str): The object's class.
        rows (Sequence): The detector's and the method's name, and the object
            with its maps; none if the detector did not find it.
    """
    picture: np.ndarray
    class_name: str
    rows: Sequence[tuple[str, str, InstanceData]]


class Comparison:
    """Several methods, or several detectors, to be compared on one object of
    each image.

    Args:
        models (Mapping): The detectors by their names.
        explainers (Mapping, optional): The methods by their names. Defaults
            to ODAM.
        selection (Selection): Which detections are explained.
        prompt (Prompt | str | Sequence[str], optional): What text-prompted
            detectors are to look for.

    Raises:
        ValueError: If there is no detector, or an explainer or its target
            layer does not exist.
    """

    def __init__(self, models: Mapping[str, nn.Module],
                 explainers: Mapping[str, ExplainerLike] | None = None,
                 selection: Selection = DEFAULT_SELECTION,
                 prompt: PromptLike = None) -> None:
        if not models:
            raise ValueError('there is no detector to compare')
        self.models = models
        self.selection = selection
        self.prompt = Prompt.of(prompt)
        self.methods = {
            name: build_explainer(explainer)
            for name, explainer in (explainers or dict(odam='odam')).items()
        }
        for model in models.values():  # before the work
            check_prompt(model, self.prompt)
            check_explainable(model, list(self.methods.values()))
        self.names = {name: class_names(model)
                      for name, model in models.items()}
        self.pipelines = {name: image_pipeline(model)
                          for name, model in models.items()}

    def __call__(self, path: str, object_index: int) -> ComparedObject:
        """Explain one object of an image.

        Args:
            path (str): Path or URL of the image.
            object_index (int): Which detection of the first detector; see
                :func:`compare_files`.
        """
        content = read_content(path)
        images = {name: pipeline(path, content, self.prompt)
                  for name, pipeline in self.pipelines.items()}
        first = next(iter(self.models))
        chosen: Chosen | None = None
        rows = []
        for name, model in self.models.items():
            for method, explanation in zip(self.methods, explain_image(
                    model, images[name].batch, 0, list(self.methods.values()),
                    self.selection)):
                instances = explanation.sample.pred_instances
                names = label_names(explanation.sample, self.names[name])
                chosen = chosen or Chosen.of(instances, object_index, names)
                # a copy, so that the maps of all others are not kept
                same = instances[[object_index]] if name == first else \
                    chosen.among(instances, names)
                rows.append((name, method, same))
        assert chosen is not None  # there is a detector, and a method
        return ComparedObject(images[first].picture[..., ::-1].copy(),
                              chosen.name, rows)

    def title(self, model: str, method: str) -> str:
        """Name a detector and a method by what tells them from others."""
        return method if len(self.models) == 1 else \
            model if len(self.methods) == 1 else f'{model}, {method}'


def compare_files(models: Mapping[str, nn.Module],
                  paths: Sequence[str],
                  object_index: int,
                  out_dir: str | os.PathLike = 'outputs',
                  explainers: Mapping[str, ExplainerLike] | None = None,
                  selection: Selection = DEFAULT_SELECTION,
                  style: FigureStyle = DEFAULT_STYLE,
                  prompt: PromptLike = None) -> dict[str, str]:
    """Compare what several methods, or several detectors, say about one
    object of each image (the paper's Fig. 4 and Fig. 2).

    Writes ``OUT_DIR/compare/NAME.png``, or another format (see
    :func:`draw_comparison`), with a row for each detector and method;
    otherwise as :func:`explain_files`.

    Args:
        models (Mapping): The detectors by the names that they get in the
            picture.
        paths (Sequence[str]): Paths or URLs of the images.
        object_index (int): Which detection of the first detector, as numbered
            in the pictures of :func:`explain_files`. In the results of the
            others, it is the detection of the same class that overlaps most
            with it, if its IoU is 0.5 or more.
        out_dir (str | PathLike): Folder of the results.
        explainers (Mapping, optional): The methods by their names. Defaults
            to ODAM.
        selection (Selection): Which detections are explained.
        style (FigureStyle): How the pictures look. All rows are shown.
        prompt (Prompt | str | Sequence[str], optional): What text-prompted
            detectors are to look for.

    Returns:
        dict: For each image that failed, the reason.

    Raises:
        OSError: If nothing can be written into ``out_dir``.
        ValueError: If there is no detector, or an explainer or its target
            layer does not exist.
    """
    comparison = Comparison(models, explainers, selection, prompt)
    folder = writable_folder(Path(out_dir, 'compare'))

    def work(path: str, name: str) -> str:
        compared = comparison(path, object_index)
        file = folder / f'{name}.{style.format}'
        comparison_drawing(
            compared.picture, compared.class_name,
            [(comparison.title(model, method), instances)
             for model, method, instances in compared.rows],
            style, caption(path)).save(file)
        return str(file)

    def caption(path: str) -> list[str]:
        texts = {name: method_text(method)
                 for name, method in comparison.methods.items()}
        options = [*texts.values()] if len(texts) == 1 else [
            f'{name}: {text}' for name, text in texts.items()
            if not text.endswith('()')]
        return [' · '.join(filter(None, [*models,
                                         f'object {object_index}'])),
                ' · '.join([printable(path), selection_text(selection),
                            *options])]

    return each_image(paths, work)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What mmdet's inferencer does to a batch, with explanations."""
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample

from ..explainers import ExplainerLike
from ..explainers.engine import DEFAULT_SELECTION, Selection
from ..io.files import MAPS, replacing, save_maps, save_picture
from ..visualization import draw_explanations
from ..visualization.figure import (
    COLUMNS,
    HEATMAP,
    IMAGE,
    POSITIVE,
    label_names,
)
from .each_image import result_names
from .explain import explain_one
from .image_pipeline import as_picture
from .loading import class_names

#: The columns of a figure for each kind of difference maps.
FIGURES: dict[str, Sequence[str]] = {
    'signed': COLUMNS,
    'positive': (IMAGE, HEATMAP, POSITIVE),
    'none': (IMAGE, HEATMAP),
}


class InferencerStages(DetInferencer):
    """The four stages of an inferencer, one batch at a time: ``preprocess``,
    ``forward``, ``visualize`` and ``postprocess``. Who derives from it says in
    ``__call__`` which images go through them, and how their files are
    called."""

    def preprocess(self,
                   inputs: Sequence,
                   batch_size: int = 1,
                   **kwargs: Any) -> Iterator[tuple[list[np.ndarray], dict]]:
        """Read images, each once, and make batches of them.

        Args:
            inputs (Sequence): Paths, URLs, arrays, or dicts with either and
                with texts.
            batch_size (int): How many images are one batch.

        Yields:
            tuple: The pictures of a batch, uint8 BGR (H, W, 3), and the batch.
        """
        rest = iter(inputs)
        while chunk := list(islice(rest, batch_size)):
            images = [self.pipeline(source) for source in chunk]
            yield ([image.picture for image in images],
                   self.collate_fn([image.example for image in images]))

    def forward(self,
                inputs: dict,
                explainer: ExplainerLike = 'ODAM',
                selection: Selection = DEFAULT_SELECTION,
                difference: str = 'signed',
                **kwargs: Any) -> list[DetDataSample]:
        """Explain each image of a batch.

        Args:
            inputs (dict): The batch.
            explainer (Explainer | dict | str): See :func:`explain`.
            selection (Selection): Which objects are explained.
            difference (str): With ``none``, difference maps are left out.

        Returns:
            list[DetDataSample]: See :func:`explain`, on the CPU.
        """
        samples = []
        for index in range(len(inputs['data_samples'])):
            sample = explain_one(self.model, inputs, index, explainer,
                                 selection)
            if difference == 'none':
                del sample.pred_instances.difference_maps
            samples.append(sample.cpu())
        return samples

    def visualize(self,
                  inputs: Sequence[str | np.ndarray],
                  preds: Sequence[DetDataSample],
                  return_vis: bool = False,
                  show: bool = False,
                  wait_time: float = 0,
                  draw_pred: bool = True,
                  no_save_vis: bool = False,
                  img_out_dir: str = '',
                  names: Sequence[str] = (),
                  difference: str = 'signed',
                  **kwargs: Any) -> list[np.ndarray] | None:
        """Draw the figures of a batch, and write and show them.

        Args:
            inputs (Sequence): Paths and arrays, uint8 BGR (H, W, 3).
            preds (Sequence[DetDataSample]): From :meth:`forward`.
            names (Sequence[str]): What to call each image's file.
            difference (str): Which difference maps they have.

        Returns:
            list[np.ndarray] | None: Uint8 RGB; None if nobody wants them.
        """
        folder = '' if no_save_vis else img_out_dir
        if not show and not folder and not return_vis:
            return None
        classes = class_names(self.model)
        if not names:  # not called by a run that counts
            names = result_names(self._paths(list(inputs)))
            self.num_visualized_imgs += len(preds)
        figures = []
        for source, pred, name in zip(inputs, preds, names):
            if not isinstance(source, np.ndarray):
                source = as_picture(self.pipeline.load(source)['img'])
            figure = draw_explanations(
                source[..., ::-1].copy(), pred.pred_instances,
                label_names(pred, classes), FIGURES[difference], draw_pred)
            if folder:
                save_picture(figure, Path(folder, 'vis', f'{name}.png'))
            elif self.visualizer is not None:  # as mmdet does
                self.visualizer.add_image(name, figure)
            if show:
                self.visualizer.set_image(figure)
                self.visualizer.show(
                    figure, win_name=name, wait_time=wait_time)
            figures.append(figure)
        return figures

    def postprocess(self,
                    preds: Sequence[DetDataSample],
                    visualization: list[np.ndarray] | None = None,
                    return_datasamples: bool = False,
                    print_result: bool = False,
                    no_save_pred: bool = False,
                    pred_out_dir: str = '',
                    names: Sequence[str] = (),
                    **kwargs: Any) -> dict[str, Any]:
        """Print and write the predictions of a batch.

        Args:
            preds (Sequence[DetDataSample]): From :meth:`forward`.
            names (Sequence[str]): What to call each image's files.

        Returns:
            dict: See :meth:`__call__`.
        """
        lists = [self.pred2dict(pred) | in_words(pred) for pred in preds]
        if pred_out_dir and not no_save_pred:
            names = names or result_names(
                self._paths([pred.get('img_path') for pred in preds]))
            for pred, values, name in zip(preds, lists, names):
                with replacing(Path(pred_out_dir, 'preds',
                                    f'{name}.json')) as file:
                    file.write(json.dumps(values).encode())
                save_maps(pred, label_names(pred, class_names(self.model)),
                          Path(pred_out_dir, 'maps', f'{name}.npz'))
        if print_result:
            print(dict(predictions=lists))
        return dict(
            predictions=list(preds) if return_datasamples else
            [dict(values, **map_arrays(pred))
             for pred, values in zip(preds, lists)],
            visualization=visualization)

    def _paths(self, sources: list) -> list[str]:
        """Return the path of each image; a running number for an array."""
        paths = []
        for number, source in enumerate(sources, self.num_visualized_imgs):
            if isinstance(source, dict):
                source = source.get('img_path')
            paths.append(
                source if isinstance(source, str) else f'{number:08d}')
        return paths


def in_words(sample: DetDataSample) -> dict[str, Any]:
    """Return what is said of a text-prompted detector's objects, ready for
    JSON: their phrases, and what each word counts."""
    instances = sample.pred_instances
    entries: dict[str, Any] = {}
    if 'label_names' in instances:
        entries['label_names'] = list(instances.label_names)
    if 'words' in instances:
        entries['words'] = [words.described() for words in instances.words]
    return entries


def map_arrays(sample: DetDataSample) -> dict[str, np.ndarray]:
    """Return the maps of a data sample as float16 arrays (N, H, W)."""
    return {
        name: sample.pred_instances[name].cpu().numpy().astype(np.float16)
        for name in MAPS
        if name in sample.pred_instances
    }

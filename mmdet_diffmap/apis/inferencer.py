# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""mmdet's inferencer, with the explanation of every object."""
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.visualization import Visualizer
from torch import nn

from ..explainers import DifferenceMap, ExplainerLike, build_explainer
from ..explainers.engine import Selection, check_explainable
from ..io.configs import config_in_weights
from ..io.progress import progress_display
from ..tracing.detector import unwrapped
from ..tracing.prompts import check_asked
from .each_image import result_names, writable_folder
from .image_pipeline import ImagePipeline, build_pipeline, pipeline_config
from .inferencer_stages import FIGURES, InferencerStages
from .loading import available_device, load_detector
from .prompt import Prompt, with_texts
from .video import explain_video, is_video

#: An argument of a call that is as the constructor got it.
AS_BUILT: Any = ...
#: What a video shows for each kind.
SHOWN = dict(signed='difference', positive='positive', none='heatmap')


@dataclass(frozen=True)
class Stages:
    """What a call does to its images, one after the other, with the call's
    arguments.

    Args:
        preprocess (Callable): Sources -> pictures and batches.
        forward (Callable): A batch -> its explained data samples.
        visualize (Callable): Pictures and data samples -> figures.
        postprocess (Callable): Data samples and figures -> results.
    """
    preprocess: Callable[..., Iterator]
    forward: Callable[..., list[DetDataSample]]
    visualize: Callable[..., list[np.ndarray] | None]
    postprocess: Callable[..., dict[str, Any]]


class DiffMapInferencer(InferencerStages):
    """mmdet's ``DetInferencer``, whose objects are explained.

    Arguments, inputs and results are those of ``DetInferencer``; what is
    added is named here. Only the objects with a score above the call's
    ``pred_score_thr`` are in the results, best first: they are what is
    explained. An array is BGR in its figure as well, as the detector sees it.

    Args:
        model (str | PathLike | Config | dict, optional): See
            :func:`load_detector`. With None, the config is read from the
            weights, where mmengine puts it while it trains.
        weights (str | PathLike, optional): See :func:`load_detector`.
        device (str, optional): Defaults to the GPU where there is one.
        scope (str): The scope of mmengine's registries.
        palette (str): See ``DetInferencer``.
        show_progress (bool): Whether to show a progress bar.
        explainer (Explainer | dict | str): The method; see
            :func:`~mmdet_diffmap.explainers.build_explainer`.
        difference (str, optional): Which difference maps to make: ``signed``
            in [-1, 1]; ``positive``, their positive part, min-max normalised;
            ``none`` or None for heat maps alone.
        target_layer (str, optional): The module whose feature maps are
            explained, in place of that of the explainer's config.
        max_objects (int, optional): At most so many objects of an image, the
            best ones.

    Raises:
        OSError: If the weights cannot be read or downloaded.
        ValueError: If an argument makes no sense.

    Example:
        >>> from mmdet_diffmap import DiffMapInferencer
        >>> inferencer = DiffMapInferencer(
        ...     'mmdet_diffmap::demo/fcos_scenes.py', show_progress=False)
        >>> result = inferencer('scene://0/2', max_objects=2)
        >>> result['predictions'][0]['heatmaps'].shape
        (2, 192, 192)
    """

    def __init__(self,
                 model: str | os.PathLike | Config | dict | None = None,
                 weights: str | os.PathLike | None = None,
                 device: str | None = None,
                 scope: str = 'mmdet',
                 palette: str = 'none',
                 show_progress: bool = True,
                 explainer: ExplainerLike = 'ODAM',
                 difference: str | None = 'signed',
                 target_layer: str | None = None,
                 max_objects: int | None = None) -> None:
        device = str(available_device(device))
        if isinstance(model, dict):
            model = Config(model)
        self.model = load_detector(
            config_in_weights(weights) if model is None else model, weights,
            device)
        super().__init__(
            self.model.cfg,
            device=device,
            scope=scope,
            palette=palette,
            show_progress=show_progress)
        self.explainer = explainer
        self.difference = difference
        self.target_layer = target_layer
        self.max_objects = max_objects
        self._method(explainer, difference, target_layer)  # raises early

    def _init_model(self, cfg: Config, weights: str | None,
                    device: str) -> nn.Module:
        """Return the detector, which is loaded already. ``cfg`` is mmengine's
        copy of its config: what is done to it does not change
        ``model.cfg``."""
        meta: Any = self.model.dataset_meta
        palette = self.palette
        if palette == 'none':
            dataset = dict(cfg.test_dataloader.dataset, lazy_init=True)
            palette = DATASETS.build(dataset).metainfo.get('palette') or \
                meta.get('palette', 'random')
        meta['palette'] = palette
        return self.model

    def _init_pipeline(self, cfg: Config) -> ImagePipeline:
        """Return the test pipeline of files and arrays, without
        annotations."""
        return build_pipeline(pipeline_config(self.model))

    def _init_visualizer(self, cfg: Config) -> Visualizer | None:
        """Return the config's visualizer, if it has one: only ``show`` and its
        backends need it."""
        if 'visualizer' not in cfg:
            return None
        with warnings.catch_warnings():
            # an inferencer has no folder for backends that write files
            warnings.filterwarnings('ignore', 'Failed to add', UserWarning,
                                    r'mmengine\.visualization')
            return super()._init_visualizer(cfg)

    def _inputs_to_list(self, inputs: Any) -> list:
        """Return a list of files, URLs and arrays; folders give their images,
        also those in a list."""
        if isinstance(inputs, (list, tuple)):
            return [source for item in inputs
                    for source in self._inputs_to_list(item)]
        if isinstance(inputs, os.PathLike):
            inputs = os.fspath(inputs)
        try:
            sources: list = super()._inputs_to_list(inputs)
        except (KeyError, ImportError):  # no file backend; read_image says so
            return [inputs]
        if not sources:
            raise FileNotFoundError(f'folder {inputs} holds no image')
        return sources

    def __call__(self,
                 inputs: str | os.PathLike | np.ndarray | Sequence,
                 batch_size: int = 1,
                 return_vis: bool = False,
                 show: bool = False,
                 wait_time: float = 0,
                 no_save_vis: bool = False,
                 draw_pred: bool = True,
                 pred_score_thr: float = 0.3,
                 return_datasamples: bool = False,
                 print_result: bool = False,
                 no_save_pred: bool = True,
                 out_dir: str | os.PathLike = '',
                 texts: str | list | None = None,
                 stuff_texts: str | list | None = None,
                 custom_entities: bool = False,
                 tokens_positive: int | list | None = None,
                 explainer: ExplainerLike = AS_BUILT,
                 difference: str | None = AS_BUILT,
                 target_layer: str | None = AS_BUILT,
                 max_objects: int | None = AS_BUILT,
                 **kwargs: Any) -> dict[str, list]:
        """Detect and explain the objects of images.

        The maps of all images of a call are in its result, in the memory of
        the CPU: of many images, explain some at a time.

        Args:
            inputs (str | PathLike | np.ndarray | Sequence): A file, a folder,
                a URL, an array, uint8 BGR (H, W, 3), or a list of such. Or a
                video, by its file's ending, or several: it is written to
                ``OUT_DIR/vis/NAME.mp4``, see :func:`explain_video`, frame by
                frame, with the best objects' maps in one, and needs
                ``out_dir``.
            batch_size (int): How many images are made one batch, and so
                padded to one size. Each is explained alone.
            return_vis (bool): Whether to return the figures.
            show (bool): Whether to show each figure in a window.
            wait_time (float): For how many seconds; 0 until it is closed.
            no_save_vis (bool): Whether to write no figures into ``out_dir``.
            draw_pred (bool): Whether to draw the objects' boxes.
            pred_score_thr (float): Objects with a larger score are explained.
            return_datasamples (bool): Whether predictions are data samples.
            print_result (bool): Whether to print the predictions, without
                maps.
            no_save_pred (bool): Whether to write no predictions and maps into
                ``out_dir``.
            out_dir (str | PathLike): Where to write ``vis/NAME.png``,
                ``preds/NAME.json`` (labels, scores and boxes) and
                ``maps/NAME.npz`` (see :func:`save_maps`). Arrays are
                numbered.
            texts, stuff_texts, custom_entities, tokens_positive: See
                ``DetInferencer`` and :class:`~mmdet_diffmap.apis.Prompt`; for
                text-prompted detectors. Videos take one text.
            explainer, difference, target_layer, max_objects: For this call in
                place of the constructor's.
            **kwargs: See ``DetInferencer``.

        Returns:
            dict: ``predictions``, one for each image: a dict of ``labels``,
            ``scores`` and ``bboxes``, which are lists, and ``heatmaps`` and
            ``difference_maps``, float16 arrays (N, H, W) of the image's size;
            of a text-prompted detector also ``label_names`` and ``words``;
            or a ``DetDataSample`` with the same in ``pred_instances``, as
            tensors on the CPU, see :func:`explain`. Of a video, a dict of
            ``video``, the path of the one written, and ``frames``, their
            number. ``visualization``: with ``return_vis``, the figures, RGB
            uint8 (see :func:`draw_explanations`).

        Raises:
            OSError: If an image cannot be read, or nothing written into
                ``out_dir``.
            ValueError: If an argument makes no sense.
        """
        if batch_size < 1:
            raise ValueError('batch_size must be at least 1, not '
                             f'{batch_size}')
        if explainer is AS_BUILT:
            explainer = self.explainer
        if difference is AS_BUILT:
            difference = self.difference
        if target_layer is AS_BUILT:
            target_layer = self.target_layer
        if max_objects is AS_BUILT:
            max_objects = self.max_objects
        method = self._method(explainer, difference, target_layer)
        kind = difference or 'none'
        selection = Selection(pred_score_thr, max_objects)
        sources = self._inputs_to_list(inputs)
        out_dir = os.fspath(out_dir)
        check_asked(unwrapped(self.model), not (
            texts is None and stuff_texts is None))

        videos = [isinstance(source, str) and is_video(source)
                  for source in sources]
        if any(videos):
            refuse({
                'images': not all(videos),
                'return_vis': return_vis,
                'show': show,
                'no_save_vis': no_save_vis,
                'return_datasamples': return_datasamples,
                'no_save_pred=False': not no_save_pred,
                'a list of texts': not isinstance(texts, str | None),
                'stuff_texts': stuff_texts is not None,
                'no out_dir': not out_dir,
            })
            prompt = None if texts is None else Prompt(
                texts, custom_entities, tokens_positive)
            return self._explain_videos(sources, out_dir, method, selection,
                                        SHOWN[kind], draw_pred, print_result,
                                        prompt)

        if show and self.visualizer is None:
            raise ValueError('the config has no visualizer, which show needs')
        if out_dir and not (no_save_vis and no_save_pred):
            writable_folder(Path(out_dir))
        for_preprocess, for_forward, for_visualize, for_postprocess = \
            self._dispatch_kwargs(**kwargs)
        stages = Stages(
            partial(self.preprocess, batch_size=batch_size, **for_preprocess),
            partial(
                self.forward, explainer=method, selection=selection,
                difference=kind, **for_forward),
            partial(
                self.visualize, return_vis=return_vis, show=show,
                wait_time=wait_time, draw_pred=draw_pred,
                no_save_vis=no_save_vis, img_out_dir=out_dir, difference=kind,
                **for_visualize),
            partial(
                self.postprocess, return_datasamples=return_datasamples,
                print_result=print_result, no_save_pred=no_save_pred,
                pred_out_dir=out_dir, **for_postprocess))
        return self._explain_images(
            with_texts(sources, texts, stuff_texts, custom_entities,
                       tokens_positive), result_names(self._paths(sources)),
            stages, ceil(len(sources) / batch_size), return_vis)

    def _explain_images(self, sources: list, names: list[str],
                        stages: Stages, batches: int,
                        return_vis: bool) -> dict[str, list]:
        """Take images through all stages, batch by batch."""
        rest = iter(names)
        results: dict[str, list] = dict(predictions=[], visualization=[])
        for pictures, data in self._with_progress(
                stages.preprocess(sources), batches):
            here = list(islice(rest, len(pictures)))
            preds = stages.forward(data)
            figures = stages.visualize(pictures, preds, names=here)
            made = stages.postprocess(
                preds, figures if return_vis else None, names=here)
            for key, values in made.items():
                results[key].extend(values or [])
            self.num_visualized_imgs += len(preds)
            self.num_predicted_imgs += len(preds)
        return results

    def _with_progress(self, batches: Iterable, count: int) -> Iterator:
        """Yield batches, with a progress bar if one is wanted."""
        if not self.show_progress:
            yield from batches
            return
        with progress_display() as display:
            yield from display.track(
                batches, total=count, description='batches')

    def _method(self, explainer: ExplainerLike, difference: str | None,
                target_layer: str | None) -> DifferenceMap:
        """Return the explainer that the arguments ask for.

        Raises:
            ValueError: If there is none, or it has no such target layer.
        """
        kind = difference or 'none'
        if kind not in FIGURES:
            raise ValueError(f'difference must be {", ".join(FIGURES)} or '
                             f'None, not {difference!r}')
        options = {} if target_layer is None else dict(
            target_layer=target_layer)
        method = build_explainer(explainer, **options)
        if isinstance(method, DifferenceMap):
            if method.positive and kind != 'positive':
                raise ValueError(
                    'the explainer makes positive difference maps, and '
                    f'difference={difference!r} asks for others: give '
                    'difference=\'positive\'')
            method = method.explainer
        check_explainable(self.model, [method])
        return DifferenceMap(method, positive=kind == 'positive')

    def _explain_videos(self, paths: list[str], out_dir: str,
                        method: DifferenceMap, selection: Selection,
                        show: str, boxes: bool, print_result: bool,
                        prompt: Prompt | None) -> dict[str, list]:
        """Write a video of explanations for each video."""
        written: list[dict[str, Any]] = []
        for path, name in zip(paths, result_names(paths)):
            out = writable_folder(Path(out_dir, 'vis')) / f'{name}.mp4'
            frames = explain_video(
                self.model,
                path,
                out,
                method.explainer,
                selection.score_thr,
                selection.max_objects,
                show=show,
                draw_boxes=boxes,
                show_progress=self.show_progress,
                prompt=prompt)
            written.append(dict(video=str(out), frames=frames))
        if print_result:
            print(dict(predictions=written))
        return dict(predictions=written, visualization=[])

def refuse(conditions: dict[str, bool]) -> None:
    """Raise a ValueError for what videos cannot be explained with."""
    names = [name for name, holds in conditions.items() if holds]
    if names:
        raise ValueError(
            f'videos cannot be explained with {", ".join(names)}: give videos '
            'alone, and out_dir, where vis/NAME.mp4 is all that is made')

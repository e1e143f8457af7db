# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A config's test pipeline, run so that each image is read once, its picture
is kept, and maps lie where the detector looked."""
from __future__ import annotations

import copy
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..io.checkpoint import first_line
from ..io.images import check_array, decode_image, read_content
from ..tracing.detector import unwrapped
from .frame_check import FrameCheck
from .prompt import PROMPT_KEYS, Prompt


@dataclass(frozen=True)
class LoadedImage:
    """An image as the detector gets it.

    Args:
        picture (np.ndarray): What the pipeline's loading step gave, as uint8
            BGR, shape (H, W, 3): its pixels are those of boxes and maps.
        example (dict): What the pipeline made of it, with ``inputs`` and
            ``data_samples``.
    """
    picture: np.ndarray
    example: dict

    @property
    def batch(self) -> dict:
        """A batch of this image alone, as the test loop gets it."""
        return pseudo_collate([self.example])


class ImagePipeline:
    """Runs a test pipeline on one image after the other.

    The image's file is read once. Before the first image of a size goes
    through, pictures of coordinates do; see :class:`FrameCheck`.

    Args:
        transforms (Sequence[Callable]): The pipeline's transforms, of which
            the first loads the image.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = list(transforms)
        self.loading, *self.rest = self.transforms
        self.check = FrameCheck(self.rest)

    def __call__(self,
                 source: str | os.PathLike | np.ndarray | dict,
                 content: bytes | None = None,
                 prompt: Prompt | None = None) -> LoadedImage:
        """Load an image and make it the network's input.

        Args:
            source (str | PathLike | np.ndarray | dict): A path or URL; an
                array, uint8 BGR (H, W, 3); or a dict with either as
                ``img_path`` or ``img``, and whatever else the pipeline takes.
            content (bytes, optional): The file, if it was read already.
            prompt (Prompt, optional): What the detector is to look for. Its
                entries may be those of the dict as well.

        Raises:
            OSError: If the image cannot be read.
            ValueError: If the source is no image, or the pipeline cannot take
                it, or puts its pixels where maps and boxes are not.
        """
        results = self.load(source, content)
        if prompt is not None:
            results |= prompt.entries()
        asked = {key: results[key] for key in PROMPT_KEYS if key in results}
        picture = as_picture(results['img'])
        self.check(results)
        for transform in self.rest:
            results = applied(transform, results, source)
        if not isinstance(results.get('inputs'), Tensor) or \
                'data_samples' not in results:
            raise ValueError('the config\'s test pipeline does not give one '
                             'input and its data sample: let it end in '
                             'PackDetInputs')
        # also where the config's meta_keys leave some of it out
        results['data_samples'].set_metainfo(asked)
        return LoadedImage(picture, results)

    def load(self, source: Any, content: bytes | None = None
             ) -> dict[str, Any]:
        """Run the loading step; what is wrong with an image is said here."""
        results: dict[str, Any] = dict(source) \
            if isinstance(source, dict) else dict(img=source) \
            if isinstance(source, np.ndarray) else dict(img_path=source)
        results.setdefault('img_id', 0)
        if 'img' in results:
            check_array(results['img'])
            results['img_path'] = None
            return self.loaded(results, results['img'])
        path = results.get('img_path')
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError('an input must be a path, a URL or an array, not '
                             f'{type(path).__name__}')
        results['img_path'] = path = os.fspath(path)
        if not self.reads_files:  # a loading step of one's own
            return self.loading(results)
        loading: Any = self.loading
        if content is None:
            content = read_content(path, loading.backend_args)
        return self.loaded(
            results,
            decode_image(content, path, loading.color_type,
                         loading.imdecode_backend))

    @property
    def reads_files(self) -> bool:
        """Whether the loading step reads and decodes a file as mmcv's
        does."""
        return isinstance(self.loading, LoadImageFromFile) and type(
            self.loading).transform is LoadImageFromFile.transform and \
            self.loading.file_client_args is None

    def loaded(self, results: dict[str, Any],
               image: np.ndarray) -> dict[str, Any]:
        """Add an image as mmcv's loading step does."""
        if getattr(self.loading, 'to_float32', False):
            image = image.astype(np.float32)
        return dict(
            results,
            img=image,
            img_shape=image.shape[:2],
            ori_shape=image.shape[:2])


def applied(transform: Callable, results: dict[str, Any],
            source: Any) -> dict[str, Any]:
    """Apply a transform to an image on its way.

    Raises:
        ValueError: If the transform fails, or drops the image.
    """
    try:
        made = transform(results)
    except cv2.error as error:  # no pixel left of a side, for example
        raise ValueError('the config\'s test pipeline cannot resize '
                         f'{name_of(source)}: {error.err}') from error
    except Exception as error:  # each transform fails in its own way
        raise ValueError(
            f'{type(transform).__name__} of the config\'s test pipeline fails '
            f'on {name_of(source)}: {type(error).__name__}: '
            f'{first_line(error)}') from error
    if made is None:
        raise ValueError(f'{type(transform).__name__} of the config\'s test '
                         f'pipeline drops {name_of(source)}')
    return made


#: Pipelines by what their configs say, so that a size is checked once.
_pipelines: dict[str, ImagePipeline] = {}


def image_pipeline(model: nn.Module) -> ImagePipeline:
    """Return the test pipeline of a detector's config, without annotations;
    the same for the same config.

    Args:
        model (nn.Module): A detector with its ``cfg``.

    Raises:
        ValueError: If the model has no config.
    """
    config = pipeline_config(model)
    scope = scope_of(unwrapped(model).cfg)
    key = repr((scope, config))
    if key not in _pipelines:
        if len(_pipelines) > 100:  # of a program that changes its configs
            _pipelines.clear()
        # another detector may have been built since
        with DefaultScope.overwrite_default_scope(scope):
            _pipelines[key] = build_pipeline(config)
    return _pipelines[key]


def scope_of(cfg: Any) -> str:
    """Return the package in whose registries the names of a config are looked
    for first."""
    scope: str = cfg.get('default_scope', 'mmdet')
    return scope


def pipeline_config(model: nn.Module) -> list[dict]:
    """Return the config of a detector's test pipeline.

    Raises:
        ValueError: If the model has no config.
    """
    model = unwrapped(model)
    if not hasattr(model, 'cfg'):
        raise ValueError('the model does not know its test pipeline: set '
                         'model.cfg to its config')
    config: Any = get_test_pipeline_cfg(model.cfg)
    return config


def build_pipeline(config: list[dict]) -> ImagePipeline:
    """Build a test pipeline, without the transforms that load
    annotations."""
    return ImagePipeline(
        Compose([
            transform for transform in copy.deepcopy(config)
            if not type_name(transform).endswith('Annotations')
        ]).transforms)


class DatasetPipelines:
    """The pipelines of a data set of mmdet, or of those that it is made of.

    Args:
        dataset (BaseDataset): The data set; also a ``ConcatDataset`` or
            another wrapper.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._pipelines: dict[int, ImagePipeline] = {}

    def at(self, index: int) -> ImagePipeline:
        """Return the pipeline of one image, by its index."""
        dataset = self.dataset
        while not hasattr(dataset, 'pipeline'):
            if hasattr(dataset, 'cumulative_sizes'):
                part = bisect_right(dataset.cumulative_sizes, index)
                index -= dataset.cumulative_sizes[part - 1] if part else 0
                dataset = dataset.datasets[part]
            else:
                dataset = dataset.dataset
        if id(dataset) not in self._pipelines:
            self._pipelines[id(dataset)] = ImagePipeline(
                dataset.pipeline.transforms)
        return self._pipelines[id(dataset)]


def type_name(transform: dict) -> str:
    """Return the type of a transform's config, which is a name or a class."""
    kind = transform['type']
    return kind if isinstance(kind, str) else kind.__name__


def name_of(source: Any) -> str:
    """Say which image a source is."""
    if isinstance(source, dict):
        source = source['img'] if 'img' in source else source['img_path']
    return f'an array of {source.shape}' if isinstance(source, np.ndarray) \
        else f'image {source}'


def as_picture(image: np.ndarray) -> np.ndarray:
    """Copy what a loading step gave as uint8 BGR, shape (H, W, 3): grey is
    repeated, 16 bits are cut to 8, channels after the third are dropped.

    Raises:
        ValueError: If it is no image.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not image.size:
        raise ValueError('the test pipeline\'s first step gives no image, but '
                         f'an array of shape {image.shape}')
    if image.dtype == np.uint16:
        image = image >> 8
    image = np.repeat(image[..., :1], 3, axis=2) \
        if image.shape[2] < 3 else image[..., :3]
    return image.clip(0, 255).astype(np.uint8)

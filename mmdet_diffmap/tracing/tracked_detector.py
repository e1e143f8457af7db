# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detector inside of a multi-object tracker, made ready to run alone."""
from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.models.mot import BaseMOTModel
from mmdet.structures import TrackDataSample
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from torch import nn

from ..io.configs import inner_dicts
from .swapping import swapped


def is_tracker(model: nn.Module) -> bool:
    """Whether a model of mmdet follows objects through videos."""
    return isinstance(model, BaseMOTModel)


def detector_of(tracker: Any) -> BaseDetector:
    """Return the detector of a tracker, ready to be run on single images.

    Config, classes and preprocessing are the tracker's. The detector gets
    them here, as attributes that it lacks; the tracker itself reads none of
    them.

    Args:
        tracker (BaseMOTModel): The tracker.

    Raises:
        ValueError: If it has no detector.
    """
    detector = getattr(tracker, 'detector', None)
    if not isinstance(detector, BaseDetector):
        raise without_detector(type(tracker).__name__)
    if not isinstance(detector.data_preprocessor, FramePreprocessor):
        detector.data_preprocessor = FramePreprocessor(
            tracker.data_preprocessor)
    if hasattr(tracker, 'cfg') and getattr(
            detector, 'tracker_cfg', None) is not tracker.cfg:
        detector.tracker_cfg = tracker.cfg
        detector.cfg = image_config(tracker.cfg)
    meta = getattr(tracker, 'dataset_meta', None) or {}
    if meta.get('classes'):  # None where mmdet does not know them
        detector.dataset_meta = meta
    return detector


def without_detector(name: str) -> ValueError:
    """Return the error of a tracker that has no detector."""
    return ValueError(
        f'{name} has no detector of its own, so that what it follows cannot '
        'be explained: give a detector of images, such as Mask2Former, whose '
        'objects are numbered from frame to frame')


class FramePreprocessor(BaseDataPreprocessor):
    """Preprocesses images as a tracker does with videos of one frame.

    Args:
        of_videos (nn.Module): The tracker's preprocessor.
    """

    def __init__(self, of_videos: nn.Module) -> None:
        super().__init__()
        # no module of the detector: its weights have the names that they had
        object.__setattr__(self, 'of_videos', of_videos)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess a batch of images.

        Args:
            data (dict): ``inputs``, a list of (3, H, W) images or one (B, 3,
                H, W) tensor, and ``data_samples``.
            training (bool): As in mmengine.

        Returns:
            dict: ``inputs`` (B, 3, H, W), normalised and padded, and
            ``data_samples``, which know the padded shape.
        """
        videos = []
        for sample in data['data_samples']:
            videos.append(TrackDataSample())
            videos[-1].video_data_samples = [sample]
        of_videos: Any = self.of_videos
        made = of_videos(
            dict(inputs=[image[None] for image in data['inputs']],
                 data_samples=videos), training)
        return dict(inputs=made['inputs'][:, 0], data_samples=[
            video[0] for video in made['data_samples']])


def image_config(cfg: Config) -> Config:
    """Return a tracker's config with test pipelines of single images:
    transforms that are applied to each frame of a video are applied to the
    image."""
    cfg = copy.deepcopy(cfg)
    for dataset in inner_dicts(cfg.get('test_dataloader')):
        if 'pipeline' in dataset:
            dataset['pipeline'] = [
                transform for outer in dataset['pipeline']
                for transform in of_one_image(outer)]
    return cfg


def of_one_image(transform: dict) -> list[dict]:
    """Return what of a video's pipeline one of its transforms stands for."""
    kind = transform['type']
    name = kind if isinstance(kind, str) else kind.__name__
    if name.endswith('TransformBroadcaster'):
        return list(transform['transforms'])
    if name.endswith('PackTrackInputs'):
        return [dict(type='PackDetInputs')]
    return [transform]


def without_gradients(data: Any) -> Any:
    """Return instances of a detector whose tensors have no graph; a copy that
    may be changed."""
    made = type(data)(metainfo=data.metainfo)
    with torch.no_grad():
        for name, value in data.items():
            made.set_field(
                # not detach, which a run of a detector makes the identity
                value.clone() if isinstance(value, torch.Tensor) else value,
                name)
    return made


@contextmanager
def own_masks(detector: Any) -> Iterator[None]:
    """Let a detector that is run without masks, see
    :func:`~mmdet_diffmap.tracing.heads.without_masks`, make them in this
    context, without gradients: some trackers ask for them."""
    roi_head: Any = getattr(detector, 'roi_head', detector)
    if 'predict_mask' not in vars(roi_head):
        yield
        return
    boxes_alone = roi_head.predict_mask  # which keeps their gradients

    def predict_mask(features: Any, metas: Any, results: Any,
                     **kwargs: Any) -> Any:
        with torch.no_grad():
            masks = type(roi_head).predict_mask(
                roi_head, features, metas,
                [without_gradients(each) for each in results], **kwargs)
        boxes = boxes_alone(features, metas, results, **kwargs)
        for each, made in zip(boxes, masks):
            each.masks = made.masks
        return boxes

    with swapped(roi_head, 'predict_mask', predict_mask):
        yield

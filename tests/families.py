"""A small random detector of each supported family.

What :func:`random_detector` and :func:`trace_of` give is shared by all tests
of a process: change copies only.
"""
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn

from mmdet_diffmap.io.configs import inner_dicts
from mmdet_diffmap.lab.zoo import small
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.trace import Trace

CONFIGS = {
    'fcos': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'detr': 'detr/detr_r50_8xb2-150e_coco.py',
    'pvt': 'pvt/retinanet_pvt-t_fpn_1x_coco.py',
    'yolox': 'yolox/yolox_tiny_8xb8-300e_coco.py',
}
FAMILIES = tuple(CONFIGS)
DETECTIONS = 4
SIZE = (75, 130)  # height and width of the image of trace_of
INPUT_SCALE = (150, 110)  # width and height at most: no multiples of 32
#: With which scores of the families are neither all alike nor all 1; see
#: small.random_detector.
SPREAD = 1
#: In which a detector can be called.
GRADIENT_MODES = {
    'plain': nullcontext,
    'no_grad': torch.no_grad,
    'inference_mode': torch.inference_mode,
}
#: Channels of the zoo's necks and heads, and of the small ones.
NARROW = {256: 96, 1024: 256}


def small_config(name: str) -> Config:
    """Return the host's own config with fewer layers, channels and
    detections."""
    cfg = get_config(f'mmdet::{name}')
    model: Any = cfg.model
    small.leave_out_weights(model)
    model.backbone.init_cfg = None  # the default lets YOLOX's features vanish
    if model.backbone.type == 'ResNet' and 'neck' in model:
        model.backbone.update(depth=18, norm_cfg=dict(type='BN'))
        channels = model.neck.in_channels
        model.neck.in_channels = 512 if isinstance(channels, int) else [
            64, 128, 256, 512][-len(channels):]
    if model.type == 'DETR':
        model.encoder.num_layers = 1
        model.decoder.num_layers = 2
        model.num_queries = 12
    if 'neck' in model and model.neck.type == 'FPN':
        narrow(model)
    if 'rpn' in model.test_cfg:
        model.test_cfg.rpn.update(nms_pre=60, max_per_img=30)
    test_cfg = model.test_cfg.get('rcnn', model.test_cfg)
    test_cfg.update(score_thr=0, max_per_img=DETECTIONS)
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = INPUT_SCALE
        if transform.type == 'Pad':
            transform.update(size=(160, 160), pad_to_square=False)
    return cfg


def narrow(model: Any) -> None:
    """Give the neck and the heads of a config fewer channels, in place."""
    for part in inner_dicts({
            name: value for name, value in model.items()
            if name == 'neck' or name.endswith('head')}):
        for name, value in part.items():
            if name.endswith('channels') and not isinstance(value, list):
                part[name] = NARROW.get(value, value)


@lru_cache
def random_detector(family: str) -> nn.Module:
    """Return a detector with random weights, the same at every call."""
    cfg = small_config(CONFIGS[family])
    if family == 'yolox':  # knows no max_per_img
        cfg.model.test_cfg.nms.max_num = DETECTIONS
    return build(cfg, SPREAD)


@lru_cache
def coupled_detector(roi_head: str = 'SparseRoIHead',
                     name: str = 'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py'
                     ) -> nn.Module:
    """Return a detector with two stages, of which the second goes on from
    what the first made of all eight RoIs."""
    cfg = get_config(f'mmdet::{name}')
    model: Any = cfg.model
    small.leave_out_weights(model)
    model.backbone.update(depth=18, norm_cfg=dict(type='BN'))
    model.neck.in_channels = [64, 128, 256, 512]
    model.rpn_head.num_proposals = 8
    model.roi_head.update(type=roi_head, num_stages=2,
                          stage_loss_weights=[1, 1],
                          bbox_head=model.roi_head.bbox_head[:2])
    if 'mask_head' in model.roi_head:
        model.roi_head.mask_head = model.roi_head.mask_head[:2]
    model.test_cfg.rcnn.max_per_img = 8
    for part in inner_dicts([model.neck, model.rpn_head, model.roi_head]):
        for name, value in part.items():
            if 'channel' in name and not isinstance(value, list):
                part[name] = value // 8
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = INPUT_SCALE
    return build(cfg)


def build(cfg: Config, spread: float = 0.5) -> nn.Module:
    """Build the detector of a config with random weights."""
    model: Any = small.random_detector(cfg, spread)
    model.dataset_meta = dict(classes=[f'class {i}' for i in range(80)])
    return model


def with_small_features(model: nn.Module) -> None:
    """Let the features of an FPN be small, in place."""
    for parameter in model.neck.fpn_convs.parameters():
        parameter.data *= 1e-5


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a uint8 BGR image with coarse and fine structure."""
    return small.random_image((height, width), seed)


def batch_of(model: nn.Module, *images: np.ndarray) -> dict:
    """Make a batch of images as the test loop's data loader does."""
    return small.image_batch(model, images)


@lru_cache
def trace_of(family: str, layer: str | None = 'neck',
             mode: str = 'plain') -> Trace:
    """Trace the first detections in a random image of ``SIZE``, in one of
    ``GRADIENT_MODES``."""
    model = random_detector(family)
    with GRADIENT_MODES[mode]():
        data = batch_of(model, random_image(*SIZE))
        return DetectorAdapter(model, layer).trace(data).select(
            slice(DETECTIONS))

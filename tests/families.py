"""A small random detector of each supported family."""
import logging
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_diffmap.lab.zoo import small

CONFIGS = {
    'fcos': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'detr': 'detr/detr_r50_8xb2-150e_coco.py',
    'pvt': 'pvt/retinanet_pvt-t_fpn_1x_coco.py',
    'yolox': 'yolox/yolox_tiny_8xb8-300e_coco.py',
}
FAMILIES = tuple(CONFIGS)
DETECTIONS = 4
INPUT_SCALE = (150, 110)  # width and height at most: no multiples of 32


def small_config(name: str) -> Config:
    """The host's own config with fewer layers and detections."""
    cfg = get_config(f'mmdet::{name}')
    model: Any = cfg.model
    if model.backbone.type == 'ResNet' and 'neck' in model:
        model.backbone.update(
            depth=18, norm_cfg=dict(type='BN'), init_cfg=None)
        channels = model.neck.in_channels
        model.neck.in_channels = 512 if isinstance(channels, int) else [
            64, 128, 256, 512][-len(channels):]
    model.backbone.init_cfg = None
    if model.type == 'DETR':
        model.encoder.num_layers = 1
        model.decoder.num_layers = 2
        model.num_queries = 12
    if 'rpn' in model.test_cfg:
        model.test_cfg.rpn.update(nms_pre=60, max_per_img=30)
    if 'rcnn' in model.test_cfg:
        model.test_cfg.rcnn.score_thr = 0
    else:
        model.test_cfg.score_thr = 0
    test_cfg = model.test_cfg.get('rcnn', model.test_cfg)
    test_cfg.max_per_img = DETECTIONS
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = INPUT_SCALE
        if transform.type == 'Pad':
            transform.update(size=(160, 160), pad_to_square=False)
    return cfg


@lru_cache
def random_detector(family: str) -> nn.Module:
    """A detector with random weights, the same at every call."""
    return build(small_config(CONFIGS[family]))


def build(cfg: Config) -> nn.Module:
    """The detector of a config with random weights."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = MODELS.build(cfg.model)
        logging.disable(logging.INFO)  # a line for every parameter
        model.init_weights()
        logging.disable(logging.NOTSET)
    for name, parameter in model.named_parameters():
        # predictors start near zero, and so would all gradients
        if parameter.dim() > 1 and 'head' in name:
            spread = 0.5 / parameter[0].numel()**0.5
            parameter.data += spread * torch.randn_like(parameter)
    model.cfg = cfg
    model.dataset_meta = dict(classes=[f'class {i}' for i in range(80)])
    return model.eval()


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A uint8 BGR image with coarse and fine structure."""
    return small.random_image((height, width), seed)


def batch_of(model: nn.Module, *images: np.ndarray) -> dict:
    """A batch as the test loop's data loader makes it."""
    pipeline = [
        dict(transform)
        for transform in model.cfg.test_dataloader.dataset.pipeline
        if transform['type'] != 'LoadAnnotations'
    ]
    pipeline[0]['type'] = 'LoadImageFromNDArray'
    compose = Compose(pipeline)
    return pseudo_collate(
        [compose(dict(img=image, img_id=i)) for i, image in enumerate(images)])

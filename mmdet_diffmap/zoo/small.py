# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A small random detector of any config, and a batch for it."""
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.structures import InstanceData
from torch import nn

from ..apis.detector import build_detector

PROPOSALS = 30
DETECTIONS = 3
#: Thresholds that would drop what random weights find, and what lets it pass.
OPEN = dict(score_thr=0.0, distance_threshold=1e9)
#: Transforms that need more than an image.
ABOUT_DATA = ('Annotations', 'Proposals', 'TextPrompt')


def shrink(cfg: Config, size: tuple[int, int]) -> None:
    """Let a config be that of a quick detector: no weights to download, few
    proposals, every score passes, small images.

    An input that a network takes in one size alone (SSD's), which its
    pipeline shows by leaving out ``keep_ratio``, stays as it is.

    Args:
        cfg (Config): Changed in place.
        size (tuple): Height and width of the image.
    """
    for part in parts(cfg.model):
        if isinstance(part.get('init_cfg'), dict) and \
                part['init_cfg'].get('type') == 'Pretrained':
            part['init_cfg'] = None
        if 'pretrained' in part:
            part['pretrained'] = False \
                if isinstance(part['pretrained'], bool) else None
        for test_cfg in parts(part.get('test_cfg')):
            test_cfg.update({name: value for name, value in OPEN.items()
                             if name in test_cfg})
            if 'max_per_img' in test_cfg:
                test_cfg['max_per_img'] = PROPOSALS \
                    if 'nms_pre' in test_cfg and part.get('roi_head') \
                    else DETECTIONS
            if 'nms_pre' in test_cfg:
                test_cfg['nms_pre'] = min(test_cfg['nms_pre'], 2 * PROPOSALS)
    longest = max(size)
    for transform in parts(cfg.test_dataloader):
        if transform.get('keep_ratio') and 'scale' in transform:
            transform['scale'] = (longest, longest)
        if transform.get('type') == 'Pad' and 'size' in transform:
            transform['size'] = (longest, longest)


def parts(value: Any) -> Iterator[Any]:
    """All dicts inside a config's value, from the outermost on."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from parts(one)


def random_detector(cfg: Config) -> nn.Module:
    """The detector of a config with random weights, the same at every call."""
    torch.manual_seed(0)
    model: Any = build_detector(cfg)
    logging.disable(logging.INFO)  # a line for every parameter
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    for name, parameter in model.named_parameters():
        # predictors start near zero, and so would all gradients
        if parameter.dim() > 1 and 'head' in name:
            spread = 0.5 / parameter[0].numel()**0.5
            parameter.data += spread * torch.randn_like(parameter)
    return model.eval()


def random_image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A uint8 BGR image (H, W, 3) with coarse and fine structure."""
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = np.kron(
        rng.integers(0, 200, (height // 16 + 1, width // 16 + 1, 3)),
        np.ones((16, 16, 1)))[:height, :width]
    return np.uint8(coarse + rng.integers(0, 55, (height, width, 3)))


def random_batch(model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """A random image as the config's test pipeline gives it, and random
    proposals for a detector that makes none."""
    cfg: Any = model.cfg
    pipeline = next(part['pipeline'] for part in parts(cfg.test_dataloader)
                    if 'pipeline' in part)
    transforms = [
        dict(one) for transform in pipeline
        # some are only told to change proposals as well
        for one in transform.get('transforms', [transform])
        if not any(name in one['type'] for name in ABOUT_DATA)
    ]
    transforms[0].pop('backend_args', None)
    transforms[0]['type'] = 'LoadImageFromNDArray'
    data = Compose(transforms)(dict(img=random_image(size), img_id=0))
    sample = data['data_samples']
    if isinstance(model, TwoStageDetector) and not model.with_rpn:
        generator = torch.Generator().manual_seed(0)
        corners = torch.rand(PROPOSALS, 2, 2, generator=generator)
        height, width = sample.img_shape[:2]
        boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
        sample.proposals = InstanceData(
            bboxes=boxes * boxes.new_tensor([width, height] * 2),
            scores=torch.ones(PROPOSALS))
    return pseudo_collate([data])

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A small random detector of any config, and a batch for it."""
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from mmdet.models.dense_heads import MaskFormerHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...apis.image_pipeline import build_pipeline, scope_of
from ...apis.loading import build_detector
from ...apis.prompt import Prompt
from ...io.configs import inner_dicts
from ...tracing.detector import unwrapped
from ...tracing.heads import without_masks
from ...tracing.prompts import LANGUAGE_MODEL, language_model_of
from .families import zoo_folder
from .small_bert import PROMPT, channels_for, small_bert, use_small_bert
from .trackers import keep_detector

PROPOSALS = 30
#: Thresholds that would drop what random weights find, and what lets it pass.
OPEN = dict(score_thr=0.0, conf_thr=0.0, distance_threshold=1e9,
            corner_topk=500, filter_thr=0.0, object_mask_thr=0.0,
            stuff_area_limit=0, mask_thr=0.3)
#: The grids of a head that asks every cell of them for a mask (SOLO).
GRIDS = 8, 7, 6, 5, 4
#: Transforms that need more than an image.
ABOUT_DATA = ('Annotations', 'Proposals', 'TextPrompt')


def shrink(cfg: Config, size: tuple[int, int]) -> None:
    """Let a config be that of a quick detector: no weights to download, a
    small random language model, few proposals, every score passes, small
    images.

    An input that a network takes in one size alone (SSD's), which its
    pipeline shows by not keeping the ratio of sides, stays as it is.

    Args:
        cfg (Config): Changed in place.
        size (tuple): Height and width of the image.
    """
    leave_out_weights(cfg.model)
    keep_detector(cfg)
    if LANGUAGE_MODEL in cfg.model:
        use_small_bert(cfg.model, small_bert(channels_for(cfg.model)))
    for part in inner_dicts(cfg.model):
        if 'num_grids' in part:
            part['num_grids'] = list(GRIDS[:len(part['num_grids'])])
        for test_cfg in inner_dicts(part.get('test_cfg')):
            let_all_pass(test_cfg)
    longest = max(size)
    init_default_scope(scope_of(cfg))
    for transform in inner_dicts(cfg.test_dataloader):
        if 'scale' in transform and keeps_ratio(transform):
            transform['scale'] = (longest, longest)
        if transform.get('type') == 'Pad' and 'size' in transform:
            transform['size'] = (longest, longest)


def keeps_ratio(transform: dict) -> bool:
    """Whether a transform by its config keeps the ratio of an image's sides:
    some do without being told."""
    return bool(getattr(TRANSFORMS.build(transform), 'keep_ratio', False))


def leave_out_weights(model: Any) -> None:
    """Let a config's model be built without any download, or what training
    alone needs, in place.

    The teacher of a distilled detector, which takes part in training only,
    is built as well, and its weights are not loaded.
    """
    for part in inner_dicts(model):
        if 'checkpoint' in (part.get('init_cfg') or {}):
            part['init_cfg'] = None
        if 'pretrained' in part:
            part['pretrained'] = False \
                if isinstance(part['pretrained'], bool) else None
        if 'num_cp' in part:  # saves memory in training, by another package
            part['num_cp'] = 0
        if 'teacher_ckpt' in part:
            part['teacher_ckpt'] = None
        if 'teacher_config' in part:
            part['teacher_config'] = str(
                zoo_folder().parent / part['teacher_config'])


def let_all_pass(test_cfg: Any) -> None:
    """Let a ``test_cfg`` keep few detections, whatever their scores, in
    place."""
    test_cfg.update({name: value for name, value in OPEN.items()
                     if name in test_cfg})
    if 'object_mask_thr' in test_cfg or 'panoptic_on' in test_cfg:
        test_cfg.update(object_mask_thr=0.0, iou_thr=0.0)
    if 'mask_thr_binary' in test_cfg and 'nms' in test_cfg:
        test_cfg['max_per_img'] = min(test_cfg['max_per_img'], PROPOSALS)
    if 'nms_pre' in test_cfg:
        for name, most in ('nms_pre', 2 * PROPOSALS), (
                'max_per_img', PROPOSALS):
            if name in test_cfg:
                test_cfg[name] = min(test_cfg[name], most)


def random_detector(cfg: Config, spread: float = 0.5) -> nn.Module:
    """Build the detector of a config, or that of a tracker's, with random
    weights; see :func:`random_model`."""
    return unwrapped(random_model(cfg, spread))


def random_model(cfg: Config, spread: float = 0.5) -> nn.Module:
    """Build the model of a config with random weights, the same at every
    call, in evaluation mode.

    Args:
        cfg (Config): The config.
        spread (float): Of what is added to the weights of heads, which is
            normal, the standard deviation times the square root of the number
            of a layer's inputs. Scores are farther apart the larger it is.
    """
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
            noise = torch.randn_like(parameter).flatten(1)
            if noise.shape[1] > 1:  # else one class would be first everywhere
                noise -= noise.mean(dim=1, keepdim=True)
            parameter.data += spread / noise.shape[1]**0.5 * noise.view_as(
                parameter)
        elif 'mask' in name and name.endswith('bias'):
            parameter.data.zero_()  # of 0.01, no mask would have a pixel
    model.eval()  # returns nothing in some detectors
    return model


def calibrate(model: Any, data: dict[str, Any]) -> None:
    """Let batch normalisation know the statistics of a batch, as training
    would: the features of deep networks would grow without bound. Let queries
    that have a mask differ: a random decoder makes nearly the same of all of
    them, and one would have all pixels."""

    def learn(norm: Any, args: Any) -> None:
        values = args[0].transpose(0, 1).flatten(1)
        if values.numel():
            variance = values.var(dim=1, unbiased=False)
            norm.running_mean = values.mean(dim=1)
            norm.running_var = variance.where(variance > 0, 1.0)

    def centre(layer: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        last = output[-1] if output.dim() == 4 else output  # of the decoder
        mean = last.flatten(0, -2).mean(dim=0)
        layer.bias -= mean
        return output - mean

    with torch.no_grad(), without_masks(model), ExitStack() as stack:
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                stack.callback(norm.register_forward_pre_hook(learn).remove)
        for head in model.modules():
            if isinstance(head, MaskFormerHead):
                for layer in head.cls_embed, head.mask_embed[-1]:
                    stack.callback(layer.register_forward_hook(centre).remove)
        model.test_step(data)


def random_image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Draw a uint8 BGR image (H, W, 3) with coarse and fine structure.

    >>> random_image((20, 30)).shape
    (20, 30, 3)
    """
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = np.kron(
        rng.integers(0, 200, (height // 16 + 1, width // 16 + 1, 3)),
        np.ones((16, 16, 1)))[:height, :width]
    fine = rng.integers(0, 55, (height, width, 3))
    return (coarse + fine).astype(np.uint8)


def random_batch(model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Make a batch of one random image; see :func:`image_batch`."""
    return image_batch(model, [random_image(size)])


def image_batch(model: nn.Module,
                images: Sequence[np.ndarray]) -> dict[str, Any]:
    """Make a batch as the config's test pipeline and the test loop's data
    loader do, with random proposals for a detector that makes none, and a text
    for one that is asked with it.

    Args:
        model (nn.Module): The detector, with its ``cfg``.
        images (Sequence[np.ndarray]): Each uint8 BGR, shape (H, W, 3).
    """
    cfg: Any = model.cfg
    steps = next(
        part['pipeline'] for part in inner_dicts(cfg.test_dataloader)
        if 'pipeline' in part)
    transforms = [
        dict(transform) for outer in steps
        # some are only told to change proposals as well
        for transform in outer.get('transforms', [outer])
        if not any(name in transform['type'] for name in ABOUT_DATA)
    ]
    pipeline = build_pipeline(transforms)
    examples = [pipeline(dict(img=image, img_id=number)).example
                for number, image in enumerate(images)]
    if isinstance(model, TwoStageDetector) and not model.with_rpn:
        for example in examples:
            add_proposals(example['data_samples'])
    if language_model_of(model) is not None:
        for example in examples:
            example['data_samples'].set_metainfo(
                Prompt(PROMPT, custom_entities=True).entries())
    return pseudo_collate(examples)


def add_proposals(sample: DetDataSample) -> None:
    """Put random proposals where a detector without an RPN expects them."""
    height, width = sample.img_shape[:2]
    corners = torch.rand(PROPOSALS, 2, 2,
                         generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    sample.proposals = InstanceData(
        bboxes=boxes * boxes.new_tensor([width, height] * 2),
        scores=torch.ones(PROPOSALS))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Small text-prompted detectors with random weights: what they find means
nothing, and how it is explained can be tried without a download."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hub import get_config

from .small import random_detector, shrink
from .small_bert import use_small_bert, write_small_bert

#: Configs of mmdet's wheel, by the names of their folders.
CONFIGS = {
    'grounding_dino':
    'grounding_dino/grounding_dino_swin-t_pretrain_obj365_goldg_cap4m.py',
    'glip': 'glip/glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365.py',
}
QUERIES = 20


def prompted_config(kind: str = 'grounding_dino',
                    size: tuple[int, int] = (48, 64)) -> Config:
    """Return a config of mmdet with fewer layers, channels and queries.

    Args:
        kind (str): One of ``CONFIGS``.
        size (tuple): Height and width to which images are made smaller.
    """
    cfg = get_config(f'mmdet::{CONFIGS[kind]}')
    shrink(cfg, size)
    model: Any = cfg.model
    model.backbone.update(depths=[1, 1, 1, 1], embed_dims=24,
                          num_heads=[1, 2, 4, 8])
    model.neck.in_channels = [48, 96, 192]
    model.test_cfg.max_per_img = 6
    if kind == 'glip':
        model.bbox_head.num_dyhead_blocks = 1
        return cfg
    model.num_queries = QUERIES
    model.encoder.num_layers = model.decoder.num_layers = 2
    model.bbox_head.contrastive_cfg = dict(  # else all scores are 0 or 1
        max_text_len=256, log_scale='auto')
    return cfg


def write_prompted_detector(folder: str | os.PathLike,
                            kind: str = 'grounding_dino') -> None:
    """Write ``config.py`` and ``weights.pth`` of a small detector, and its
    language model, into a folder.

    Args:
        folder (str | PathLike): Is made.
        kind (str): One of ``CONFIGS``.
    """
    folder = Path(folder).resolve()
    cfg = prompted_config(kind, (192, 256))
    use_small_bert(cfg.model, write_small_bert(folder / 'bert'))
    cfg.dump(str(folder / 'config.py'))
    torch.save(dict(state_dict=random_detector(cfg).state_dict()),
               folder / 'weights.pth')

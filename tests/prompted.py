"""Small detectors that are asked with a text. Their weights, and those of the
language model, are random: what they find means nothing."""
from functools import lru_cache

import torch
from families import random_image
from mmengine.structures import InstanceData
from torch import nn

from mmdet_diffmap.apis import Prompt
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.lab.zoo.prompted import CONFIGS, prompted_config
from mmdet_diffmap.lab.zoo.small import random_detector

KINDS = tuple(CONFIGS)
SIZE = (45, 70)  # height and width of an image, no multiple of 32
ASKED = Prompt('a red car . a zebra . the dog', custom_entities=True)
PHRASES = ('a red car', 'a zebra', 'the dog')


@lru_cache
def prompted_detector(kind: str, **test_cfg) -> nn.Module:
    """Return a detector, the same at every call."""
    cfg = prompted_config(kind)
    cfg.model.test_cfg.update(test_cfg)
    model = random_detector(cfg)
    model.dataset_meta = dict(classes=[f'class {i}' for i in range(80)])
    return model


def batch_of(model: nn.Module, prompt: Prompt = ASKED) -> dict:
    return image_pipeline(model)(random_image(*SIZE), prompt=prompt).batch


def predicted(model: nn.Module, data: dict) -> InstanceData:
    """What the host predicts by itself."""
    with torch.no_grad():
        (sample, ) = model.test_step(data)
    return sample.pred_instances

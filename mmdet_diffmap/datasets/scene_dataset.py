# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from typing import Any, ClassVar

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from pycocotools import mask as coco_mask

from .scene_files import KINDS, read_scene, scene_path
from .scenes import CLASSES, SIZE


@DATASETS.register_module()
class SceneDataset(BaseDetDataset):
    """Synthetic scenes with boxes and instance masks.

    Scenes are drawn when they are read. Datasets with different seeds have no
    scene in common, so a large ``num_images`` is an endless training set.

    >>> dataset = SceneDataset(seed=0, num_images=3, pipeline=[])
    >>> dataset.get_data_info(2)['img_path']
    'scene://0/2'

    Args:
        seed (int): Which sequence of scenes.
        num_images (int): How many of them.
        kind (str): ``scene``, or ``twins`` for pairs with a common body,
            whose instances have a ``part`` beside their ``mask``, the badge
            that tells them apart, or ``pairs`` for objects that touch, whose
            ``part`` is the cue that divides them.
        **kwargs: As in :class:`BaseDetDataset`.

    Raises:
        ValueError: If there is no such kind.
    """
    METAINFO: ClassVar[dict] = dict(classes=CLASSES)

    def __init__(self,
                 seed: int,
                 num_images: int,
                 kind: str = 'scene',
                 **kwargs: Any) -> None:
        if kind not in KINDS:
            raise ValueError(f'kind must be one of {", ".join(KINDS)}, not '
                             f'{kind!r}')
        self.seed = seed
        self.num_images = num_images
        self.kind = kind
        kwargs['metainfo'] = dict(
            dict(classes=KINDS[kind][1]), **kwargs.get('metainfo') or {})
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Make an entry for each scene: its path and size."""
        return [
            dict(
                img_id=index,
                img_path=scene_path(self.seed, index, self.kind),
                height=SIZE,
                width=SIZE) for index in range(self.num_images)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return the entry with its ``instances``, which need the scene
        drawn."""
        info = super().get_data_info(idx)
        scene = read_scene(info['img_path'])
        info['instances'] = [
            dict(
                bbox=box.tolist(),
                bbox_label=int(label),
                mask=encode(mask),
                ignore_flag=0) for box, label, mask in zip(
                    scene.boxes, scene.labels, scene.masks)
        ]
        if scene.parts is not None:
            for instance, part in zip(info['instances'], scene.parts):
                instance['part'] = encode(part)
        return info


def encode(mask: np.ndarray) -> dict:
    """Encode a bool mask (H, W) as COCO's run lengths.

    >>> encode(np.eye(3, dtype=bool))['size']
    [3, 3]
    """
    return coco_mask.encode(np.asfortranarray(mask))

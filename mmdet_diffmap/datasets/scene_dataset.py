# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from typing import Any, ClassVar

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from pycocotools import mask as coco_mask

from .scenes import CLASSES, SIZE, parse_scene_path, render_scene, scene_path


@DATASETS.register_module()
class SceneDataset(BaseDetDataset):
    """Synthetic scenes with boxes and instance masks.

    Scenes are drawn when they are read. Datasets with different seeds have no
    scene in common, so a large ``num_images`` is an endless training set.

    Args:
        seed (int): Which sequence of scenes.
        num_images (int): How many of them.
        **kwargs: As in :class:`BaseDetDataset`.
    """
    METAINFO: ClassVar[dict] = dict(classes=CLASSES)

    def __init__(self, seed: int, num_images: int, **kwargs: Any) -> None:
        self.seed = seed
        self.num_images = num_images
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry a scene: its path and size."""
        return [
            dict(
                img_id=index,
                img_path=scene_path(self.seed, index),
                height=SIZE,
                width=SIZE) for index in range(self.num_images)
        ]

    def get_data_info(self, idx: int) -> dict:
        """The entry with its ``instances``, which need the scene drawn."""
        info = super().get_data_info(idx)
        scene = render_scene(*parse_scene_path(info['img_path']))
        info['instances'] = [
            dict(
                bbox=box.tolist(),
                bbox_label=int(label),
                mask=coco_mask.encode(np.asfortranarray(mask)),
                ignore_flag=0) for box, label, mask in zip(
                    scene.boxes, scene.labels, scene.masks)
        ]
        return info

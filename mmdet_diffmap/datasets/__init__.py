# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .scene_dataset import SceneDataset
from .scenes import Scene, render_scene, scene_path

__all__ = ['Scene', 'SceneDataset', 'render_scene', 'scene_path']

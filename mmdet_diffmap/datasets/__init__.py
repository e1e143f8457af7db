# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .named_coco import NamedCocoDataset
from .pairs import render_pairs
from .scene_dataset import SceneDataset
from .scene_files import read_scene, scene_path
from .scenes import Scene, render_scene
from .twins import render_twins

__all__ = ['NamedCocoDataset', 'Scene', 'SceneDataset', 'read_scene',
           'render_pairs', 'render_scene', 'render_twins', 'scene_path']

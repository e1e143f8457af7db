# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measuring how fast explanations are."""
from .measure import Bench, Speed, input_batch
from .planting import coco_boxes, planted, random_boxes

__all__ = [
    'Bench', 'Speed', 'coco_boxes', 'input_batch', 'planted', 'random_boxes'
]

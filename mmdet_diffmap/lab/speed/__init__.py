# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Measuring how fast explanations are."""
from .measure import Bench, CountedOperations, Speed, input_batch
from .operations import Operations, count_operations
from .overhead import Overhead, measure_overhead
from .planting import coco_boxes, planted, random_boxes

__all__ = [
    'Bench', 'CountedOperations', 'Operations', 'Overhead', 'Speed',
    'coco_boxes', 'count_operations', 'input_batch', 'measure_overhead',
    'planted', 'random_boxes'
]

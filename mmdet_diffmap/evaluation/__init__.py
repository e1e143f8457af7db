# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .image_scorer import ImageScorer
from .loop import TABLE_1, ExplanationTestLoop
from .metric import ExplanationMetric
from .objects import GroundTruth
from .protocol import METRICS, Methods, Protocol

__all__ = [
    'METRICS', 'TABLE_1', 'ExplanationMetric', 'ExplanationTestLoop',
    'GroundTruth', 'ImageScorer', 'Methods', 'Protocol'
]

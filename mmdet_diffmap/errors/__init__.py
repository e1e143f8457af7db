# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .find import DetectorError, ExplainedErrors, find_errors
from .kinds import Kind, Thresholds
from .loop import ErrorMetric, ErrorTestLoop
from .maps import ErrorExplanation, explain_errors
from .misses import Mechanism, Miss

__all__ = [
    'DetectorError', 'ErrorExplanation', 'ErrorMetric', 'ErrorTestLoop',
    'ExplainedErrors', 'Kind', 'Mechanism', 'Miss', 'Thresholds',
    'explain_errors', 'find_errors'
]

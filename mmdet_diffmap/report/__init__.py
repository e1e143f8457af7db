# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .error_report import (
    ErrorEntry,
    ErrorPhoto,
    ErrorReport,
    Finding,
    MapsOfDetector,
    View,
)
from .report import Photo, Report

__all__ = [
    'ErrorEntry', 'ErrorPhoto', 'ErrorReport', 'Finding', 'MapsOfDetector',
    'Photo', 'Report', 'View'
]

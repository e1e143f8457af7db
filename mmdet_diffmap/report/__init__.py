# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .report import Photo, Report

__all__ = ['Photo', 'Report']

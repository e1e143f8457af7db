# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explanations of object detections for MMDetection.

Importing the package makes mmdet importable where mmcv has no compiled ops,
and registers explainers, hooks and data sets.
"""
from .ops import install_standins

install_standins()  # before anything imports mmcv.ops

from .io.checkpoint import mark_safe_globals  # noqa: E402

mark_safe_globals()

from . import datasets, evaluation, explainers, hooks  # noqa: E402, F401
from .apis import (  # noqa: E402
    DiffMapInferencer,
    explain,
    explain_video,
    load_detector,
)
from .maps.difference import difference_map  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = [
    'DiffMapInferencer', '__version__', 'difference_map', 'explain',
    'explain_video', 'load_detector'
]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explanations of object detections for MMDetection.

Importing the package makes mmdet importable where mmcv has no compiled ops,
and registers explainers, hooks and data sets.
"""
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .version import __version__

__all__ = [
    'DiffMapInferencer', '__version__', 'difference_map', 'explain',
    'explain_pair', 'explain_video', 'load_detector', 'separation_map'
]

#: The command reads its arguments before it imports torch and mmdet, which
#: takes seconds. In every other program, configs rely on this import. So do
#: processes that the command starts: multiprocessing gives them its
#: sys.argv, but what the interpreter was started with is their own.
COMMAND = bool(sys.argv) and Path(sys.argv[0]).stem == 'mmdet-diffmap' and \
    sys.argv[0] in sys.orig_argv

if TYPE_CHECKING or not COMMAND:
    from .plugin import (
        DiffMapInferencer,
        difference_map,
        explain,
        explain_pair,
        explain_video,
        load_detector,
        separation_map,
    )


def __getattr__(name: str) -> Any:
    """Import what users call, where that was put off."""
    if name in __all__:
        from . import plugin
        return getattr(plugin, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

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
    'DiffMapInferencer', 'Prompt', '__version__', 'difference_map',
    'explain', 'explain_pair', 'explain_phrases', 'explain_video',
    'load_detector', 'separation_map'
]


#: Where the scripts lie that call the commands.
TOOLS = (Path(__file__).parent / '.mim/tools').resolve()


def is_command() -> bool:
    """Whether the running program is one of the package's own.

    A command reads its arguments before it imports torch and mmdet, which
    takes seconds. In every other program, configs rely on this import. So do
    processes that the command starts: multiprocessing gives them its
    ``sys.argv``, but what the interpreter was started with is their own.
    """
    name = sys.argv[0] if sys.argv else ''
    if name == '-m':  # while python -m looks for the module
        return ('-m', __name__) in zip(sys.orig_argv, sys.orig_argv[1:])
    program = Path(name)
    return name in sys.orig_argv and (
        program.stem == 'mmdet-diffmap'
        or (program.suffix == '.py' and program.resolve().parent == TOOLS))


if TYPE_CHECKING or not is_command():
    from .plugin import (
        DiffMapInferencer,
        Prompt,
        difference_map,
        explain,
        explain_pair,
        explain_phrases,
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

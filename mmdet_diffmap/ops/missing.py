# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Callable
from typing import Any


def missing_op(name: str) -> Callable[..., Any]:
    """Return a function that raises, when called, what to install for
    ``name``."""

    def raise_missing(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f'mmcv\'s op "{name}" needs a compiled mmcv, and only mmcv-lite '
            'is installed. Install it with: pip uninstall mmcv-lite && '
            'pip install -U openmim && mim install "mmcv>=2.1,<2.2"')

    return raise_missing

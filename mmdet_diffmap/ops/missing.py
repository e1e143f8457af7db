# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Callable
from typing import Any

from ..host import current_host


def missing_op(name: str) -> Callable[..., Any]:
    """Return a function that raises, when called, what to install for
    ``name``."""

    def raise_missing(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f'mmcv\'s op "{name}" needs a compiled mmcv, and only one without '
            f'ops is installed. Install it with: {current_host().compiled}')

    return raise_missing

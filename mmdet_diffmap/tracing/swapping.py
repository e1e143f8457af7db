# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def swapped(owner: object, name: str, value: Any) -> Iterator[None]:
    """Give an object or a module of Python another attribute in this
    context.

    All threads see it, so others must wait; see
    :func:`~mmdet_diffmap.tracing.turns.one_at_a_time`.

    >>> import math
    >>> with swapped(math, 'pi', 3):
    ...     math.pi
    3
    """
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:  # it was the class's
            delattr(owner, name)


def modules_with(name: str, instance: object) -> list[ModuleType]:
    """List the Python modules of an object's classes that have a name."""
    modules = {sys.modules[base.__module__]: None
               for base in type(instance).__mro__}
    return [module for module in modules if name in vars(module)]

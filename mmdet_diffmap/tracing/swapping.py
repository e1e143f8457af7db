# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def swapped(owner: object, name: str, value: Any) -> Iterator[None]:
    """Give an object or a module of Python another attribute in this
    context. It is one for all threads."""
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
    """The Python modules of an object's classes in which a name is known."""
    modules = {sys.modules[base.__module__]: None
               for base in type(instance).__mro__}
    return [module for module in modules if name in vars(module)]

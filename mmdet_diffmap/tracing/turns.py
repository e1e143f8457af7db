# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Threads that explain take turns."""
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_running = RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other thread of the process run a detector, or make maps, in
    this context.

    Names of the host's modules are swapped, and hooks and modes of modules
    changed, for the time of a run. All threads see them, whichever detector
    they run; so they queue.
    """
    with _running:
        yield

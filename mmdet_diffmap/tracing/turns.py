# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Threads that explain take turns."""
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

Item = TypeVar('Item')
_running = RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other thread of the process run a detector, or make maps, in
    this context.

    Names of the host's modules are swapped, and hooks and modes of modules
    changed, for the time of a run. All threads see them, whichever detector
    they run; so they queue. A thread that has its turn may ask for it again.
    """
    with _running:
        yield


def in_turns(items: Iterator[Item]) -> Iterator[Item]:
    """Make each item of an iterator while no other thread has its turn, and
    let others go on between items."""
    while True:
        with one_at_a_time():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
        del item  # before the next one is made

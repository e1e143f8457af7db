# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One progress display for a run, however many parts of it take long."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import Progress

_current: ContextVar[Progress | None] = ContextVar('progress', default=None)


@contextmanager
def progress_display(console: Console | None = None) -> Iterator[Progress]:
    """Give the display in use, or a new one, which vanishes at the end.

    Args:
        console (Console, optional): Where a new one appears, if that is a
            terminal; defaults to the standard error stream.
    """
    display = _current.get()
    if display is not None:
        yield display
        return
    console = console or Console(stderr=True)
    # elsewhere it would leave an empty line
    shown = console.is_terminal or console.is_jupyter
    with Progress(
            console=console, transient=True, disable=not shown) as display:
        token = _current.set(display)
        try:
            yield display
        finally:
            _current.reset(token)


@contextmanager
def progress_bar(description: str,
                 total: int) -> Iterator[Callable[[int], None]]:
    """Give a bar that vanishes at the end; call it with the number of steps
    done."""
    with progress_display() as display:
        task = display.add_task(description, total=total)
        try:
            yield lambda steps: display.update(task, advance=steps)
        finally:
            display.remove_task(task)

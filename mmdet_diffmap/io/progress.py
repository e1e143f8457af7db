# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One progress display for a run, however many parts of it take long: a bar at
a terminal, and a line now and then elsewhere."""
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import Progress, Task, TaskID

#: Between two lines: so many seconds, and so large a part of the work.
SECONDS, SHARE = 10., 0.1
#: With few of them, work of hours would say nothing for too long.
LONG = 600.
#: Work inside of other work has fewer lines: so many times the seconds.
INNER = 6.

Item = TypeVar('Item')
_current: ContextVar[Progress | None] = ContextVar('progress', default=None)


class Interrupted(KeyboardInterrupt):
    """The user has ended the work.

    Args:
        done (str): How far it was, such as ``12 of 50 images``.
    """

    def __init__(self, done: str = '') -> None:
        super().__init__(done)
        self.done = done


class ProgressLines(Progress):
    """Progress where nothing can be drawn: a line now and then.

    Args:
        console (Console): Where lines appear.
        clock (Callable): Tells the time in seconds.
    """

    def __init__(self, console: Console,
                 clock: Callable[[], float] = time.monotonic) -> None:
        # nothing is drawn, but tasks are counted
        super().__init__(console=console, disable=True, auto_refresh=False)
        self.clock = clock
        self.spoken = clock()
        self.shares: dict[TaskID, float] = {}
        #: When the first step of each task was done, and which it was.
        self.starts: dict[TaskID, tuple[float, float]] = {}

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Count steps of a task; see rich."""
        super().update(task_id, **fields)
        self.speak(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count steps of a task; see rich."""
        super().advance(task_id, advance)
        self.speak(task_id)

    def speak(self, task_id: TaskID) -> None:
        """Print a line, if it is time for one."""
        depth = self.task_ids.index(task_id)
        task, now = self.tasks[depth], self.clock()
        first, begun = self.starts.setdefault(task_id, (now, task.completed))
        if not task.total or task.completed >= task.total:
            return
        share = task.completed / task.total
        silence = now - self.spoken
        step = share - self.shares.get(task_id, 0.)
        if silence < SECONDS * INNER**depth or \
                (step < SHARE - 1e-9 and silence < LONG):
            return
        self.spoken, self.shares[task_id] = now, share
        line = f'{count_of(task)}, {share:.0%}'
        if task.completed > begun:
            left = (now - first) / (task.completed - begun) * (
                task.total - task.completed)
            line += f', about {duration(left)} left'
        self.console.print(line, markup=False, highlight=False,
                           soft_wrap=True)


def count_of(task: Task) -> str:
    """Write how far a task is, such as ``12 of 50 images``."""
    return f'{task.completed:.0f} of {task.total or 0:.0f} {task.description}'


def duration(seconds: float) -> str:
    """Write a duration.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 6000 else \
        f'{seconds / 3600:.1f} h'


@contextmanager
def progress_display(console: Console | None = None) -> Iterator[Progress]:
    """Give the display in use, or a new one, which vanishes at the end.

    Where the console is no terminal, a new one prints lines to the standard
    error stream, of the main process.

    Args:
        console (Console, optional): Where a new one appears, if that is a
            terminal; defaults to the standard error stream.

    Raises:
        Interrupted: In the place of a KeyboardInterrupt.
    """
    display = _current.get()
    if display is not None:
        yield display
        return
    errors = Console(stderr=True, quiet=not is_main_process())
    console = console or errors
    with Progress(console=console, transient=True) if console.is_terminal or \
            console.is_jupyter else ProgressLines(errors) as display, \
            shown_in(display):
        try:
            yield display
        except KeyboardInterrupt as error:
            raise interrupted(display, error) from error


@contextmanager
def shown_in(display: Progress) -> Iterator[None]:
    """Have all progress of this context go to a display."""
    token = _current.set(display)
    try:
        yield
    finally:
        _current.reset(token)


def interrupted(display: Progress, error: KeyboardInterrupt) -> Interrupted:
    """Return the exception that tells how far all of the work was."""
    if isinstance(error, Interrupted) or not display.tasks:
        return Interrupted(getattr(error, 'done', ''))
    return Interrupted(count_of(display.tasks[0]))


@contextmanager
def progress_bar(description: str, total: int,
                 done: int = 0) -> Iterator[Callable[[int], None]]:
    """Give a bar that vanishes at the end; call it with the number of steps
    done.

    Args:
        description (str): What the steps are, such as images.
        total (int): How many there are.
        done (int): So many are done already.
    """
    with progress_display() as display:
        task = display.add_task(description, total=total, completed=done)
        try:
            yield lambda steps: display.update(task, advance=steps)
        except KeyboardInterrupt as error:
            raise interrupted(display, error) from error
        finally:
            display.remove_task(task)


def counted(items: Iterable[Item],
            advance: Callable[[int], None]) -> Iterator[Item]:
    """Yield items, each of which is a step that is done when the next one is
    asked for."""
    for item in items:
        yield item
        advance(1)

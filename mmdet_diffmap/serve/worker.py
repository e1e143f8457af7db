# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One thread that does one piece of work after the other."""
from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rich.progress import Progress, TaskID

from ..io.progress import shown_in


class FullError(Exception):
    """As many pieces of work wait as may wait."""


class StoppedError(Exception):
    """A piece of work is not wanted any more, or took too long."""


class Job:
    """A piece of work: it waits, runs and is done.

    Args:
        work (Callable): Does it. It is given a function that raises a
            :class:`StoppedError` if the job has been stopped; to be called
            now and then.
        seconds (float): How long it may run.
    """

    def __init__(self, work: Callable[[Callable[[], None]], Any],
                 seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self.deadline = float('inf')
        self.stopped = False
        self.display = WatchedProgress(self.check)
        self.future: Future[Any]

    def run(self) -> Any:
        """Do the work, in the thread that does all of it."""
        self.deadline = time.monotonic() + self.seconds
        self.check()
        with shown_in(self.display):
            return self.work(self.check)

    def check(self) -> None:
        """Raise a StoppedError if the work is not to go on."""
        if self.stopped:
            raise StoppedError('it was stopped')
        if time.monotonic() > self.deadline:
            raise StoppedError(f'it took longer than {self.seconds:g} s, and '
                               'was stopped')

    def stop(self) -> None:
        """Take the job out of the line. If it runs, its next check ends
        it."""
        self.stopped = True
        self.future.cancel()

    @property
    def share(self) -> float | None:
        """How much is done, in [0, 1]; None where the method does not
        say."""
        tasks = self.display.tasks
        return tasks[0].completed / tasks[0].total \
            if tasks and tasks[0].total else None


class WatchedProgress(Progress):
    """Progress that nobody is shown. A method that tells of its progress can
    be stopped.

    Args:
        check (Callable): Is called at each step.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__(disable=True)
        self.check = check

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Note a step, unless the work is not to go on."""
        self.check()
        super().update(task_id, **changes)


class Worker:
    """Does jobs in the order in which they came.

    Args:
        places (int): How many may wait and run.
        seconds (float): How long each may run.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self.places = places
        self.seconds = seconds
        #: Those that wait, after the one that runs.
        self.line: list[Job] = []
        self.thread = ThreadPoolExecutor(1, 'explain')

    def check_room(self) -> None:
        """Raise a FullError if no job can be taken."""
        if len(self.line) >= self.places:
            raise FullError(f'{len(self.line)} explanations wait already: try '
                            'again when one of them is done')

    def submit(self, work: Callable[[Callable[[], None]], Any]) -> Job:
        """Put a piece of work at the end of the line; see :class:`Job`.

        Raises:
            FullError: If the line is as long as it may be.
        """
        self.check_room()
        job = Job(work, self.seconds)
        self.line.append(job)
        job.future = self.thread.submit(job.run)
        job.future.add_done_callback(lambda _: self.line.remove(job))
        return job

    def stop(self) -> None:
        """Stop all jobs."""
        for job in list(self.line):
            job.stop()

    def close(self) -> None:
        """Stop all jobs, and wait for the end of the one that runs."""
        self.stop()
        self.thread.shutdown()

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Many configs, each in a process of its own."""
import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from .check import Checked, check_config


def check_each(configs: Iterable[Path], jobs: int,
               seconds: float) -> Iterator[Checked]:
    """Check configs, several at a time.

    A process may be stopped, or be killed for its memory: that is the result
    then, and touches no other.

    Args:
        configs (Iterable[Path]): The configs.
        jobs (int): How many at a time.
        seconds (float): Time limit of each.

    Yields:
        Checked: In the order in which they end.
    """
    waiting = list(configs)[::-1]
    running: dict[Connection, tuple[Path, Any, float]] = {}
    # imports are done once; a forked process must not use torch's threads
    context: Any = multiprocessing.get_context('fork')
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=send_result, args=(path, sender), daemon=True)
                process.start()
                sender.close()  # ours: its end is seen when the process ends
                running[receiver] = path, process, time.monotonic() + seconds
            now = time.monotonic()
            first = min(limit for _, _, limit in running.values())
            ready: list[Any] = wait(list(running),
                                    timeout=max(0.0, first - now))
            late = [receiver for receiver, (_, _, limit) in running.items()
                    if limit <= time.monotonic() and receiver not in ready]
            for receiver in [*ready, *late]:
                path, process, _ = running.pop(receiver)
                if receiver in late:
                    process.kill()
                    yield Checked(str(path), 'fails',
                                  f'no result within {seconds:.0f} s')
                else:
                    yield receive(receiver, path)
                process.join()
                receiver.close()
    finally:
        for _, process, _ in running.values():
            process.kill()
            process.join()


def send_result(path: Path, sender: Connection) -> None:
    """Check a config, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    torch.set_num_threads(1)
    sender.send(check_config(path))


def receive(receiver: Any, path: Path) -> Checked:
    """Return what a process has sent."""
    try:
        return receiver.recv()
    except EOFError:
        return Checked(str(path), 'fails', 'its process was killed, most '
                       'often for its memory')

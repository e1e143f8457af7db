# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..tracing.measuring import clock


class Stopwatch:
    """How the time of a run is spent on its stages, one of which may run
    inside another: the time of the inner one is not that of the outer one.

    Args:
        device (torch.device, optional): Wait for it at the borders of stages,
            which slows a GPU down a little. Without, work that the GPU has
            yet to do is counted where it is waited for.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = 0.

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time in this context as that of a stage."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def _switch(self) -> None:
        now = clock(self.device or torch.device('cpu'))
        if self._stack:
            name = self._stack[-1]
            self.seconds[name] = self.seconds.get(name, 0.) + now - self._since
        self._since = now

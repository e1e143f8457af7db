# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Runs of mmengine's without hundreds of lines at the terminal."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from pycocotools import coco

from ..tracing.swapping import swapped

#: What a runner logs of itself when it is built.
DUMPS = ('System environment:', 'Config:\n', 'Hooks will be executed')


@contextmanager
def quiet_runners(level: int = logging.INFO) -> Iterator[None]:
    """Let runners that are built in this context write their config, their
    environment and their hooks into the log file of the work dir, and not to
    the terminal.

    Args:
        level (int): What is less important does not go to the terminal,
            either.
    """
    build = Runner.build_logger

    def build_logger(self: Runner, *args: Any, **kwargs: Any) -> MMLogger:
        logger = build(self, *args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(is_no_dump)
                handler.setLevel(max(handler.level, level))
        return logger

    with swapped(Runner, 'build_logger', build_logger), \
            silent_annotations(level > logging.INFO):
        yield


@contextmanager
def silent_annotations(silent: bool) -> Iterator[None]:
    """Let pycocotools read annotations without four lines about it."""
    if silent:  # the module has no name of its own for the built-in function
        vars(coco)['print'] = lambda *args: None
    try:
        yield
    finally:
        vars(coco).pop('print', None)


def is_no_dump(record: logging.LogRecord) -> bool:
    """Whether a log record is more than what a runner is made of."""
    start = record.getMessage().lstrip('\n-')
    return not start.startswith(DUMPS)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Several processes that share the work."""
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from mmengine.dist import init_dist, is_distributed

from ..tracing.swapping import swapped

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
TIMEOUT = 24 * 3600  # seconds that the first process waits for the last one


@contextmanager
def distributed(launcher: str) -> Iterator[None]:
    """Let the processes that a launcher started find each other, on GPUs
    through NCCL, otherwise through gloo.

    Args:
        launcher (str): One of ``LAUNCHERS``, as in mmdet's tools.

    Raises:
        ValueError: If this process was not started by the launcher.
    """
    if launcher == 'none':
        yield
        return
    gpus = torch.cuda.is_available()
    with ExitStack() as stack:
        if not gpus:  # mmengine chooses one in any case
            stack.enter_context(
                swapped(torch.cuda, 'set_device', lambda device: None))
        try:
            init_dist(
                launcher,
                backend='nccl' if gpus else 'gloo',
                timeout=TIMEOUT)
        except KeyError as error:
            raise ValueError(
                f'the environment variable {error} is missing: launcher '
                f'{launcher} has not started this process') from error
    try:
        yield
    finally:
        if is_distributed():
            torch.distributed.destroy_process_group()

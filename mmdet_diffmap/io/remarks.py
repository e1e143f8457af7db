# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Warnings of the host's packages about each other, which a user of theirs
cannot act on. All others are left alone."""
import contextlib
import io
import warnings

from ..host import current_host

#: The beginning of a message, its category, and the modules that cause it.
REMARKS: list[tuple[str, type[Warning], str]] = [
    # mmengine asks it which packages are installed, and loads it again
    ('pkg_resources is deprecated as an API', UserWarning,
     r'(mmengine\.utils\.package_utils|importlib)$'),
    ('pkg_resources is deprecated as an API', DeprecationWarning,
     r'(mmengine\.utils\.package_utils|importlib)$'),
    # a faster evaluation that the forks could use
    ('faster_coco_eval is not installed', UserWarning,
     r'mmdet\.evaluation\.'),
    # mmdet's layers, for torch before 2.4
    (r'`torch\.cuda\.amp\.', FutureWarning, r'mm(det|cv|engine)\.'),
]


def leave_out_remarks() -> None:
    """Leave the host's remarks out, before the host is imported."""
    for message, category, module in REMARKS:
        warnings.filterwarnings('ignore', message, category, module)


def use_up_remarks() -> None:
    """Let torch say, to nobody, what it says once in a process: mmdet's grids
    of points would cause it."""
    import torch
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.meshgrid(torch.zeros(1), torch.zeros(1))


def import_without_remarks() -> None:
    """Import the host without the lines that it prints of packages which
    nobody needs. All else that it prints comes after."""
    remarks = current_host().remarks
    if not remarks:
        return
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        import mmdet.datasets  # noqa: F401
    for line in printed.getvalue().splitlines():
        if line not in remarks:
            print(line)

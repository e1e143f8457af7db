# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Warnings of the host's packages about each other, which a user of theirs
cannot act on. All others are left alone."""
import warnings

#: The beginning of a message, its category, and the modules that cause it.
REMARKS: list[tuple[str, type[Warning], str]] = [
    # mmengine asks it which packages are installed, and loads it again
    ('pkg_resources is deprecated as an API', UserWarning,
     r'(mmengine\.utils\.package_utils|importlib)$'),
    ('pkg_resources is deprecated as an API', DeprecationWarning,
     r'(mmengine\.utils\.package_utils|importlib)$'),
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

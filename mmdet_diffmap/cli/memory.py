# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The memory of a process that runs a detector again and again."""
import ctypes
import platform

# names and numbers of mallopt(3)
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed tensors for the next ones.

    glibc gives large blocks back to the system at once, and pays a page fault
    for every 4 KiB of the next one. A detector on the CPU frees and makes the
    same tensors at every run, and is up to a quarter faster if it does not.
    The process then stays as large as it once was. It is one setting for the
    whole process, so it is for programs, not for libraries.

    Returns:
        bool: Whether the C library is glibc, which can be told so.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([
        mallopt(M_MMAP_MAX, 0),
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1),
        mallopt(M_TOP_PAD, 2**26)
    ])

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A run over many images, one after the other."""
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from ..io.files import printable
from ..io.progress import progress_display


def each_image(paths: Sequence[str],
               work: Callable[[str, str], str],
               failures: dict[str, str] | None = None) -> dict[str, str]:
    """Do some work for each image, and print a line about it. An image that
    fails does not stop the others.

    Args:
        paths (Sequence[str]): Paths or URLs of the images.
        work (Callable): Gets a path and the name of its results, and returns
            what to print.
        failures (dict, optional): Filled while the run goes on; it is what
            is returned.

    Returns:
        dict: For each image that failed, the reason.
    """
    failures = {} if failures is None else failures
    console = Console(highlight=False, soft_wrap=True)
    with progress_display(console) as progress:
        for path, name in progress.track(
                list(zip(paths, result_names(paths))),
                description='images'):
            start = time.perf_counter()
            try:
                done = work(path, name)
            except (OSError, ValueError, ArithmeticError, RuntimeError,
                    MemoryError) as error:
                failures[path] = str(error)
                done = f'failed: {error}'
            seconds = time.perf_counter() - start
            console.print(
                printable(f'{path}: {done} ({seconds:.1f} s)'), markup=False)
    return failures


def writable_folder(folder: Path) -> Path:
    """Return the folder, made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f'output folder {folder} cannot be made: '
                      f'{error.strerror}') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f'output folder {folder} cannot be written to')
    return folder


def check_folder_names(names: Iterable[str]) -> None:
    """Raise a ValueError unless names, as of methods, can be folders'."""
    for name in names:
        if Path(name).name != name:
            raise ValueError(f'{name!r} is no name of a folder, into which '
                             'results go: give it another')


def without_query(path: str) -> str:
    """Return a URL without what follows its path; a file's name as it is."""
    return path.partition('?')[0] if '://' in path else path


def result_names(paths: Sequence[str]) -> list[str]:
    """Return a file name for the results of each image: its own without the
    extension; where two would be the same, the whole path in one word, and a
    number where those are the same too."""
    stems = [Path(without_query(path)).stem for path in paths]
    count = Counter(stems)
    names: list[str] = []
    taken: set[str] = set()
    for path, stem in zip(paths, stems):
        word = path.replace('://', '_').replace(os.sep, '_').replace('.', '_')
        name = base = stem if count[stem] == 1 else word
        number = 2
        while name in taken:
            name, number = f'{base}_{number}', number + 1
        taken.add(name)
        names.append(name)
    return names

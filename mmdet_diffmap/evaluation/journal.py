# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What was measured of each image, on disk as soon as it is known."""
from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakSet

from ..io.files import replacing

if sys.platform != 'win32':
    import fcntl
else:
    fcntl = None

ENTRY = re.compile(rb'\{"image_id": ("(?:[^"\\]|\\.)*"|-?\d+), '
                   rb'("failed")?')


@dataclass(frozen=True)
class EntryPlace:
    """Where an entry stands."""
    file: Path
    offset: int
    failed: bool


class Journal:
    """The finished images of a run, one line of JSON each.

    Every process appends to a file of its own, ``FOLDER/journal/RANK.jsonl``;
    whoever reads reads them all, so any number of processes can go on where
    others stopped. A line without its end, which a killed process leaves
    behind, does not count.

    Args:
        folder (Path): The work dir of the run.
        rank (int): Of this process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder / 'journal'
        self.settings_file = folder / 'settings.json'
        self.file = self.folder / f'{rank}.jsonl'
        self._open: FileIO | None = None
        JOURNALS.add(self)

    def check(self, settings: dict[str, Any], resume: bool) -> None:
        """Make sure that these settings are those of the journal.

        Args:
            settings (dict): All that changes results, ready for JSON.
            resume (bool): Whether there may be entries already.

        Raises:
            ValueError: If there are, and they may not, or they were measured
                with other settings.
        """
        if not self.settings_file.exists():
            if any(self.folder.glob('*.jsonl')):
                raise ValueError(f'{self.settings_file} is missing beside the '
                                 'journal of an earlier run: give another '
                                 'work dir')
            return
        if not resume:
            raise ValueError(f'{self.folder.parent} holds an earlier run: go '
                             'on with it (--resume), or give another work dir')
        try:
            stored = json.loads(self.settings_file.read_text())
        except ValueError as error:
            raise ValueError(f'{self.settings_file} cannot be read: '
                             f'{error}') from error
        different = list(differences(stored, json.loads(json.dumps(settings))))
        if different:
            raise ValueError(
                f'{self.folder.parent} was measured with other settings: '
                f'{"; ".join(different[:3])}'
                f'{"; …" if len(different) > 3 else ""}; give another work '
                'dir, or the same settings')

    def start(self, settings: dict[str, Any]) -> None:
        """Store the settings of a new journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.settings_file.exists():
            with replacing(self.settings_file) as file:
                file.write(json.dumps(settings, indent=1).encode())

    def append(self, entry: dict[str, Any]) -> None:
        """Write an entry, which begins with its ``image_id``.

        Raises:
            OSError: If it cannot be written. Those before are whole.
        """
        line = json.dumps(entry, allow_nan=False).encode() + b'\n'
        try:
            while line:  # a disk that fills up takes a part
                line = line[self.open().write(line):]
        except OSError as error:
            raise OSError(
                f'journal {self.file} cannot be written: {error.strerror}; '
                'all finished images are kept, and --resume goes on '
                'from there') from error

    def open(self) -> FileIO:
        """Open the file of this process, without a torn last line.

        Raises:
            OSError: If another run writes into it.
        """
        if self._open is None:
            # unbuffered: a line is handed to the system at once
            file: Any = open(self.file, 'ab', buffering=0)  # noqa: SIM115
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise OSError(f'another run writes into {self.file}: wait '
                                  'for it, or stop it') from error
            file.truncate(whole_size(self.file))
            self._open = file
        return self._open

    def close(self) -> None:
        """Let others write into the file of this process."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def places(self) -> dict[Hashable, EntryPlace]:
        """Find out where each image's entry stands. An image that failed once
        and was measured later is there as measured."""
        places: dict[Hashable, EntryPlace] = {}
        for file in sorted(self.folder.glob('*.jsonl')):
            offset = 0
            with open(file, 'rb') as lines:
                for line in lines:
                    begin = ENTRY.match(line)
                    if begin and line.endswith(b'}\n'):
                        image_id = json.loads(begin[1])
                        place = EntryPlace(file, offset, bool(begin[2]))
                        if image_id not in places or not place.failed:
                            places[image_id] = place
                    offset += len(line)
        return places

    def entries(
            self, places: Iterable[EntryPlace]) -> Iterator[dict[str, Any]]:
        """Read entries, one after the other."""
        files: dict[Path, BinaryIO] = {}
        try:
            for place in places:
                if place.file not in files:
                    files[place.file] = open(place.file, 'rb')  # noqa: SIM115
                files[place.file].seek(place.offset)
                yield json.loads(files[place.file].readline())
        finally:
            for file in files.values():
                file.close()


#: Those of this process.
JOURNALS: WeakSet[Journal] = WeakSet()


def close_all() -> None:
    """Close the journals of this process."""
    for journal in JOURNALS:
        journal.close()


if hasattr(os, 'register_at_fork'):
    # a process that loads images outlives a killed run by seconds, and would
    # hold its lock
    os.register_at_fork(after_in_child=close_all)


def whole_size(file: Path) -> int:
    """Return the number of bytes up to the end of the last whole line."""
    size = file.stat().st_size
    with open(file, 'rb') as content:
        while size:
            begin = max(0, size - 65536)
            content.seek(begin)
            end = content.read(size - begin).rfind(b'\n')
            if end >= 0:
                return begin + end + 1
            size = begin
    return 0


def differences(before: Any, now: Any, name: str = '') -> Iterator[str]:
    """Yield how two values differ, by the names of what is different.

    >>> list(differences(dict(seed=0, masks=[1]), dict(seed=3, masks=[1])))
    ['seed was 0 and is 3']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            inner = f'{name}.{key}' if name else key
            if key not in before:
                yield f'{inner} is new'
            elif key not in now:
                yield f'{inner} is gone'
            else:
                yield from differences(before[key], now[key], inner)
    elif isinstance(before, list) and isinstance(now, list) \
            and len(before) == len(now):
        for i, items in enumerate(zip(before, now)):
            yield from differences(*items, f'{name}[{i}]')
    elif before != now:
        yield f'{name} was {short(before)} and is {short(now)}'


def short(value: Any) -> str:
    """Return a value as JSON of at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:57]}…'


def sort_key(image_id: Hashable) -> tuple[bool, Any]:
    """Return what image ids are sorted by: numbers come before texts.

    >>> sorted(['b', 3, 1, 'a'], key=sort_key)
    [1, 3, 'a', 'b']
    """
    return isinstance(image_id, str), image_id

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A run over many images in its work dir."""
from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_rank,
    is_main_process,
)

from .journal import Journal


@dataclass
class JournaledRun:
    """A run over many images, as every process knows it.

    Args:
        folder (Path): Its work dir.
        settings (dict): All that changes results, ready for JSON.
        environment (dict): What changes results by rounding only: versions
            and the like.
        wanted (Collection, optional): The ids of the images that count; None
            for all of the journal.

    Attributes:
        journal (Journal): The finished images, on disk.
    """
    folder: Path
    settings: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)
    wanted: Collection[Hashable] | None = None
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder, get_rank())

    def open(self, resume: bool) -> Collection[Hashable]:
        """Begin, or go on with, the run; all processes do it together.

        Args:
            resume (bool): Whether there may be finished images already.

        Returns:
            Collection: The ids of images that are finished.

        Raises:
            ValueError: If the folder holds a run that this one does not go on
                with.
            OSError: If another run writes into the folder.
        """
        self.journal.check(self.settings, resume)
        barrier()  # all have looked
        finished: list[Any] = [None]
        if is_main_process():
            self.journal.start(self.settings)
        barrier()  # the folder is there
        self.journal.open()
        if is_main_process():
            finished = [{image_id
                         for image_id, place in self.journal.places().items()
                         if not place.failed}]
        broadcast_object_list(finished)
        return finished[0]

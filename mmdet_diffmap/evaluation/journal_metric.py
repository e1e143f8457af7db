# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A metric of mmengine's that sums up what a journal holds."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Sequence
from typing import Any, ClassVar

from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric

from .journal import EntryPlace, sort_key
from .run import JournaledRun


class JournalMetric(BaseMetric):
    """Keeps what an :class:`~mmdet_diffmap.evaluation.image_loop.ImageLoop`
    measures, and sums it up.

    What is measured goes to the journal on disk, image by image, and not
    through the memory of one process: mmengine's way of collecting results
    would lose all of them with any process, and hold all of them at once.

    Args:
        resume (bool): Whether the work dir may hold finished images of an
            earlier run with the same settings.
    """
    #: The name of the loop that it is for.
    loop: ClassVar[str]

    def __init__(self, resume: bool = False) -> None:
        super().__init__()
        self.resume = resume
        self._run: JournaledRun | None = None

    @property
    def run(self) -> JournaledRun:
        """The run whose images are measured.

        Raises:
            RuntimeError: If none has begun.
        """
        if self._run is None:
            raise self.not_begun()
        return self._run

    def not_begun(self) -> RuntimeError:
        """Return the error of a metric that no loop of ours has begun."""
        return RuntimeError(
            f'{type(self).__name__} has no run to sum up: it is for an '
            f'{self.loop}, which begins one')

    def begin(self, run: JournaledRun) -> Collection[Hashable]:
        """Begin, or go on with, a run.

        Args:
            run (JournaledRun): The run.

        Returns:
            Collection: The ids of images that are finished.

        Raises:
            ValueError: As :meth:`JournaledRun.open`.
        """
        self._run = run
        return run.open(self.resume)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Put down what was measured.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): ``measured`` of each is an entry of
                the journal.
        """
        for sample in data_samples:
            self.run.journal.append(sample['measured'])

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum up when all processes have finished.

        Args:
            size (int): Number of images.

        Returns:
            dict: Figures by their names, which begin with the metric's
            prefix.

        Raises:
            ValueError: If nothing could be measured.
            OSError: If images are missing, or files cannot be written.
        """
        self.run.journal.close()
        barrier()
        outcome: list[Any] = [None]
        if is_main_process():
            try:
                outcome = [{f'{self.prefix}/{name}': value for name, value in
                            self.compute_metrics([], size).items()}]
            except Exception as error:  # all end with it, whatever it is
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    @abstractmethod
    def compute_metrics(self,
                        results: list,
                        size: int | None = None) -> dict[str, float]:
        """Read the journal, and write all files.

        Args:
            results (list): Not used.
            size (int, optional): How many images there must be.
        """

    def finished(self, size: int | None
                 ) -> tuple[list[EntryPlace], dict[str, str]]:
        """Find the images that count.

        Args:
            size (int, optional): How many there must be.

        Returns:
            tuple: Where the entries of those stand that were measured, in the
            order of the images' ids; and why others failed, by their ids.

        Raises:
            FileNotFoundError: If there are fewer than ``size``.
        """
        run = self.run
        places = {
            image_id: place for image_id, place in run.journal.places().items()
            if run.wanted is None or image_id in run.wanted
        }
        if size is not None and len(places) < size:
            raise FileNotFoundError(
                f'{size - len(places)} of {size} images are missing in '
                f'{run.journal.folder}: all machines must see the same work '
                'dir, and no two images of the data set may have one id')
        ordered = [places[image_id] for image_id in sorted(
            places, key=sort_key)]
        failed = {
            str(entry['image_id']): entry['failed']
            for entry in run.journal.entries(
                place for place in ordered if place.failed)
        }
        return [place for place in ordered if not place.failed], failed

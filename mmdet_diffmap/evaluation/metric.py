# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_rank,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from .journal import Journal, sort_key
from .protocol import Methods
from .results import write_results
from .summary import QUANTITIES, Summary


@METRICS.register_module()
class ExplanationMetric(BaseMetric):
    """Keeps what :class:`ExplanationTestLoop` measures, and sums it up.

    What is measured goes to the journal on disk, image by image, and not
    through the memory of one process: mmengine's way of collecting results
    would lose all of them with any process, and hold all of them at once.

    Args:
        resume (bool): Whether the work dir may hold finished images of an
            earlier run with the same settings.
        against (str, optional): A method that all others are compared with,
            object by object. Each difference map is compared with its own
            method in any case.
        published (Mapping, optional): Figures to print beside the measured
            ones: by method, ``deletion`` and ``insertion``, ``target`` and
            ``others``, in per cent.
    """
    default_prefix = 'explanation'

    def __init__(self,
                 resume: bool = False,
                 against: str | None = None,
                 published: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.resume = resume
        self.against = against
        self.published = published
        #: The images that count; None for all of the journal.
        self.wanted: Collection[Hashable] | None = None
        #: What is written beside the figures: versions and the like.
        self.environment: dict[str, Any] = {}
        #: All figures, after :meth:`evaluate`, in the main process.
        self.record: dict[str, Any] = {}

    def open(self, folder: Path, settings: dict[str, Any], names: list[str],
             methods: Methods) -> Collection[Hashable]:
        """Begin, or go on with, a run.

        Args:
            folder (Path): Its work dir.
            settings (dict): All that changes results.
            names (list[str]): Of the methods, in the order of the tables.
            methods (Methods): The methods.

        Returns:
            Collection: The ids of images that are finished.

        Raises:
            ValueError: If the folder holds a run that this one does not go on
                with.
        """
        self.names = names
        self.pairs = list(methods.pairs)
        if self.against is not None:
            if self.against not in names:
                raise ValueError(f'there is no explainer {self.against!r} to '
                                 f'compare with, only {", ".join(names)}')
            known = {frozenset(pair) for pair in self.pairs}
            self.pairs += [
                (name, self.against) for name in names if name != self.against
                and frozenset((name, self.against)) not in known
            ]
        self.folder = folder
        self.settings = settings
        self.journal = Journal(folder, get_rank())
        self.journal.check(settings, self.resume)
        barrier()  # all have looked
        done: list[Any] = [None]
        if is_main_process():
            self.journal.start(settings)
        barrier()  # the folder is there
        self.journal.open()
        if is_main_process():
            done = [{one for one, place in self.journal.places().items()
                     if not place.failed}]
        broadcast_object_list(done)
        return done[0]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Put down what was measured.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): ``measured`` of each is an entry of
                the journal.
        """
        for sample in data_samples:
            self.journal.append(sample['measured'])

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum up when all processes have finished.

        Args:
            size (int): Number of images.

        Returns:
            dict: The areas under the curves by their names,
            ``explanation/METHOD/deletion_target`` for example.

        Raises:
            ValueError: If nothing could be measured.
            OSError: If images are missing, or files cannot be written.
        """
        self.journal.close()
        barrier()
        outcome: list[Any] = [None]
        if is_main_process():
            try:
                outcome = [{f'{self.prefix}/{name}': value for name, value in
                            self.compute_metrics([], size).items()}]
            except (OSError, ValueError) as error:  # all end with it
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def compute_metrics(self,
                        results: list,
                        size: int | None = None) -> dict[str, float]:
        """Read the journal, and write all files; see
        :func:`~mmdet_diffmap.evaluation.results.write_results`.

        Args:
            results (list): Not used.
            size (int, optional): How many images there must be.
        """
        places = self.journal.places()
        wanted = sorted(
            (one for one in places if self.wanted is None or one in
             self.wanted), key=sort_key)
        if size is not None and len(wanted) < size:
            raise FileNotFoundError(
                f'{size - len(wanted)} of {size} images are missing in '
                f'{self.journal.folder}: all machines must see the same work '
                'dir, and no two images of the data set may have one id')
        good = [places[one] for one in wanted if not places[one].failed]
        failed = {
            str(entry['image_id']): entry['failed']
            for entry in self.journal.entries(
                places[one] for one in wanted if places[one].failed)
        }
        summary = Summary(self.names, self.pairs)
        for entry in self.journal.entries(good):
            summary.add(entry)
        if not summary.images:
            raise ValueError(
                f'nothing could be measured: {summary.skipped} images have '
                f'too few objects, and {len(failed)} failed' + (
                    f', the first because of {next(iter(failed.values()))}'
                    if failed else ''))
        self.record = dict(
            settings=self.settings,
            environment=self.environment,
            failed=failed,
            **summary.as_dict())
        if self.published:
            self.record['published'] = dict(self.published)
        write_results(self.folder, self.record, self.journal.entries(good),
                      (self.dataset_meta or {}).get('classes', ()))
        return {
            f'{method}/{outer}_{inner}': found[outer][inner]
            for method, found in self.record['explainers'].items()
            for outer, inner in QUANTITIES if outer in found
        }

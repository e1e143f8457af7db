# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from .journal import EntryPlace, sort_key
from .measured_image import CURVES
from .protocol import Methods
from .results import write_results
from .run import BenchmarkRun
from .summary import Figures, RunRecord, Summary


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
        self.published = published or {}
        self._run: BenchmarkRun | None = None
        #: All figures, after :meth:`evaluate`, in the main process.
        self.record: RunRecord | None = None

    @property
    def run(self) -> BenchmarkRun:
        """The run whose images are measured.

        Raises:
            RuntimeError: If none has begun.
        """
        if self._run is None:
            raise RuntimeError('ExplanationMetric has no run to sum up: it is '
                               'for an ExplanationTestLoop, which begins one')
        return self._run

    def begin(self, run: BenchmarkRun) -> Collection[Hashable]:
        """Begin, or go on with, a run.

        Args:
            run (BenchmarkRun): The run.

        Returns:
            Collection: The ids of images that are finished.

        Raises:
            ValueError: If there is no method to compare ``against``, or as
                :meth:`BenchmarkRun.open`.
        """
        compared_pairs(run.methods, self.against)  # raises before the work
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
            dict: The areas under the curves by their names,
            ``explanation/METHOD/deletion_target`` for example.

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
        run = self.run
        places = self._wanted_places(size)
        measured = [place for place in places if not place.failed]
        failed = {
            str(entry['image_id']): entry['failed']
            for entry in run.journal.entries(
                place for place in places if place.failed)
        }
        summary = Summary(run.methods.names,
                          compared_pairs(run.methods, self.against))
        for entry in run.journal.entries(measured):
            summary.add(entry)
        check_measured(summary, failed)
        self.record = RunRecord(run.settings, run.environment, failed,
                                summary.figures(), self.published)
        write_results(run.folder, self.record, run.journal.entries(measured),
                      run.methods.pairs,
                      (self.dataset_meta or {}).get('classes', ()))
        return areas(self.record.figures)

    def _wanted_places(self, size: int | None) -> list[EntryPlace]:
        """Return where the entries of the images that count stand, in the
        order of the images' ids.

        Raises:
            FileNotFoundError: If there are fewer than ``size``.
        """
        journal, wanted = self.run.journal, self.run.wanted
        places = {
            image_id: place for image_id, place in journal.places().items()
            if wanted is None or image_id in wanted
        }
        if size is not None and len(places) < size:
            raise FileNotFoundError(
                f'{size - len(places)} of {size} images are missing in '
                f'{journal.folder}: all machines must see the same work '
                'dir, and no two images of the data set may have one id')
        return [places[image_id] for image_id in sorted(places, key=sort_key)]


def compared_pairs(methods: Methods,
                   against: str | None) -> list[tuple[str, str]]:
    """Return the pairs of methods whose difference is wanted, by name: each
    difference map with its own method, and all others with ``against``.

    Raises:
        ValueError: If there is no such method.
    """
    names, pairs = methods.names, methods.pairs
    if against is None:
        return pairs
    if against not in names:
        raise ValueError(f'there is no explainer {against!r} to compare with, '
                         f'only {", ".join(names)}')
    given = {frozenset(pair) for pair in pairs}
    return pairs + [
        (name, against) for name in names
        if name != against and frozenset((name, against)) not in given
    ]


def check_measured(summary: Summary, failed: Mapping[str, str]) -> None:
    """Raise a ValueError if no image has figures."""
    if not summary.images:
        raise ValueError(
            f'nothing could be measured: {summary.skipped} images have '
            f'too few objects, and {len(failed)} failed' + (
                f', the first because of {next(iter(failed.values()))}'
                if failed else ''))


def areas(figures: Figures) -> dict[str, Any]:
    """Return the areas under the curves, in per cent, by their names."""
    return {
        f'{method}/{"_".join(quantity)}': estimate.mean
        for method, method_figures in figures.methods.items()
        for quantity, estimate in method_figures.estimates.items()
        if quantity in CURVES
    }

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import METRICS

from .journal_metric import JournalMetric
from .measured_image import CURVES
from .protocol import Methods
from .results import write_results
from .summary import Figures, RunRecord, Summary


@METRICS.register_module()
class ExplanationMetric(JournalMetric):
    """Keeps what :class:`ExplanationTestLoop` measures, and sums it up; see
    :class:`~mmdet_diffmap.evaluation.journal_metric.JournalMetric`.

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
    loop = 'ExplanationTestLoop'

    def __init__(self,
                 resume: bool = False,
                 against: str | None = None,
                 published: Mapping[str, Any] | None = None) -> None:
        super().__init__(resume)
        self.against = against
        self.published = published or {}
        self._methods: Methods | None = None
        #: All figures, after :meth:`evaluate`, in the main process.
        self.record: RunRecord | None = None

    @property
    def methods(self) -> Methods:
        """The methods that are measured; see :meth:`compare`.

        Raises:
            RuntimeError: If nobody has said which.
        """
        if self._methods is None:
            raise self.not_begun()
        return self._methods

    def compare(self, methods: Methods) -> None:
        """Say which methods are measured.

        Raises:
            ValueError: If there is none to compare ``against``.
        """
        compared_pairs(methods, self.against)
        self._methods = methods

    def compute_metrics(self,
                        results: list,
                        size: int | None = None) -> dict[str, float]:
        """Read the journal, and write all files; see
        :func:`~mmdet_diffmap.evaluation.results.write_results`.

        Args:
            results (list): Not used.
            size (int, optional): How many images there must be.

        Returns:
            dict: The areas under the curves by their names,
            ``METHOD/deletion_target`` for example.
        """
        run = self.run
        measured, failed = self.finished(size)
        summary = Summary(self.methods.names,
                          compared_pairs(self.methods, self.against))
        for entry in run.journal.entries(measured):
            summary.add(entry)
        check_measured(summary, failed)
        self.record = RunRecord(run.settings, run.environment, failed,
                                summary.figures(), dict(self.methods.pairs),
                                self.published)
        write_results(run.folder, self.record, run.journal.entries(measured),
                      (self.dataset_meta or {}).get('classes', ()))
        return areas(self.record.figures)


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

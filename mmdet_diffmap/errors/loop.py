# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.utils import get_test_pipeline_cfg
from mmengine.evaluator import Evaluator
from mmengine.registry import LOOPS, METRICS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader

from ..apis.each_image import result_names
from ..apis.image_pipeline import ImagePipeline, image_pipeline
from ..apis.loading import load_detector
from ..datasets.named_coco import plain_class_name
from ..evaluation.image_loop import ImageLoop
from ..evaluation.image_set import ImageSet, TestImage
from ..evaluation.journal_metric import JournalMetric
from ..evaluation.settings import run_environment, run_settings, weights_hash
from ..explainers.engine import check_explainable
from ..tracing.detector import DetectorAdapter, unwrapped
from ..tracing.filtering import UnknownFilteringError
from ..tracing.heads import box_head
from ..tracing.prompts import language_model_of
from .files import write_errors
from .find import ExplainedErrors, find_errors
from .kinds import Thresholds
from .records import DetectorRecord, ImageRecord
from .summary import ErrorSummary


@METRICS.register_module()
class ErrorMetric(JournalMetric):
    """Keeps the errors that :class:`ErrorTestLoop` finds, and sums them up;
    see :class:`~mmdet_diffmap.evaluation.journal_metric.JournalMetric`.

    Args:
        resume (bool): Whether the work dir may hold finished images of an
            earlier run with the same settings.
    """
    default_prefix = 'errors'
    loop = 'ErrorTestLoop'

    def __init__(self, resume: bool = False) -> None:
        super().__init__(resume)
        #: The names of the detectors; set by the loop.
        self.names: Sequence[str] = ()
        #: Where kinds part; set by the loop.
        self.thresholds = Thresholds()
        #: All errors, after :meth:`evaluate`, in the main process.
        self.summary: ErrorSummary | None = None
        #: Why images failed, by their ids, in the same way.
        self.failed: dict[str, str] = {}

    def compute_metrics(self,
                        results: list,
                        size: int | None = None) -> dict[str, float]:
        """Read the journal, and write all files; see
        :func:`~mmdet_diffmap.errors.files.write_errors`.

        Args:
            results (list): Not used.
            size (int, optional): How many images there must be.

        Returns:
            dict: By the name of each kind, by how many points the average
            precision of the (first) detector would rise without it.
        """
        run = self.run
        measured, self.failed = self.finished(size)
        if not measured:
            raise ValueError(
                f'no image could be looked at; {len(self.failed)} failed, the '
                f'first because of {next(iter(self.failed.values()), "-")}')
        self.summary = ErrorSummary(
            map(ImageRecord.of_entry, run.journal.entries(measured)),
            (self.dataset_meta or {}).get('classes', ()), self.names,
            self.thresholds)
        write_errors(run.folder, self.summary, run.settings, run.environment,
                     self.failed)
        costs = self.summary.costs[0]
        return {'average_precision': costs.average_precision} | {
            kind.value.replace(',', '').replace(' ', '_'): gain
            for kind, gain in costs.gains.items()}


@LOOPS.register_module()
class ErrorTestLoop(ImageLoop):
    """Finds a detector's errors in a data set, and what they cost.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): See
            :class:`~mmdet_diffmap.evaluation.image_loop.ImageLoop`.
        evaluator (Evaluator | dict): An :class:`ErrorMetric`.
        score_thr (float): Detections with a larger score count.
        foreground, background (float): See
            :class:`~mmdet_diffmap.errors.kinds.Thresholds`.
        against (Mapping, optional): Another detector, whose errors are found
            too: ``config``, ``checkpoint`` and ``cfg_options``, as
            :func:`~mmdet_diffmap.load_detector` takes them.
        num_images (int, optional): Only the first so many images.
        images (Sequence[str]): Only images of these names.

    Raises:
        ValueError: If an argument makes no sense.
    """
    metric_type = ErrorMetric
    fatal = (UnknownFilteringError, )

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 evaluator: Evaluator | dict | list,
                 score_thr: float = 0.3,
                 foreground: float = 0.5,
                 background: float = 0.1,
                 against: Mapping[str, Any] | None = None,
                 num_images: int | None = None,
                 images: Sequence[str] = ()) -> None:
        if not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must be in [0, 1], not {score_thr}')
        self.score_thr = score_thr
        self.thresholds = Thresholds(foreground, background)
        self.against = against
        self.detectors: list[nn.Module] = []
        #: That of the other detector, which looks at the same pixels.
        self.pipeline: ImagePipeline | None = None
        super().__init__(runner, dataloader, evaluator, num_images, images)

    @property
    def image_set(self) -> ImageSet:
        """The images."""
        return self.remaining.images

    def prepare(self) -> None:
        """Load the other detector, and make sure that both can be looked
        at."""
        self.detectors = [self.model]
        configs = [str(self.runner.cfg.filename or 'detector.py')]
        meta: Any = self.image_set.metainfo
        check_number_of_classes(meta, self.model)
        if getattr(self.model, 'dataset_meta', None) is None:
            self.model.dataset_meta = meta
        if self.against is not None:
            self.image_set.pictures = True
            other = unwrapped(load_detector(
                self.against['config'], self.against.get('checkpoint'),
                str(self.model.data_preprocessor.device),
                self.against.get('cfg_options')))
            check_same_classes(meta, other)
            self.detectors.append(other)
            self.pipeline = image_pipeline(other)
            configs.append(str(self.against['config']))
        self.metric.names = distinct_names(configs)
        self.metric.thresholds = self.thresholds
        for detector in self.detectors:
            check_explainable(detector, [])

    def settings(self) -> dict[str, Any]:
        """Return all that changes what is found."""
        against = None
        if self.against is not None:
            other: Any = self.detectors[1]
            against = dict(model=other.cfg.get('model'),
                           weights=weights_hash(other),
                           pipeline=get_test_pipeline_cfg(other.cfg))
        return run_settings(
            self.runner.cfg, self.model, self.image_set.dataset,
            score_thr=self.score_thr,
            thresholds=[self.thresholds.background,
                        self.thresholds.foreground],
            against=against)

    def environment(self) -> dict[str, Any]:
        """Return what changes it by rounding only."""
        return run_environment(self.model.data_preprocessor.device, 1)

    def explained(self, image: TestImage, detector: int,
                  target_layer: str | None = None,
                  statistics: str = 'exact') -> ExplainedErrors:
        """Find the errors of one of the detectors in an image.

        Args:
            image (TestImage): The image.
            detector (int): Which.
            target_layer (str, optional): See :class:`DetectorAdapter`; None if
                no maps are wanted.
            statistics (str): See the same.
        """
        data = image.data
        if detector:
            assert image.picture is not None and self.pipeline is not None
            data = self.pipeline(image.picture).batch
        adapter = DetectorAdapter(self.detectors[detector], target_layer,
                                  statistics)
        return find_errors(adapter, data, image.instances, 0, self.score_thr,
                           self.thresholds)

    def measure(self, image: TestImage) -> tuple[dict[str, Any], InstanceData]:
        """Find the errors in one image."""
        found = [self.explained(image, number)
                 for number in range(len(self.detectors))]
        path = image.data['data_samples'][0].metainfo.get('img_path') or ''
        return dict(path=str(path), detectors=[
            DetectorRecord.of_explained(explained).as_json()
            for explained in found]), found[0].errors.detections


def distinct_names(configs: Sequence[str]) -> list[str]:
    """Return names of detectors, whose configs may have the same.

    >>> distinct_names(['a/x.py', 'b/y.py']), distinct_names(['x.py'] * 2)
    (['x', 'y'], ['x_py', 'x_py_2'])
    """
    return result_names([Path(config).as_posix() for config in configs])


def check_number_of_classes(meta: Mapping[str, Any], model: Any) -> None:
    """Raise a ValueError if a detector has another number of classes than the
    data set, as far as its head says."""
    if language_model_of(model) is not None:
        return  # it looks for what the data set's texts name
    number = getattr(box_head(model), 'num_classes', None)
    classes = meta.get('classes')
    if number and classes and number != len(classes):
        raise ValueError(
            f'the detector knows {number} classes, and the data set '
            f'{len(classes)}: give annotations of the detector\'s classes '
            '(metainfo of the data set, or --annotations)')


def check_same_classes(meta: Mapping[str, Any], other: Any) -> None:
    """Raise a ValueError unless another detector has the classes of the data
    set, in their order."""
    own, others = (
        list(map(plain_class_name, classes.get('classes') or ()))
        for classes in (meta, getattr(other, 'dataset_meta', None) or {}))
    if own and others and own != others:
        different = next((f'{ours!r} and {theirs!r}' for ours, theirs in zip(
            own, others) if ours != theirs),
            f'{len(own)} and {len(others)} classes')
        raise ValueError(
            'the two detectors were trained for other classes '
            f'({different}): only errors about the same ones can be compared')

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A test loop that looks at one image after the other, and loses none."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmdet.structures import DetDataSample
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner, TestLoop
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from ..io.progress import progress_bar
from ..tracing.detector import unwrapped
from .image_set import (
    FailedImage,
    ImageSet,
    RemainingImages,
    TestImage,
    dataset_of,
    loader_options,
    only,
)
from .journal_metric import JournalMetric
from .run import JournaledRun
from .stopwatch import Stopwatch


class ImageLoop(TestLoop):
    """Looks at the images of a data set one by one, and keeps what it learns
    of each on disk.

    Images go through the detector one by one, whatever the data loader's
    batch size: in a batch, an image's padding depends on the others. So
    figures do not depend on the order of images, nor on the number of
    processes. An image that fails does not stop the others.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Its data set, with annotations, and
            how many workers load it.
        evaluator (Evaluator | dict): One metric, of ``metric_type``.
        num_images (int, optional): Only the first so many images.
        images (Sequence[str]): Only images of these names; see
            :class:`~mmdet_diffmap.evaluation.image_set.ImageSet`.

    Raises:
        ValueError: If an argument makes no sense.
    """
    #: What the loop's evaluator must have.
    metric_type: ClassVar[type[JournalMetric]]
    #: Errors that are the same for all images, and so end the run.
    fatal: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 evaluator: Evaluator | dict | list,
                 num_images: int | None = None,
                 images: Sequence[str] = ()) -> None:
        if num_images is not None and num_images < 1:
            raise ValueError(f'num_images must be 1 or more, not {num_images}')
        image_set = ImageSet(dataset_of(dataloader), images)
        self.count = min(num_images or len(image_set), len(image_set))
        self.remaining = RemainingImages(image_set, self.count, (),
                                         get_rank(), get_world_size())
        #: What the stages of this process take.
        self.watch = Stopwatch()
        super().__init__(
            runner,
            DataLoader(
                image_set,
                sampler=self.remaining,
                collate_fn=only,
                **loader_options(dataloader)), evaluator)
        metrics = self.evaluator.metrics
        if len(metrics) != 1 or not isinstance(metrics[0], self.metric_type):
            loop, metric = type(self).__name__, self.metric_type.__name__
            raise ValueError(f'{loop} needs an evaluator of one {metric}: '
                             f'test_evaluator = dict(type="{metric}")')

    @property
    def metric(self) -> Any:
        """The metric of the loop's evaluator."""
        return self.evaluator.metrics[0]

    @property
    def model(self) -> BaseModel:
        """The detector itself."""
        return unwrapped(self.runner.model)

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that the detector can be measured, before the work."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all that changes what is measured, ready for JSON."""

    @abstractmethod
    def environment(self) -> dict[str, Any]:
        """Return what changes what is measured by rounding only."""

    @abstractmethod
    def measure(self, image: TestImage) -> tuple[dict[str, Any], InstanceData]:
        """Measure one image.

        Returns:
            tuple: What the journal keeps, ready for JSON, and the detections
            that hooks get.
        """

    def run(self) -> dict:
        """Measure all images that are not measured yet.

        Returns:
            dict: See :meth:`JournalMetric.evaluate`.
        """
        with single_precision():
            return self.measure_images()

    def measure_images(self) -> dict:
        """Measure the images; see :meth:`run`."""
        self.prepare()
        self.remaining.done = self.metric.begin(self.journaled_run())
        if self.remaining.done:
            self.runner.logger.info(
                f'{len(self.remaining.done)} images are done already')
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        with progress_bar('images', len(self.remaining),
                          self.remaining.finished()) as advance:
            for index, image in enumerate(self.loaded()):
                self.run_iter(index, image)
                advance(1)
        with self.watch.stage('results'):
            metrics = self.evaluator.evaluate(self.count)
            # in the main process only; mmengine's logger writes those of a
            # test to a file and to no backend. It adds the step to them.
            self.runner.visualizer.add_scalars({
                name: value for name, value in metrics.items()
                if value is not None
            })
        self.finish()
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def finish(self) -> None:
        """Do what is left to do when all figures are there."""

    def journaled_run(self) -> JournaledRun:
        """Describe the run in the work dir."""
        images = self.remaining.images
        wanted = None
        if self.count < len(images.dataset) and is_main_process():
            wanted = {images.image_id(index) for index in range(self.count)}
        return JournaledRun(
            Path(self.runner.work_dir), self.settings(), self.environment(),
            wanted)

    def loaded(self) -> Iterator[TestImage | FailedImage]:
        """Yield the images of this process as they come from the workers."""
        images = iter(self.dataloader)
        while True:
            try:
                with self.watch.stage('load'):
                    image = next(images, None)
            except RuntimeError as error:  # what torch says of it
                raise dead_worker(error) from error
            if image is None:
                return
            yield image

    def run_iter(self, idx: int, image: TestImage | FailedImage) -> None:
        """Measure one image. One that fails does not stop the others."""
        if isinstance(image, FailedImage):
            self.note(image.image_id, dict(failed=image.reason))
            return
        self.runner.call_hook(
            'before_test_iter', batch_idx=idx, data_batch=image.data)
        try:
            figures, detections = self.measure(image)
        except self.fatal:
            raise
        except Exception as error:  # a detector fails in its own way
            if 'DataLoader worker (pid' in str(error):
                raise dead_worker(error) from error
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # or all others would fail too
            reason = f'{type(error).__name__}: {error}'
            self.note(image.image_id, dict(failed=reason))
            return
        self.note(image.image_id, figures)
        sample = DetDataSample(
            metainfo=image.data['data_samples'][0].metainfo,
            pred_instances=detections)
        self.runner.call_hook(
            'after_test_iter',
            batch_idx=idx,
            data_batch=image.data,
            outputs=[sample])

    def note(self, image_id: Hashable, figures: dict[str, Any]) -> None:
        """Put an image into the journal."""
        if 'failed' in figures:
            self.runner.logger.warning(
                f'image {image_id} failed: {figures["failed"]}')
        with self.watch.stage('journal'):
            self.evaluator.process(
                [dict(measured=dict(image_id=image_id, **figures))])


@contextmanager
def single_precision() -> Iterator[None]:
    """Let convolutions on a GPU not round to ten bits in this context."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def dead_worker(error: Exception) -> ChildProcessError:
    """Make the error for when torch says that a loading process is gone."""
    return ChildProcessError(
        'a worker that loads images died; finished images are kept, and '
        f'--resume goes on from there: {error}')

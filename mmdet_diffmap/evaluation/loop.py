# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import LOOPS
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader

from ..explainers import ExplainerLike
from ..explainers.engine import check_explainable
from ..io.files import replacing
from ..io.progress import progress_bar
from ..tracing.detector import unwrapped
from .image_scorer import ImageScorer
from .image_set import (
    FailedImage,
    ImageSet,
    RemainingImages,
    TestImage,
    dataset_of,
    loader_options,
    only,
)
from .metric import ExplanationMetric
from .protocol import Methods, Protocol
from .run import BenchmarkRun
from .settings import run_environment, run_settings
from .stopwatch import Stopwatch

#: The methods of the paper's Table 1.
TABLE_1 = tuple(
    f'{name}{ending}'
    for name in ('grad-cam', 'ss-grad-cam', 'ss-grad-cam++', 'odam')
    for ending in ('', '-diff'))


@LOOPS.register_module()
class ExplanationTestLoop(TestLoop):
    """Tests explanations instead of detections: Deletion and Insertion
    (paper, Sec. 4.3), and how well maps keep to their own objects.

    Images go through the detector one by one, whatever the data loader's
    batch size: in a batch, an image's padding depends on the others. The
    changed images of an image are batched. So figures do not depend on the
    order of images, nor on the number of processes.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Its data set, with annotations, and
            how many workers load it.
        evaluator (Evaluator | dict): An :class:`ExplanationMetric`.
        explainers (Mapping | Sequence): Configs of methods by their names, or
            names alone. Defaults to those of the paper's Table 1.
        num_images (int, optional): Only the first so many images.
        forward_batch_size (int): So many changed images go through the
            detector at once. It is halved when memory runs out.
        profile (bool): Also run the bare forward passes, and write
            ``profile.json``, which compares them with the run, into the work
            dir.
        **protocol: See :class:`~mmdet_diffmap.evaluation.protocol.Protocol`.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 evaluator: Evaluator | dict | list,
                 explainers: Mapping[str, ExplainerLike]
                 | Sequence[str] = TABLE_1,
                 num_images: int | None = None,
                 forward_batch_size: int = 16,
                 profile: bool = False,
                 **protocol: Any) -> None:
        if num_images is not None and num_images < 1:
            raise ValueError(f'num_images must be 1 or more, not {num_images}')
        if not isinstance(explainers, Mapping):
            explainers = {name: name for name in explainers}
        self.protocol = Protocol(**protocol)
        self.methods = Methods(explainers)
        self.forward_batch_size = forward_batch_size
        self.profile = profile
        images = ImageSet(dataset_of(dataloader))
        self.count = min(num_images or len(images), len(images))
        self.remaining = RemainingImages(images, self.count, (), get_rank(),
                                      get_world_size())
        super().__init__(
            runner,
            DataLoader(
                images,
                sampler=self.remaining,
                collate_fn=only,
                **loader_options(dataloader)), evaluator)
        metrics = self.evaluator.metrics
        if len(metrics) != 1 or not isinstance(metrics[0], ExplanationMetric):
            raise ValueError('ExplanationTestLoop needs an evaluator of one '
                             'ExplanationMetric: test_evaluator = '
                             'dict(type="ExplanationMetric")')
        self.metric = metrics[0]

    def run(self) -> dict:
        """Measure all images that are not measured yet.

        Returns:
            dict: See :meth:`ExplanationMetric.evaluate`.
        """
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False  # ten bits of a number
        try:
            return self.measure()
        finally:
            torch.backends.cudnn.allow_tf32 = before

    def measure(self) -> dict:
        """Measure the images; see :meth:`run`."""
        started = time.perf_counter()
        model: BaseModel = unwrapped(self.runner.model)
        check_explainable(model, self.methods.explainers)  # before the work
        scorer = ImageScorer(model, self.methods, self.protocol,
                             self.forward_batch_size, self.profile)
        self.remaining.done = self.metric.begin(self.benchmark_run(model))
        if self.remaining.done:
            self.runner.logger.info(
                f'{len(self.remaining.done)} images are done already')
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        for index, image in enumerate(self.loaded(scorer.watch)):
            self.run_iter(index, image, scorer)
        with scorer.watch.stage('results'):
            metrics = self.evaluator.evaluate(self.count)
            # in the main process only; mmengine's logger writes those of a
            # test to a file and to no backend. It adds the step to them.
            self.runner.visualizer.add_scalars({
                name: value for name, value in metrics.items()
                if value is not None
            })
        if self.profile and is_main_process():
            write_profile(
                Path(self.runner.work_dir, 'profile.json'), scorer,
                time.perf_counter() - started)
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def benchmark_run(self, model: BaseModel) -> BenchmarkRun:
        """Describe the run in the work dir."""
        images = self.remaining.images
        wanted = None
        if self.count < len(images) and is_main_process():
            wanted = {images.image_id(index) for index in range(self.count)}
        return BenchmarkRun(
            Path(self.runner.work_dir),
            run_settings(self.runner.cfg, model, images.dataset,
                         self.methods.methods, self.protocol),
            self.methods,
            run_environment(model.data_preprocessor.device,
                            self.forward_batch_size), wanted)

    def loaded(self, watch: Stopwatch) -> Iterator[TestImage | FailedImage]:
        """Yield the images of this process as they come from the workers."""
        images = iter(self.dataloader)
        with progress_bar('images', len(self.dataloader)) as advance:
            while True:
                try:
                    with watch.stage('load'):
                        image = next(images, None)
                except RuntimeError as error:  # what torch says of it
                    raise dead_worker(error) from error
                if image is None:
                    return
                yield image
                advance(1)

    def run_iter(self, idx: int, image: TestImage | FailedImage,
                 scorer: ImageScorer) -> None:
        """Measure one image. One that fails does not stop the others."""
        if isinstance(image, FailedImage):
            self.note(image.image_id, dict(failed=image.reason), scorer)
            return
        self.runner.call_hook(
            'before_test_iter', batch_idx=idx, data_batch=image.data)
        try:
            objects, figures = scorer(image.data, image.truth, image.image_id)
        except Exception as error:  # a detector fails in its own way
            if 'DataLoader worker (pid' in str(error):
                raise dead_worker(error) from error
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # or all others would fail too
            reason = f'{type(error).__name__}: {error}'
            self.note(image.image_id, dict(failed=reason), scorer)
            return
        self.note(image.image_id, figures, scorer)
        sample = DetDataSample(
            metainfo=image.data['data_samples'][0].metainfo,
            pred_instances=objects)
        self.runner.call_hook(
            'after_test_iter',
            batch_idx=idx,
            data_batch=image.data,
            outputs=[sample])

    def note(self, image_id: Hashable, figures: dict[str, Any],
             scorer: ImageScorer) -> None:
        """Put an image into the journal."""
        if 'failed' in figures:
            self.runner.logger.warning(
                f'image {image_id} failed: {figures["failed"]}')
        with scorer.watch.stage('journal'):
            self.evaluator.process(
                [dict(measured=dict(image_id=image_id, **figures))])


def write_profile(path: Path, scorer: ImageScorer, seconds: float) -> None:
    """Write how long the stages of this process took, of so many seconds in
    all."""
    stages = dict(scorer.watch.seconds)
    bare = stages.pop('bare forward', 0.)
    total = seconds - bare - stages.pop('profile', 0.)
    stages['rest'] = total - sum(stages.values())
    profile = dict(
        forwards=scorer.forward.count,
        bare_forwards=bare,
        whole_run=total,
        ratio=total / bare if bare else None,
        stages=stages)
    with replacing(path) as file:
        file.write(json.dumps(profile, indent=1).encode())


def dead_worker(error: Exception) -> ChildProcessError:
    """Make the error for when torch says that a loading process is gone."""
    return ChildProcessError(
        'a worker that loads images died; finished images are kept, and '
        f'--resume goes on from there: {error}')

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from ..explainers import ExplainerLike
from ..explainers.engine import check_explainable
from ..explainers.explainer import as_config
from ..io.files import replacing
from .image_loop import ImageLoop
from .image_scorer import ImageScorer
from .image_set import TestImage
from .metric import ExplanationMetric
from .protocol import Methods, Protocol
from .settings import run_environment, run_settings

#: The methods of the paper's Table 1.
TABLE_1 = tuple(
    f'{name}{ending}'
    for name in ('grad-cam', 'ss-grad-cam', 'ss-grad-cam++', 'odam')
    for ending in ('', '-diff'))


@LOOPS.register_module()
class ExplanationTestLoop(ImageLoop):
    """Tests explanations instead of detections: Deletion and Insertion
    (paper, Sec. 4.3), and how well maps keep to their own objects.

    The changed images of an image are batched.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): See
            :class:`~mmdet_diffmap.evaluation.image_loop.ImageLoop`.
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
    metric_type = ExplanationMetric

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
        if not isinstance(explainers, Mapping):
            explainers = {name: name for name in explainers}
        self.protocol = Protocol(**protocol)
        self.methods = Methods(explainers)
        self.forward_batch_size = forward_batch_size
        self.profile = profile
        super().__init__(runner, dataloader, evaluator, num_images)
        self.metric.compare(self.methods)
        self.started = 0.

    def prepare(self) -> None:
        """Make sure that the methods can explain the detector."""
        self.started = time.perf_counter()
        check_explainable(self.model, self.methods.explainers)
        self.scorer = ImageScorer(self.model, self.methods, self.protocol,
                                  self.forward_batch_size, self.profile)
        self.watch = self.scorer.watch

    def settings(self) -> dict[str, Any]:
        """Return all that changes figures."""
        protocol = asdict(self.protocol)
        return run_settings(
            self.runner.cfg, self.model, self.remaining.images.dataset,
            explainers={method.name: as_config(method.explainer)
                        for method in self.methods.methods},
            protocol=dict(protocol, metrics=sorted(self.protocol.metrics)))

    def environment(self) -> dict[str, Any]:
        """Return what changes figures by rounding only."""
        return run_environment(self.model.data_preprocessor.device,
                               self.forward_batch_size)

    def measure(self, image: TestImage) -> tuple[dict[str, Any], InstanceData]:
        """Measure the explanations of one image."""
        objects, figures = self.scorer(image.data, image.truth, image.image_id)
        return figures, objects

    def finish(self) -> None:
        """Write the profile, if there is one."""
        if self.profile and is_main_process():
            write_profile(
                Path(self.runner.work_dir, 'profile.json'), self.scorer,
                time.perf_counter() - self.started)


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

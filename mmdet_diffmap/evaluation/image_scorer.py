# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""All that is measured of one image: its objects, their maps, and what the
detector finds behind changed pixels."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData
from torch import Tensor

from ..explainers.engine import make_heatmaps, trace_image
from ..tracing.detector import DetectorAdapter
from ..tracing.modes import evaluation_mode
from ..tracing.trace import Trace
from .curves import DIGITS, Curves, Place
from .ground_truth import GroundTruth
from .localization import box_regions
from .map_metrics import MAP_METRICS, Regions
from .objects import ObjectChoice, as_array, found_scores
from .perturbation import perturb, rank_pixels, step_counts
from .protocol import Methods, Protocol
from .stopwatch import Stopwatch


class ImageScorer:
    """Measures explanations, image by image.

    Args:
        model (BaseDetector): The detector.
        methods (Methods): The explanation methods.
        protocol (Protocol): What is measured.
        batch_size (int): So many changed images go through the detector at
            once. It is halved, for good, when memory runs out.
        profile (bool): Run each batch a second time, to know what the bare
            forward passes take.
    """

    def __init__(self,
                 model: BaseDetector,
                 methods: Methods,
                 protocol: Protocol,
                 batch_size: int = 16,
                 profile: bool = False) -> None:
        if batch_size < 1:
            raise ValueError('forward_batch_size must be 1 or more, not '
                             f'{batch_size}')
        self.model = model
        self.methods = methods
        self.protocol = protocol
        self.batch_size = batch_size
        self.profile = profile
        self.watch = Stopwatch(
            model.data_preprocessor.device if profile else None)
        self.forwards = 0  # changed images that were looked at

    def __call__(self, data: dict, truth: GroundTruth,
                 image_id: Hashable) -> tuple[InstanceData, dict[str, Any]]:
        """Measure one image.

        Args:
            data (dict): A batch of this image alone.
            truth (GroundTruth): Its annotated objects.
            image_id (Hashable): Seeds the noise.

        Returns:
            tuple: The objects, and what was measured of them, ready for JSON:
            ``objects``, and, if there are enough of them, ``untouched``,
            their scores on the untouched image, ``scores`` (see
            :meth:`Curves.as_dict`), and, by the names of ``MAP_METRICS``,
            for each method and quantity the value of every object.

        Raises:
            FloatingPointError: If maps or scores are not finite.
            MemoryError: If a single image does not fit.
        """
        least = self.protocol.min_objects
        if len(truth) < least:
            return no_objects(), dict(objects=[])
        choice = ObjectChoice(truth, self.protocol)
        runs = trace_image(self.model, data, 0, self.methods.explainers,
                           choice)
        with self.watch.stage('detect'):
            trace = next(runs)
        objects = trace.detections
        result: dict[str, Any] = dict(objects=choice.described(trace))
        if len(objects) >= least:
            work = ImageWork(self, data, trace, runs, choice, image_id)
            result.update(work.measure())
        return objects, result

    def in_batches(self, images: Tensor,
                   run: Callable[[Tensor], list]) -> list:
        """What the detector makes of images (B, 3, H, W), in smaller batches
        when memory runs out."""
        found: list = []
        while len(found) < len(images):
            part = images[len(found):len(found) + self.batch_size]
            reason = ''
            try:
                with torch.autocast(
                        images.device.type, enabled=self.protocol.amp):
                    found += run(part)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error)
            if reason:  # the error is gone, and with it what it held
                if len(part) == 1:
                    raise MemoryError('a single changed image does not fit in '
                                      f'memory: {reason}')
                self.batch_size = (len(part) + 1) // 2
                if images.is_cuda:
                    torch.cuda.empty_cache()
        return found


class ImageWork:
    """The work on one image with enough objects; see :class:`ImageScorer`.

    Args:
        scorer (ImageScorer): What is measured, and how.
        data (dict): A batch of this image alone.
        trace (Trace): Of the objects.
        runs (Iterator[Trace]): For the explainers after the first one.
        choice (ObjectChoice): The objects.
        image_id (Hashable): Seeds the noise.
    """

    def __init__(self, scorer: ImageScorer, data: dict, trace: Trace,
                 runs: Iterator[Trace], choice: ObjectChoice,
                 image_id: Hashable) -> None:
        self.scorer = scorer
        self.protocol = scorer.protocol
        self.watch = scorer.watch
        self.data = data
        self.first: Trace | None = trace
        # the graph is for the explainer alone, and may be large
        self.trace = replace(trace, outputs=trace.outputs.detach())
        self.runs = runs
        self.choice = choice
        self.seed = self.protocol.seed, seed_of(image_id)
        height, width = trace.frame.content_shape
        self.counts = [
            step_counts(area, self.protocol.steps, height * width)
            for area in choice.areas(trace)
        ]

    def untouched_scores(self) -> np.ndarray:
        """How well the objects are found on the untouched image, with the
        precision that changed images are looked at."""
        if not self.protocol.amp:
            return self.choice.scores
        image = self.trace.input.image[None]
        every = self.scorer.in_batches(image, self.trace.input.detections)
        (scores, ) = as_array(
            found_scores(self.trace.detections, every, self.protocol.iou_thr))
        if not (scores > 0).all():
            raise ValueError('mixed precision does not find all objects of '
                             'the untouched image')
        return scores

    def measure(self) -> dict[str, Any]:
        """All that the protocol asks for."""
        result: dict[str, Any] = {}
        maps = self.maps()
        if set(self.protocol.metrics) & set(MAP_METRICS):
            maps = self.measuring(maps, result)
        if 'del_ins' in self.protocol.metrics:
            original = self.untouched_scores()
            result['untouched'] = original.round(DIGITS).tolist()
            result['scores'] = self.curves(maps, original)
        else:
            for _ in maps:
                pass
        return result

    def maps(self) -> Iterator[tuple[str, Tensor]]:
        """The maps (N, H, W) of each method."""
        trace, self.first = self.first, None
        methods = self.scorer.methods
        for explainer, named in zip(methods.explainers, methods.named):
            with self.watch.stage('explain'):
                if trace is None:
                    trace = next(self.runs)
                heatmaps, _ = make_heatmaps(explainer, trace)
                heatmaps = heatmaps.float()
            trace = None
            for name, difference in named.items():
                with self.watch.stage('explain'):
                    found = difference.compare(heatmaps) if difference else \
                        heatmaps
                    if found.isnan().any():
                        raise FloatingPointError(f'a map of {name} holds NaN')
                yield name, found

    def measuring(
            self, maps: Iterator[tuple[str, Tensor]],
            result: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
        """The maps, of which what ``MAP_METRICS`` say is noted on the way; of
        difference maps the positive part."""
        groups = [name for name in MAP_METRICS
                  if name in self.protocol.metrics]
        size = self.trace.frame.image_shape
        device = self.trace.outputs.device
        with self.watch.stage('map metrics'):
            regions = Regions(self.choice.truth, size, device)
            found = box_regions(self.trace.detections.bboxes, *size)
        result.update((name, {}) for name in groups)
        for method, heatmaps in maps:
            for name in groups:
                with self.watch.stage('map metrics'):
                    metric = MAP_METRICS[name]
                    rows = [
                        metric(heatmap, own, regions, box, DIGITS)
                        for heatmap, own, box in zip(
                            heatmaps.relu(), self.choice.own, found)
                    ]
                    result[name][method] = {
                        quantity: [row[quantity] for row in rows]
                        for quantity in metric.quantities
                    }
            yield method, heatmaps

    def curves(self, maps: Iterator[tuple[str, Tensor]],
               original: np.ndarray) -> dict[str, Any]:
        """The scores behind changed pixels; see :meth:`Curves.as_dict`."""
        curves = Curves(original, np.zeros(len(original)))
        image = self.trace.input.image
        batch = image.new_empty(self.scorer.batch_size, *image.shape)
        places: list[Place | None] = []
        for place, changed in self.changed_images(maps, curves):
            with self.watch.stage('perturb'):
                batch[len(places)] = changed
            places.append(place)
            if len(places) == len(batch):
                self.score(batch, places, curves)
                places = []
        self.score(batch[:len(places)], places, curves)
        with self.watch.stage('score'):
            return curves.as_dict()

    def changed_images(
            self, maps: Iterator[tuple[str, Tensor]],
            curves: Curves) -> Iterator[tuple[Place | None, Tensor]]:
        """All changed images of all methods and objects; first of all the
        black one, which they share."""
        image, frame = self.trace.input.image, self.trace.frame
        black = image.clone()
        black[(..., *frame.content)] = self.trace.input.black
        yield None, black
        for name, found in maps:
            count, steps = len(found), self.protocol.steps
            curves.scores[name] = np.zeros((2, count, steps + 1, count))
            for target, counts in enumerate(self.counts):
                with self.watch.stage('rank'):
                    (importance, ) = frame.to_content(found[target][None])
                    order = frame.content_to_input(
                        rank_pixels(importance, counts[-1]))
                with self.watch.stage('perturb'):
                    noise = self.noise(target)
                ends = (image, noise), (black, image)
                for direction, (start, end) in enumerate(ends):
                    images = perturb(start, end, order, counts)
                    for step in range(1, steps + 1):
                        with self.watch.stage('perturb'):
                            changed = next(images)
                        yield Place(name, direction, target, step), changed

    def noise(self, target: int) -> Tensor:
        """Uniform noise at the input's size, the same for all methods and on
        all devices."""
        random = np.random.default_rng((*self.seed, target))
        values = random.integers(
            0, 256, (3, *self.trace.frame.input_shape), dtype=np.uint8)
        network = self.trace.input
        return network.of_pixels(
            torch.from_numpy(values).to(network.image.device))

    def score(self, images: Tensor, places: Sequence[Place | None],
              curves: Curves) -> None:
        """Look for the objects in a batch of changed images."""
        if not places:
            return
        if self.scorer.profile:
            with self.watch.stage('profile'):
                self.bare_forward(images)
        with self.watch.stage('forward'):
            detections = self.scorer.in_batches(images,
                                                self.trace.input.detections)
        self.scorer.forwards += len(images)
        with self.watch.stage('score'):
            scores = as_array(
                found_scores(self.trace.detections, detections,
                             self.protocol.iou_thr))
            for place, found in zip(places, scores):
                curves.add(place, found)

    def bare_forward(self, images: Tensor) -> None:
        """mmdet's own forward pass, with nothing around it."""
        model = self.scorer.model
        _, sample = DetectorAdapter(model, None).preprocess(self.data, 0)
        samples = [sample.clone() for _ in images]

        def run(part: Tensor) -> list:
            return model(part, samples[:len(part)], mode='predict')

        with torch.no_grad(), evaluation_mode(model), \
                self.watch.stage('bare forward'):
            self.scorer.in_batches(images, run)


def no_objects() -> InstanceData:
    return InstanceData(
        bboxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.long))


def seed_of(image_id: Hashable) -> int:
    """A number for an image's id, the same in every process."""
    if isinstance(image_id, int) and image_id >= 0:
        return image_id
    digest = hashlib.sha256(str(image_id).encode()).digest()
    return int.from_bytes(digest[:8], 'big')


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on any device."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in said
        for words in ('out of memory', 'allocate memory', 'alloc_failed'))

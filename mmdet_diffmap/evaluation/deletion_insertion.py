# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Deletion and Insertion of the objects of one image (paper, Sec. 4.3)."""
from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .curves import DIGITS, Curves, Place
from .forward_passes import ForwardPasses
from .objects import ImageObjects, as_array, matched_scores
from .perturbation import perturb, rank_pixels, step_counts
from .protocol import Protocol
from .stopwatch import Stopwatch


class DeletionInsertion:
    """Looks for the objects of an image while its pixels are replaced, in the
    order in which each method says that they matter.

    Changed images of all methods fill one batch after the other, so that only
    one batch is in memory. The first image of all is black; it is a point of
    every insertion.

    Args:
        objects (ImageObjects): The objects.
        data (dict): A batch of the image alone, for bare forward passes.
        image_id (Hashable): Seeds the noise.
        protocol (Protocol): What is measured.
        forward (ForwardPasses): Runs the detector.
        watch (Stopwatch): Of the stages ``rank``, ``perturb``, ``forward``,
            ``score`` and, with ``profile``, ``profile`` and ``bare
            forward``.
        profile (bool): Run each batch a second time, to know what the bare
            forward passes take.
    """

    def __init__(self, objects: ImageObjects, data: dict, image_id: Hashable,
                 protocol: Protocol, forward: ForwardPasses,
                 watch: Stopwatch, profile: bool = False) -> None:
        self.objects = objects
        self.data = data
        self.protocol = protocol
        self.forward = forward
        self.watch = watch
        self.profile = profile
        self.seed = protocol.seed, seed_of(image_id)
        height, width = objects.frame.content_shape
        self.counts = [
            step_counts(area, protocol.steps, height * width)
            for area in objects.areas()
        ]
        self.original = self._original_scores()
        self.curves = Curves(self.original, np.zeros(len(objects)))
        image = objects.input.image  # (3, H, W)
        self.black = image.clone()
        self.black[(..., *objects.frame.content)] = objects.input.black
        self.batch = image.new_empty(forward.batch_size, *image.shape)
        self.places: list[Place | None] = []  # of the images in the batch
        with watch.stage('perturb'):
            self._look_at(self.black, None)

    def add(self, method: str, maps: Tensor) -> None:
        """Delete and insert the pixels of each object.

        Args:
            method (str): The name of the method.
            maps (Tensor): Its maps in the original image, shape (N, H, W).
        """
        self.curves.begin(method, self.protocol.steps)
        for target, importance in enumerate(maps):
            with self.watch.stage('rank'):
                order = self._pixel_order(importance, target)
            with self.watch.stage('perturb'):
                noise = self._noise(target)
                image = self.objects.input.image
                for direction, (start, end) in enumerate(
                        [(image, noise), (self.black, image)]):
                    changed_images = perturb(start, end, order,
                                             self.counts[target])
                    for step, changed in enumerate(changed_images, 1):
                        self._look_at(changed,
                                      Place(method, direction, target, step))

    def result(self) -> dict[str, Any]:
        """Look at what is left of the batch.

        Returns:
            dict: ``untouched``, the scores on the untouched image, and
            ``scores``, see :meth:`Curves.as_dict`; ready for JSON.
        """
        self._score_batch()
        with self.watch.stage('score'):
            return dict(
                untouched=self.original.round(DIGITS).tolist(),
                scores=self.curves.as_dict())

    def _original_scores(self) -> np.ndarray:
        """Return how well the objects are found on the untouched image, with
        the precision that changed images are looked at."""
        if not self.protocol.amp:
            return self.objects.scores
        detections = self.forward.run(self.objects.input.image[None],
                                      self.objects.input.detections)
        (scores, ) = as_array(
            matched_scores(self.objects.detections, detections,
                           self.protocol.iou_thr))
        if not (scores > 0).all():
            raise ValueError('mixed precision does not find all objects of '
                             'the untouched image')
        return scores

    def _pixel_order(self, importance: Tensor, target: int) -> Tensor:
        """Return the indices of the pixels of the network's input that are
        replaced, those that matter most first."""
        frame = self.objects.frame
        (content, ) = frame.to_content(importance[None])
        return frame.content_to_input(
            rank_pixels(content, self.counts[target][-1]))

    def _noise(self, target: int) -> Tensor:
        """Make uniform noise at the input's size, the same for all methods
        and on all devices."""
        random = np.random.default_rng((*self.seed, target))
        values = random.integers(
            0, 256, (3, *self.objects.frame.input_shape), dtype=np.uint8)
        network = self.objects.input
        return network.of_pixels(
            torch.from_numpy(values).to(network.image.device))

    def _look_at(self, image: Tensor, place: Place | None) -> None:
        """Put an image in the batch, and look for the objects when that is
        full. None is the place of the black image."""
        self.batch[len(self.places)] = image
        self.places.append(place)
        if len(self.places) == len(self.batch):
            self._score_batch()

    def _score_batch(self) -> None:
        """Look for the objects in the images of the batch."""
        images = self.batch[:len(self.places)]
        if not len(images):
            return
        if self.profile:
            self.forward.run_bare(images, self.data, self.watch)
        with self.watch.stage('forward'):
            detections = self.forward.run(images,
                                          self.objects.input.detections)
        with self.watch.stage('score'):
            scores = as_array(
                matched_scores(self.objects.detections, detections,
                               self.protocol.iou_thr))
            for place, row in zip(self.places, scores):
                self.curves.add(place, row)
        self.forward.count += len(images)
        self.places = []


def seed_of(image_id: Hashable) -> int:
    """Return a number for an image's id, the same in every process.

    >>> seed_of(139)
    139
    >>> seed_of('scene') == seed_of('scene')
    True
    """
    if isinstance(image_id, int) and image_id >= 0:
        return image_id
    digest = hashlib.sha256(str(image_id).encode()).digest()
    return int.from_bytes(digest[:8], 'big')

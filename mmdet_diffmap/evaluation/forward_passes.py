# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detector's runs on many changed images, in batches that fit."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..tracing.detector import DetectorAdapter
from ..tracing.modes import evaluation_mode
from .stopwatch import Stopwatch


class ForwardPasses:
    """Runs a detector on changed images.

    Args:
        model (nn.Module): The detector.
        batch_size (int): So many images go through the detector at once. It
            is halved, for good, when memory runs out.
        amp (bool): Detect in mixed precision.

    Attributes:
        count (int): How many changed images were looked at.

    Raises:
        ValueError: If the batch size is less than 1.
    """

    def __init__(self, model: nn.Module, batch_size: int = 16,
                 amp: bool = False) -> None:
        if batch_size < 1:
            raise ValueError('forward_batch_size must be 1 or more, not '
                             f'{batch_size}')
        self.model = model
        self.batch_size = batch_size
        self.amp = amp
        self.count = 0

    def run(self, images: Tensor, predict: Callable[[Tensor], list]) -> list:
        """Run the detector on images (B, 3, H, W) in batches that fit.

        Args:
            images (Tensor): The network's inputs.
            predict (Callable): A batch (b, 3, H, W) -> b predictions.

        Returns:
            list: The B predictions.

        Raises:
            MemoryError: If a single image does not fit.
        """
        predictions: list = []
        while len(predictions) < len(images):
            first = len(predictions)
            batch = images[first:first + self.batch_size]
            reason = ''
            try:
                with torch.autocast(images.device.type, enabled=self.amp):
                    predictions += predict(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            if reason:  # the error is gone, and with it what it held
                self._halve(batch, reason)
        return predictions

    def run_bare(self, images: Tensor, data: dict, watch: Stopwatch) -> None:
        """Run mmdet's own forward pass, with nothing around it.

        Args:
            images (Tensor): Changed inputs of one image, (B, 3, H, W).
            data (dict): A batch of this image alone.
            watch (Stopwatch): Of the stages ``profile`` and, for the passes
                themselves, ``bare forward``.
        """
        with watch.stage('profile'):
            _, sample = DetectorAdapter(self.model, None).preprocess(data, 0)
            samples = [sample.clone() for _ in images]

            def predict(batch: Tensor) -> list:
                return self.model(batch, samples[:len(batch)], mode='predict')

            with torch.no_grad(), evaluation_mode(self.model), \
                    watch.stage('bare forward'):
                self.run(images, predict)

    def _halve(self, batch: Tensor, reason: str) -> None:
        """Make batches smaller than one that does not fit."""
        if len(batch) == 1:
            raise MemoryError('a single changed image does not fit in '
                              f'memory: {reason}')
        self.batch_size = (len(batch) + 1) // 2
        if batch.is_cuda:
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on any device."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in message
        for words in ('out of memory', 'allocate memory', 'alloc_failed'))

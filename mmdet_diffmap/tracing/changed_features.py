# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A detector, run on one image with changed maps of a layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .candidates import Candidates
from .changed_inputs import ChangedInputs
from .swapping import swapped
from .target_layer import TargetLayer
from .turns import one_at_a_time


@dataclass(frozen=True)
class ChangedFeatures:
    """Runs a detector on one image, with the target layer's maps changed.

    Args:
        inputs (ChangedInputs): The detector.
        target (TargetLayer): The layer.
        image (Tensor): The network's input, shape (3, H, W).
    """
    inputs: ChangedInputs
    target: TargetLayer
    image: Tensor

    def candidates(self, factors: Sequence[Tensor]) -> list[Candidates]:
        """Return what the detector predicts before its final filtering where
        the maps' channels are multiplied by factors; see
        :meth:`ChangedInputs.candidates`.

        Args:
            factors (Sequence[Tensor]): Of the channels of each of the layer's
                maps, B times, each shape (B, C).

        Returns:
            list[Candidates]: B times.
        """
        waiting = iter(factors)

        def scale(maps: Tensor) -> Tensor:
            return maps * next(waiting)[:, :, None, None].to(maps)

        images = self.image.repeat(len(factors[0]), 1, 1, 1)
        with one_at_a_time(), self.target.replacing(scale), \
                self._alike_at_first():
            return self.inputs.candidates(images)

    @contextmanager
    def _alike_at_first(self) -> Iterator[None]:
        """Run what comes before the layer once for all copies in this
        context, where the layer is the whole backbone or neck: the product
        with the factors makes B maps of one."""
        model = self.inputs.model
        parts = [getattr(model, name, None) for name in ('backbone', 'neck')]
        if self.target.index is not None or self.target.module not in parts:
            yield
            return
        extract: Any = model.extract_feat

        def extract_once(images: Tensor, *args: Any, **kwargs: Any) -> Any:
            return extract(images[:1], *args, **kwargs)

        with swapped(model, 'extract_feat', extract_once):
            yield

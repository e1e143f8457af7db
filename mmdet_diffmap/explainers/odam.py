# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.level_gradients import LevelGradients
from ..tracing.trace import OUTPUTS, OutputGradients
from .gradient_explainer import GradientExplainer, negative

#: Bytes of gradients that are smoothed at one time.
MEMORY_BUDGET = 2**27


def smooth(gradients: Tensor, sigma: float) -> Tensor:
    """Smooth gradients locally, the ``Φ`` of Eq. 1: a Gaussian of ``sigma``
    grid cells, cut at three sigma, mirrored at the level's border.

    Args:
        gradients (Tensor): Shape (..., C, H, W), of whole levels.
        sigma (float): In grid cells; 0 does not smooth.

    Returns:
        Tensor: The same shape.
    """
    # a mirror shows no more than the level has
    radius = min(round(3 * sigma),
                 *(size - 1 for size in gradients.shape[-2:]))
    if radius <= 0:
        return gradients
    return gaussian_blur(gradients, [2 * radius + 1] * 2, [sigma] * 2)


@EXPLAINERS.register_module()
class ODAM(GradientExplainer):
    """Object detector activation maps (Eq. 1-3; Zhao & Chan, ICLR 2023).

    Each output ``Y`` of a detection has the map ``ReLU(Σ_k Φ(∂Y/∂A_k) ∘
    A_k)``; the heat map is their elementwise maximum on the grid.

    >>> from mmdet_diffmap import explain, load_detector
    >>> detector = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
    >>> explainer = ODAM(extents=True, normalize_outputs=True)
    >>> sample = explain(detector, 'scene://0/2', explainer, max_objects=2)
    >>> sample.pred_instances.heatmaps.shape
    torch.Size([2, 192, 192])

    Args:
        outputs (Sequence[str] | str, optional): See
            :class:`GradientExplainer`. Defaults to ``score``, ``x1``, ``y1``,
            ``x2`` and ``y2``, and with ``evidence='against'`` or ``'both'`` to
            the score.
        normalize_outputs (bool): Min-max normalise the map of each output
            before they are joined. The paper joins them as they are. Not of
            several outputs with ``evidence='both'``, whose zero stays where
            it is.
        extents (bool): Explain ``-x1`` and ``-y1`` in place of ``x1`` and
            ``y1``: evidence that pushes each side outward, which is what the
            left, top, right and bottom distances of a box amount to.
        smoothing (float): Standard deviation of the Gaussian ``Φ`` in grid
            cells. Defaults to 0, no smoothing, as difference maps want it.
        **kwargs: See :class:`GradientExplainer`.
    """

    default_outputs = OUTPUTS

    def __init__(self,
                 outputs: Sequence[str] | str | None = None,
                 normalize_outputs: bool = False,
                 extents: bool = False,
                 smoothing: float = 0,
                 **kwargs: Any) -> None:
        super().__init__(outputs, **kwargs)
        if not 0 <= smoothing < math.inf:
            raise ValueError(f'smoothing must be 0 or more, not {smoothing}')
        if normalize_outputs and self.evidence == 'both' and \
                len(self.outputs) > 1:
            raise ValueError('normalize_outputs does not go with several '
                             'outputs and evidence=both, whose zero would '
                             'move: explain one output')
        self.normalize_outputs = normalize_outputs
        self.extents = extents
        self.smoothing = smoothing

    def output_maps(self, gradients: OutputGradients) -> list[GridMaps]:
        """Make the maps of an output on each level that it depends on."""
        if self.turns(gradients.output):
            gradients = negative(gradients)
        return super().output_maps(gradients)

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Compute Eq. 2 without ReLU."""
        sums = level.feature_sums()
        return -sums if self.turns(output) else sums

    def turns(self, output: str) -> bool:
        """Whether an output is explained with the other sign."""
        return self.extents and output in ('x1', 'y1')

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Compute Eq. 1 and 2 on one level."""
        if not self.smoothing:
            return level.grid_maps(level.feature_sums().relu())
        wholes = (part.spread() for part in level.split(MEMORY_BUDGET))
        smoothed = (LevelGradients(smooth(whole.gradients, self.smoothing),
                                   whole.where) for whole in wholes)
        return GridMaps.of_whole_level(
            torch.cat([each.feature_sums().relu() for each in smoothed]),
            level.windows.level, level.windows.detections)

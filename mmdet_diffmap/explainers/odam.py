# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..maps.heatmaps import GridMap, LevelMaps, normalize_levels
from ..registry import EXPLAINERS
from ..tracing.trace import (
    OUTPUTS,
    LevelGradient,
    OutputGradient,
    check_outputs,
)
from .gradient_explainer import GradientExplainer


def odam_map(gradient: Tensor, activation: Tensor) -> Tensor:
    """Compute ``ReLU(Σ_k w_k ∘ A_k)`` (Eq. 2).

    Args:
        gradient (Tensor): ``w = Φ(∂Y/∂A)``, shape (C, h, w).
        activation (Tensor): ``A``, shape (C, h, w).

    Returns:
        Tensor: Shape (h, w), not negative.

    >>> import torch
    >>> gradient = torch.tensor([[[1., -1.]], [[2., 0.]]])  # two channels
    >>> odam_map(gradient, torch.tensor([[[3., 4.]], [[5., 6.]]]))
    tensor([[13.,  0.]])
    """
    return (gradient * activation).sum(dim=0).relu()


def smooth(gradient: Tensor, sigma: float) -> Tensor:
    """Smooth a gradient locally, the ``Φ`` of Eq. 1: a Gaussian of ``sigma``
    grid cells, cut at three sigma, mirrored at the level's border.

    Args:
        gradient (Tensor): Shape (C, H, W), of a whole level.
        sigma (float): In grid cells; 0 does not smooth.

    Returns:
        Tensor: The same shape.
    """
    # a mirror shows no more than the level has
    radius = min(round(3 * sigma), *(size - 1 for size in gradient.shape[-2:]))
    if radius <= 0:
        return gradient
    return gaussian_blur(gradient, [2 * radius + 1] * 2, [sigma] * 2)


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
        outputs (Sequence[str] | str): Which of ``score``, ``x1``, ``y1``,
            ``x2`` and ``y2`` to explain; of Mask R-CNN also ``mask``, the
            mean logit inside the predicted mask. Defaults to those five.
        normalize_outputs (bool): Min-max normalise the map of each output
            before they are joined. The paper joins them as they are.
        extents (bool): Explain ``-x1`` and ``-y1`` in place of ``x1`` and
            ``y1``: evidence that pushes each side outward, which is what the
            left, top, right and bottom distances of a box amount to.
        smoothing (float): Standard deviation of the Gaussian ``Φ`` in grid
            cells. Defaults to 0, no smoothing, as difference maps want it.
        **kwargs: See :class:`GradientExplainer`.
    """

    def __init__(self,
                 outputs: Sequence[str] | str = OUTPUTS,
                 normalize_outputs: bool = False,
                 extents: bool = False,
                 smoothing: float = 0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(outputs, str):
            outputs = (outputs, )
        check_outputs(outputs)
        if not 0 <= smoothing < math.inf:
            raise ValueError(f'smoothing must be 0 or more, not {smoothing}')
        self.outputs = tuple(outputs)
        self.normalize_outputs = normalize_outputs
        self.extents = extents
        self.smoothing = smoothing

    def output_maps(self, gradient: OutputGradient) -> LevelMaps:
        """Make the map of an output on each level that it depends on."""
        if self.extents and gradient.output in ('x1', 'y1'):
            gradient = replace(gradient, levels=[
                replace(level, gradient=-level.gradient)
                for level in gradient.levels
            ])
        maps = super().output_maps(gradient)
        return normalize_levels(maps) if self.normalize_outputs else maps

    def level_map(self, level: LevelGradient) -> GridMap:
        """Compute Eq. 1 and 2 on one level."""
        if self.smoothing:
            smoothed = smooth(level.whole(), self.smoothing)
            level = replace(level, gradient=smoothed, top=0, left=0)
        return level.grid_map(odam_map(level.gradient, level.activation))

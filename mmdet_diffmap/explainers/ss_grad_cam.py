# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import torch
from torch import Tensor

from ..maps.heatmaps import GridMap
from ..registry import EXPLAINERS
from ..tracing.trace import LevelGradient
from .grad_cam import channel_means, plus_plus_weights
from .gradient_explainer import GradientExplainer


def spatial_sensitivity(gradient: Tensor) -> Tensor:
    """Compute ``S_k = |g_k| / max_ij |g_k|``, in [0, 1]; zeros where ``g_k``
    is zero everywhere.

    Args:
        gradient (Tensor): ``g``, shape (C, h, w), in a window outside of
            which it is zero.

    Returns:
        Tensor: The same shape.

    >>> spatial_sensitivity(torch.tensor([[[2., 0., -1.]], [[0., 0., 0.]]]))
    tensor([[[1.0000, 0.0000, 0.5000]],
    <BLANKLINE>
            [[0.0000, 0.0000, 0.0000]]])
    """
    magnitude = gradient.abs()
    largest = magnitude.amax(dim=(1, 2), keepdim=True)
    return magnitude / largest.where(largest > 0, torch.ones_like(largest))


def sensitive_map(weights: Tensor, sensitivity: Tensor,
                  activation: Tensor) -> Tensor:
    """Compute ``ReLU(Σ_k w_k S_k ∘ A_k)``, shape (h, w), of weights (C, ),
    and sensitivity and activation (C, h, w)."""
    product = sensitivity * activation
    return (weights @ product.flatten(1)).relu().view(product.shape[1:])


@EXPLAINERS.register_module()
class SSGradCAM(GradientExplainer):
    """Spatial sensitive Grad-CAM of the class score (Yamauchi & Ishikawa,
    ICIP 2022).

    ``ReLU(Σ_k α_k S_k ∘ A_k)``: Grad-CAM's weights, at the places that the
    score is sensitive to; see :func:`spatial_sensitivity`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_map(self, level: LevelGradient) -> GridMap:
        """Weight the channels by their mean gradients and sensitivity."""
        return level.grid_map(
            sensitive_map(
                channel_means(level), spatial_sensitivity(level.gradient),
                level.activation))


@EXPLAINERS.register_module()
class SSGradCAMPlusPlus(GradientExplainer):
    """Spatial sensitive Grad-CAM++ of the class score (Yamauchi, CVPRW 2024).

    ``ReLU(Σ_k w_k S_k ∘ A_k)`` with the weights of Grad-CAM++ under the
    spatial mask ``M = S_k``; see
    :func:`~mmdet_diffmap.explainers.grad_cam.plus_plus_weights`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_map(self, level: LevelGradient) -> GridMap:
        """Weight the channels as Grad-CAM++ does under the mask ``S``."""
        sensitivity = spatial_sensitivity(level.gradient)
        total = (level.activation * sensitivity).sum(dim=(1, 2))
        weights = plus_plus_weights(level.gradient, total, sensitivity)
        return level.grid_map(
            sensitive_map(weights, sensitivity, level.activation))

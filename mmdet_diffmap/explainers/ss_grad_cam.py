# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.level_gradients import LevelGradients
from .grad_cam import plus_plus_weights
from .gradient_explainer import GradientExplainer


def spatial_sensitivity(gradients: Tensor) -> Tensor:
    """Compute ``S_k = |g_k| / max_ij |g_k|``, in [0, 1]; zeros where ``g_k``
    is zero everywhere.

    Args:
        gradients (Tensor): ``g``, shape (n, C, h, w), in windows outside of
            which it is zero.

    Returns:
        Tensor: The same shape.

    >>> spatial_sensitivity(torch.tensor([[[[2., 0., -1.]], [[0., 0., 0.]]]]))
    tensor([[[[1.0000, 0.0000, 0.5000]],
    <BLANKLINE>
             [[0.0000, 0.0000, 0.0000]]]])
    """
    magnitude = gradients.abs()
    largest = magnitude.amax(dim=(2, 3), keepdim=True)
    return magnitude / largest.where(largest > 0, torch.ones_like(largest))


def sensitive_maps(weights: Tensor, sensitivity: Tensor,
                   activations: Tensor) -> Tensor:
    """Compute ``ReLU(Σ_k w_k S_k ∘ A_k)``, shape (n, h, w), of weights (n,
    C), and sensitivity and activations (n, C, h, w)."""
    product = sensitivity * activations
    joined = weights[:, None] @ product.flatten(2)  # (n, 1, h * w)
    return joined.relu().view(len(weights), *product.shape[2:])


@EXPLAINERS.register_module()
class SSGradCAM(GradientExplainer):
    """Spatial sensitive Grad-CAM of the class score (Yamauchi & Ishikawa,
    ICIP 2022).

    ``ReLU(Σ_k α_k S_k ∘ A_k)``: Grad-CAM's weights, at the places that the
    score is sensitive to; see :func:`spatial_sensitivity`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight the channels by their mean gradients and sensitivity."""
        return level.grid_maps(
            sensitive_maps(
                level.channel_means(), spatial_sensitivity(level.gradients),
                level.activations))


@EXPLAINERS.register_module()
class SSGradCAMPlusPlus(GradientExplainer):
    """Spatial sensitive Grad-CAM++ of the class score (Yamauchi, CVPRW 2024).

    ``ReLU(Σ_k w_k S_k ∘ A_k)`` with the weights of Grad-CAM++ under the
    spatial mask ``M = S_k``; see
    :func:`~mmdet_diffmap.explainers.grad_cam.plus_plus_weights`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight the channels as Grad-CAM++ does under the mask ``S``."""
        sensitivity = spatial_sensitivity(level.gradients)
        totals = (level.activations * sensitivity).sum(dim=(2, 3))
        weights = plus_plus_weights(level.gradients, totals, sensitivity)
        return level.grid_maps(
            sensitive_maps(weights, sensitivity, level.activations))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.level_gradients import LevelGradients
from .gradient_explainer import GradientExplainer


def plus_plus_weights(gradients: Tensor,
                      totals: Tensor,
                      masks: Tensor | float = 1.) -> Tensor:
    """Compute the channel weights of Grad-CAM++.

    ``w_k = Σ_ij a_ij ReLU(g_ij)`` with ``a = g² / (2g² M + g³ T)``, and 0
    where ``g = 0``. ``g²`` is divided out, so that small gradients do not
    vanish. Where the denominator is zero though ``g`` is not, ``a`` is 0.

    Args:
        gradients (Tensor): ``g``, shape (n, C, h, w).
        totals (Tensor): ``T_k``, the sum of ``A_k`` over the whole level, or,
            with masks, of ``A_k M_k``; shape (n, C) or (1, C).
        masks (Tensor | float): ``M``, shape (n, C, h, w).

    Returns:
        Tensor: Shape (n, C).

    >>> import torch
    >>> gradients = torch.tensor([[[[0., 4., 2.]]]])
    >>> weights = plus_plus_weights(gradients, totals=torch.tensor([[15.]]))
    >>> weights  # 4 / (2 + 60) + 2 / (2 + 30)
    tensor([[0.1270]])
    """
    denominators = 2 * masks + gradients * totals[..., None, None]
    ratios = gradients.relu() / denominators
    return ratios.where(denominators != 0,
                        ratios.new_zeros(())).sum(dim=(2, 3))


def weighted_maps(weights: Tensor, level: LevelGradients) -> GridMaps:
    """Compute ``ReLU(Σ_k w_k A_k)`` on whole levels, of weights (n, C)."""
    values = (weights @ level.feature.flatten(1)).relu()
    return GridMaps.of_whole_level(
        values.view(len(weights), *level.windows.grid), level.windows.level,
        level.windows.detections)


@EXPLAINERS.register_module()
class GradCAM(GradientExplainer):
    """Grad-CAM of the class score (Selvaraju et al., ICCV 2017).

    ``ReLU(Σ_k α_k A_k)``, ``α_k`` the mean of ``∂score/∂A_k`` over the level.
    One weight serves the whole of a channel, so that the map shows the class
    rather than the object.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight the channels by their mean gradients."""
        return weighted_maps(level.channel_means(), level)


@EXPLAINERS.register_module()
class GradCAMPlusPlus(GradientExplainer):
    """Grad-CAM++ of the class score (Chattopadhyay et al., WACV 2018).

    ``ReLU(Σ_k w_k A_k)``; see :func:`plus_plus_weights`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight the channels by :func:`plus_plus_weights`."""
        totals = level.feature.sum(dim=(1, 2))[None]
        weights = plus_plus_weights(level.gradients, totals)
        return weighted_maps(weights, level)

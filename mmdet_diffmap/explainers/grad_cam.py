# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from torch import Tensor

from ..maps.heatmaps import GridMap
from ..registry import EXPLAINERS
from ..tracing.trace import LevelGradient
from .gradient_explainer import GradientExplainer


def channel_means(level: LevelGradient) -> Tensor:
    """Compute ``α_k``, the mean of ``∂Y/∂A_k`` over the whole level, shape
    (C, ).

    Outside its window the gradient is zero, which counts.
    """
    return level.gradient.sum(dim=(1, 2)) / level.feature[0].numel()


def plus_plus_weights(gradient: Tensor,
                      total: Tensor,
                      mask: Tensor | float = 1.) -> Tensor:
    """Compute the channel weights of Grad-CAM++.

    ``w_k = Σ_ij a_ij ReLU(g_ij)`` with ``a = g² / (2g² M + g³ T)``, and 0
    where ``g = 0``. ``g²`` is divided out, so that small gradients do not
    vanish. Where the denominator is zero though ``g`` is not, ``a`` is 0.

    Args:
        gradient (Tensor): ``g``, shape (C, h, w).
        total (Tensor): ``T_k``, the sum of ``A_k`` over the whole level, or,
            with a mask, of ``A_k M_k``; shape (C, ).
        mask (Tensor | float): ``M``, shape (C, h, w).

    Returns:
        Tensor: Shape (C, ).

    >>> import torch
    >>> gradient = torch.tensor([[[0., 4., 2.]]])  # 4/(2 + 60) + 2/(2 + 30)
    >>> plus_plus_weights(gradient, total=torch.tensor([15.]))
    tensor([0.1270])
    """
    denominator = 2 * mask + gradient * total[:, None, None]
    ratio = gradient.relu() / denominator
    return ratio.where(denominator != 0, ratio.new_zeros(())).sum(dim=(1, 2))


def weighted_map(weights: Tensor, level: LevelGradient) -> GridMap:
    """Compute ``ReLU(Σ_k w_k A_k)`` on a whole level, of weights (C, )."""
    values = (weights @ level.feature.flatten(1)).relu()
    return GridMap(values.view(level.grid), level.grid)


@EXPLAINERS.register_module()
class GradCAM(GradientExplainer):
    """Grad-CAM of the class score (Selvaraju et al., ICCV 2017).

    ``ReLU(Σ_k α_k A_k)``, ``α_k`` the mean of ``∂score/∂A_k`` over the level.
    One weight serves the whole of a channel, so that the map shows the class
    rather than the object.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_map(self, level: LevelGradient) -> GridMap:
        """Weight the channels by their mean gradients."""
        return weighted_map(channel_means(level), level)


@EXPLAINERS.register_module()
class GradCAMPlusPlus(GradientExplainer):
    """Grad-CAM++ of the class score (Chattopadhyay et al., WACV 2018).

    ``ReLU(Σ_k w_k A_k)``; see :func:`plus_plus_weights`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def level_map(self, level: LevelGradient) -> GridMap:
        """Weight the channels by :func:`plus_plus_weights`."""
        total = level.feature.sum(dim=(1, 2))
        weights = plus_plus_weights(level.gradient, total)
        return weighted_map(weights, level)

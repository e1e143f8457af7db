# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
import torch
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


def weighted_sums(weights: Tensor, feature: Tensor) -> Tensor:
    """Compute ``Σ_k w_k A_k``, shape (n, H, W), of weights (n, C) and a whole
    level (C, H, W)."""
    return (weights @ feature.flatten(1)).view(-1, *feature.shape[1:])


def weighted_maps(weights: Tensor, level: LevelGradients) -> GridMaps:
    """Compute ``ReLU(Σ_k w_k A_k)`` on whole levels, of weights (n, C)."""
    return GridMaps.of_whole_level(
        weighted_sums(weights, level.feature).relu(), level.windows.level,
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


def share_weights(level: LevelGradients) -> Tensor:
    """Compute the channel weights of XGrad-CAM, shape (n, C).

    ``w_k = Σ_ij g_k ∘ A_k / Σ_ij A_k``: the gradients' mean, in which each
    cell counts with its share of the feature. With these weights the map
    ``Σ_k w_k A_k`` has the sum ``Σ_k Σ_ij g_k ∘ A_k``, whatever signs the
    features have. Where they cancel each other in the denominator, so that
    only rounding is left of it, ``w_k`` is 0.

    >>> import torch
    >>> from mmdet_diffmap.tracing.level_gradients import LevelWindows
    >>> feature = torch.tensor([[[1., 3.]], [[2., -2.]]])  # two channels
    >>> where = LevelWindows.whole_level(0, feature, [0])
    >>> gradients = torch.tensor([[[[4., 8.]], [[1., 5.]]]])
    >>> share_weights(LevelGradients(gradients, where))  # (4 + 24) / 4
    tensor([[7., 0.]])
    """
    cells = level.feature.flatten(1).double()
    totals = cells.sum(dim=1)
    rounding = torch.finfo(level.feature.dtype).eps * cells.abs().sum(dim=1)
    weights = level.channel_sums() / totals
    return weights.where(totals.abs() > rounding,
                         torch.zeros_like(weights)).to(level.feature)


@EXPLAINERS.register_module()
class XGradCAM(GradientExplainer):
    """XGrad-CAM of the class score (Fu et al., BMVC 2020).

    ``ReLU(Σ_k w_k A_k)``; see :func:`share_weights`.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    name = 'xgrad-cam'

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Compute ``Σ_k w_k A_k``, which is linear in the gradients."""
        return weighted_sums(share_weights(level), level.feature)

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight the channels by :func:`share_weights`."""
        return weighted_maps(share_weights(level), level)

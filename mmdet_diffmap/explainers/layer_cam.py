# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.level_gradients import LevelGradients
from .gradient_explainer import GradientExplainer


@EXPLAINERS.register_module()
class LayerCAM(GradientExplainer):
    """LayerCAM of the class score (Jiang et al., TIP 2021).

    ``ReLU(Σ_k ReLU(∂score/∂A_k) ∘ A_k)``: each cell of a channel has a weight
    of its own, and only those count that raise the score.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k``."""
        return level.feature_sums()

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight each cell by its gradient, where that is positive."""
        products = level.gradients.relu() * level.activations
        return level.grid_maps(products.sum(dim=1).relu())


@EXPLAINERS.register_module()
class HiResCAM(GradientExplainer):
    """HiResCAM of the class score (Draelos & Carin, 2020).

    ``ReLU(Σ_k ∂score/∂A_k ∘ A_k)``. This is the map that
    :class:`~mmdet_diffmap.explainers.ODAM` has of the score alone, without
    smoothing.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    name = 'hires-cam'

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k``."""
        return level.feature_sums()

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Weight each cell by its gradient."""
        return level.grid_maps(level.feature_sums().relu())

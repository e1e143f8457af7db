# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .d_rise import DRISE
from .difference_map import DifferenceMap
from .explainer import (
    Explainer,
    ExplainerLike,
    build_explainer,
    build_explainers,
)
from .grad_cam import GradCAM, GradCAMPlusPlus
from .gradient_explainer import GradientExplainer
from .odam import ODAM
from .ss_grad_cam import SSGradCAM, SSGradCAMPlusPlus

__all__ = [
    'DRISE', 'ODAM', 'DifferenceMap', 'Explainer', 'ExplainerLike', 'GradCAM',
    'GradCAMPlusPlus', 'GradientExplainer', 'SSGradCAM', 'SSGradCAMPlusPlus',
    'build_explainer', 'build_explainers'
]

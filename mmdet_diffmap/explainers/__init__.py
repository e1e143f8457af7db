# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .ablation_cam import AblationCAM
from .d_rise import DRISE
from .difference_map import DifferenceMap
from .eigen_cam import EigenCAM, EigenGradCAM
from .explainer import (
    Explainer,
    ExplainerLike,
    build_explainer,
    build_explainers,
)
from .grad_cam import GradCAM, GradCAMPlusPlus, XGradCAM
from .gradient_explainer import GradientExplainer
from .layer_cam import HiResCAM, LayerCAM
from .odam import ODAM
from .ss_grad_cam import SSGradCAM, SSGradCAMPlusPlus

__all__ = [
    'DRISE', 'ODAM', 'AblationCAM', 'DifferenceMap', 'EigenCAM',
    'EigenGradCAM', 'Explainer', 'ExplainerLike', 'GradCAM',
    'GradCAMPlusPlus', 'GradientExplainer', 'HiResCAM', 'LayerCAM',
    'SSGradCAM', 'SSGradCAMPlusPlus', 'XGradCAM', 'build_explainer',
    'build_explainers'
]

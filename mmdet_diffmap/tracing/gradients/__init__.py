# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Strategies for ``∂Y/∂A``: one file each, all of them a
:data:`~mmdet_diffmap.tracing.trace.GradientSource`. ``heads/`` chooses."""
from .attention import fused_attention
from .coupled import CoupledGradients
from .deformable import sparse_deformable_attention
from .dense import DenseGradients
from .group_norm import FrozenStatistics
from .linear import sparse_linear
from .mask import MaskGradients
from .pooled import PooledFeatures, PooledGradients
from .receptive_field import ReceptiveField, receptive_field
from .roi import RoIGradients
from .stages import Pool, RefusedError, RoIStage
from .upstream import Upstream
from .whole import WholeGradients
from .window import WindowGradients

__all__ = [
    'CoupledGradients', 'DenseGradients', 'FrozenStatistics',
    'MaskGradients', 'Pool', 'PooledFeatures', 'PooledGradients',
    'ReceptiveField', 'RefusedError', 'RoIGradients', 'RoIStage', 'Upstream',
    'WholeGradients', 'WindowGradients', 'fused_attention', 'receptive_field',
    'sparse_deformable_attention', 'sparse_linear'
]

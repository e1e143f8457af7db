# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Strategies for ``∂Y/∂A``: one file each, all of them a
:data:`~mmdet_diffmap.trace.GradientSource`. The detector adapter chooses."""
from .dense import DenseGradients

__all__ = ['DenseGradients']

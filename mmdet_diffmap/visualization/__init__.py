# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .figure import draw_comparison, draw_explanations, label_name

__all__ = ['draw_comparison', 'draw_explanations', 'label_name']

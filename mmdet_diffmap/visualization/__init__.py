# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .colours import overlay, use_colours
from .error_figure import draw_errors
from .figure import (
    FigureStyle,
    draw_comparison,
    draw_explanations,
    label_name,
    label_names,
)
from .pair_figure import draw_pair
from .visualizer import DiffMapVisualizer

__all__ = [
    'DiffMapVisualizer', 'FigureStyle', 'draw_comparison', 'draw_errors',
    'draw_explanations', 'draw_pair', 'label_name', 'label_names',
    'overlay', 'use_colours'
]

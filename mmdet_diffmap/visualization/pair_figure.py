# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Figures of two objects of an image: what each has for itself, and what
both have in common."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import InstanceData

from .colours import RIVAL, TARGET
from .drawing import Drawing
from .error_figure import PicturePanel, PictureRow, errors_drawing
from .figure import DEFAULT_STYLE, FigureStyle, label_name


def draw_pair(image: np.ndarray, pair: InstanceData, numbers: Sequence[int],
              class_names: Sequence[str],
              caption: Sequence[str] = ()) -> np.ndarray:
    """Draw what keeps two objects apart, what tells each from the other, and
    what each is made of.

    Args:
        image (np.ndarray): uint8 RGB, shape (H, W, 3).
        pair (InstanceData): Of :func:`~mmdet_diffmap.explain_pair`.
        numbers (Sequence[int]): What both objects are called.
        class_names (Sequence[str]): The name of each label.
        caption (Sequence[str]): What stands above all.

    Returns:
        np.ndarray: The figure, uint8 RGB.
    """
    return pair_drawing(image, pair, numbers, class_names,
                        caption=caption).pixels()


def pair_drawing(image: np.ndarray, pair: InstanceData,
                 numbers: Sequence[int], class_names: Sequence[str],
                 style: FigureStyle = DEFAULT_STYLE,
                 caption: Sequence[str] = ()) -> Drawing:
    """Return the figure of :func:`draw_pair`, to be saved in any format."""
    names = [
        f'{number} {label_name(class_names, int(label))} {float(score):.2f}'
        for number, label, score in zip(numbers, pair.labels, pair.scores)]
    colours = TARGET, RIVAL
    # a small share is enlarged as a large one is
    peak = float(torch.minimum(*pair.heatmaps).amax())
    panels = [
        (f'what both have in common, at most {peak:.0%} of either',
         pair.separation_maps[0], '', ''),
        ('what each has for itself', pair.difference_maps[0],
         f'{names[0]} only', f'{names[1]} only'),
        *((f'what {name} is made of', heatmap, '', '')
          for name, heatmap in zip(names, pair.heatmaps))]
    row = PictureRow(
        f'Why {names[0]} and {names[1]}, and not one?',
        [(box.tolist(), colour)
         for box, colour in zip(pair.bboxes, colours)],
        [PicturePanel(text, values.float().cpu().numpy(), above, below)
         for text, values, above, below in panels], pair.bboxes.tolist())
    return errors_drawing(image, [row], dict(zip(colours, names)), caption,
                          style.density)

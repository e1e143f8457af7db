# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Maps as a page carries them: eight bits a cell, on the detector's grids."""
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..heatmaps import GridMap, GridMaps
from ..image_frame import ImageFrame, Shape

#: A map of 8 bits is off by half a step at most where it was rounded.
STEP = 1 / 255


def pack_maps(groups: Mapping[str, GridMaps], frame: ImageFrame,
              shown: Shape) -> tuple[dict[str, Any], bytes]:
    """Maps on grids, for the page to enlarge as
    :func:`~mmdet_diffmap.heatmaps.image_heatmaps` does.

    Of each map, only the rectangle that is not zero travels, in steps of a
    255th of the map's largest cell.

    Args:
        groups (Mapping): For each output, and for all joined, the maps of all
            objects.
        frame (ImageFrame): Where the image lies in the network's input.
        shown (tuple): Height and width of the picture in the page.

    Returns:
        tuple: A description, ready for JSON, and the cells, compressed by
        zlib. The description holds the ``frame`` and, in ``groups`` by name,
        for each object the ``peak`` (its largest cell) and in ``parts`` for
        each level (height and width of the grid, and top, left, height and
        width of the rectangle). Rectangles follow each other in the cells in
        that order.
    """
    cells: list[bytes] = []
    described: dict[str, list[dict[str, Any]]] = {}
    for name, objects in groups.items():
        described[name] = []
        for levels in objects:
            values = [(one, one.values.float().cpu().numpy())
                      for one in levels.values()]
            peak = max((float(one.max()) for _, one in values if one.size),
                       default=0.)
            parts = []
            for grid_map, found in values if peak > 0 else []:
                part, (top, left) = nonzero_part(
                    np.rint(found * (255 / peak)).astype(np.uint8))
                if part.size:
                    corner = grid_map.corner[0] + top, grid_map.corner[1] + left
                    parts.append([*grid_map.grid, *corner, *part.shape])
                    cells.append(part.tobytes())
            described[name].append(dict(peak=peak, parts=parts))
    description = dict(
        frame=dict(
            input=frame.input_shape,
            content=frame.content_shape,
            image=shown,
            corner=frame.corner),
        groups=described)
    return description, zlib.compress(b''.join(cells), 9)


def nonzero_part(values: np.ndarray) -> tuple[np.ndarray, Shape]:
    """The smallest rectangle of a map (h, w) that holds all that is not zero,
    and its first row and column."""
    rows, columns = (np.flatnonzero(values.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return values[:0], (0, 0)
    top, left = int(rows[0]), int(columns[0])
    return values[top:rows[-1] + 1, left:columns[-1] + 1], (top, left)


def on_grids(heatmaps: Tensor) -> tuple[GridMaps, ImageFrame]:
    """Maps of an image's size on the coarsest grids that show them whole: a
    cell is 8, 4, 2 or 1 pixels wide, and the enlarged map is off by less than
    a step of eight bits.

    Args:
        heatmaps (Tensor): Shape (N, H, W), in [0, 1].

    Returns:
        tuple: The maps, and the frame that enlarges them.
    """
    height, width = heatmaps.shape[-2:]
    frame = ImageFrame(*[(height, width)] * 3)
    maps = []
    for heatmap in heatmaps.float():
        for size in (8, 4, 2, 1):
            cells = cell_centres(heatmap, size)
            off = (frame.to_image(cells) - heatmap).abs().max()
            if off < STEP:
                break
        maps.append({0: GridMap(cells, (cells.shape[0], cells.shape[1]))})
    return maps, frame


def cell_centres(heatmap: Tensor, size: int) -> Tensor:
    """The values of a map (H, W) in the middle of square cells (h, w)."""
    if size == 1:
        return heatmap
    height, width = heatmap.shape
    edges = (0, -width % size, 0, -height % size)
    whole = F.pad(heatmap[None, None], edges, mode='replicate')
    return F.interpolate(
        whole, scale_factor=1 / size, mode='bilinear')[0, 0]

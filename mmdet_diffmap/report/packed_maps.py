# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Maps as a page carries them: eight bits a cell, on the detector's grids."""
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..explainers.explainer import JOINT, Evidence
from ..maps.heatmaps import GridMap, GridMaps
from ..maps.image_frame import ImageFrame, Shape

#: By how much a map may be off: nobody sees four of 255 colours.
VISIBLE = 4 / 255


def pack_heatmaps(heatmaps: Tensor, groups: Mapping[str, Sequence[GridMaps]],
                  frame: ImageFrame,
                  shown: Shape) -> tuple[dict[str, Any], bytes]:
    """Return heat maps as :func:`pack_maps` does, also those of methods that
    make no maps on grids.

    Args:
        heatmaps (Tensor): Shape (N, H, W), in [0, 1].
        groups (Mapping): What they are made of; empty without grids.
        frame (ImageFrame): Where the image lies in the network's input.
        shown (tuple): Height and width of the picture in the page.
    """
    if groups:
        return pack_maps(groups, len(heatmaps), frame, shown)
    heatmaps = heatmaps.float()
    if len(heatmaps) and tuple(heatmaps.shape[-2:]) != shown:
        heatmaps = F.interpolate(heatmaps[None], size=shown, mode='area')[0]
    maps, frame = on_grids(heatmaps)
    return pack_maps({JOINT: maps}, len(heatmaps), frame, shown)


def pack_evidence(evidence: Evidence, frame: ImageFrame,
                  shown: Shape) -> tuple[dict[str, Any], bytes]:
    """Return signed maps as :func:`pack_maps` does: the groups ``for`` and
    ``against``, whose difference they are."""
    return pack_maps(
        {'for': evidence.speak_for, 'against': evidence.speak_against},
        len(evidence.maps), frame, shown, keep_zero=True)


def pack_maps(groups: Mapping[str, Sequence[GridMaps]], count: int,
              frame: ImageFrame, shown: Shape,
              keep_zero: bool = False) -> tuple[dict[str, Any], bytes]:
    """Return maps on grids, for the page to enlarge as
    :func:`~mmdet_diffmap.maps.heatmaps.image_heatmaps` does.

    Of each map, only the rectangle that is not zero travels, in steps of a
    255th of the map's largest cell.

    Args:
        groups (Mapping): For each output, and for all joined, the maps of all
            objects.
        count (int): The number of objects.
        frame (ImageFrame): Where the image lies in the network's input.
        shown (tuple): Height and width of the picture in the page.
        keep_zero (bool): Whether a cell's value is its 255th of the peak. By
            default what all cells of a map have in common is left out: a heat
            map is scaled in the end, a part of a signed map is not.

    Returns:
        tuple: A description, ready for JSON, and the cells, compressed by
        zlib. The description holds the ``frame`` and, in ``groups`` by name,
        for each object the ``peak`` (its largest cell) and in ``parts`` for
        each level (height and width of the grid, and top, left, height and
        width of the rectangle). Rectangles follow each other in the cells in
        that order.
    """
    cells: list[bytes] = []
    descriptions: dict[str, list[dict[str, Any]]] = {}
    for name, maps in groups.items():
        descriptions[name] = []
        for levels in by_detection(maps, count):
            whole = all(tuple(grid_map.values.shape) == grid_map.grid
                        for grid_map in levels)
            values = [(grid_map, seen_cells(grid_map, frame))
                      for grid_map in levels]
            peak = max((float(seen.max()) for _, seen in values
                        if seen.size),
                       default=0.)
            # what all cells have is nothing to see, and would take bits
            low = min((float(seen.min()) for _, seen in values
                       if seen.size),
                      default=0.) if whole and not keep_zero else 0.
            parts = []
            for grid_map, seen in values if peak > low else []:
                part, (top, left) = nonzero_part(
                    np.rint((seen - low) / (peak - low) * 255).astype(
                        np.uint8))
                if part.size:
                    row, column = grid_map.corner
                    parts.append([*grid_map.grid, row + top, column + left,
                                  *part.shape])
                    cells.append(part.tobytes())
            descriptions[name].append(dict(peak=peak, parts=parts))
    description = dict(
        frame=dict(
            input=frame.input_shape,
            content=frame.content_shape,
            image=shown,
            corner=frame.corner),
        groups=descriptions)
    return description, zlib.compress(b''.join(cells), 9)


def by_detection(maps: Sequence[GridMaps], count: int) -> list[list[GridMap]]:
    """List the maps of each of so many detections."""
    objects: list[list[GridMap]] = [[] for _ in range(count)]
    for level_maps in maps:
        for detection, grid_map in level_maps.each():
            objects[detection].append(grid_map)
    return objects


def seen_cells(grid_map: GridMap, frame: ImageFrame) -> np.ndarray:
    """Return the values (h, w) of a map, of which those that no pixel of the
    image sees are the lowest of the others: cells of the padding may be large,
    and would take bits."""
    values = grid_map.values.float().cpu().numpy().copy()
    (top, left), (height, width) = grid_map.corner, values.shape
    rows, columns = (axis.numpy() for axis in frame.seen(grid_map.grid))
    seen = np.logical_and.outer(rows[top:top + height],
                                columns[left:left + width])
    values[~seen] = values[seen].min(initial=np.inf) if seen.any() else 0
    return values


def nonzero_part(values: np.ndarray) -> tuple[np.ndarray, Shape]:
    """Return the smallest rectangle of a map (h, w) that holds all that is not
    zero, and its first row and column."""
    rows, columns = (np.flatnonzero(values.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return values[:0], (0, 0)
    top, left = int(rows[0]), int(columns[0])
    return values[top:rows[-1] + 1, left:columns[-1] + 1], (top, left)


def on_grids(heatmaps: Tensor) -> tuple[list[GridMaps], ImageFrame]:
    """Return maps of an image's size on the coarsest grid that shows them
    whole: a cell is 16, 8, 4, 2 or 1 pixels wide, and the enlarged maps are
    off by less than ``VISIBLE``.

    Args:
        heatmaps (Tensor): Shape (N, H, W), in [0, 1].

    Returns:
        tuple: The maps, and the frame that enlarges them.
    """
    given = heatmaps.float().cpu()
    for size in (16, 8, 4, 2, 1):
        cells, frame = cell_centres(given, size)
        if size == 1 or off_by(cells, frame, given) < VISIBLE:
            break
    return [GridMaps.of_whole_level(cells)], frame


def off_by(cells: Tensor, frame: ImageFrame, heatmaps: Tensor) -> float:
    """Return the largest difference of maps and what cells are enlarged to."""
    return max((float((frame.to_image(values) - heatmap).abs().max())
                for values, heatmap in zip(cells, heatmaps)), default=0.)


def cell_centres(heatmaps: Tensor, size: int) -> tuple[Tensor, ImageFrame]:
    """Return the values of maps (N, H, W) in the middle of square cells (N, h,
    w), and the frame of such cells.

    Outside of the image lies a row of cells, or more, that go on as the map
    does at its border: without them, half a cell there would be flat.
    """
    height, width = heatmaps.shape[-2:]
    if size == 1:
        return heatmaps, ImageFrame(*[(height, width)] * 3)
    edges = [(size, size + -side % size) for side in (height, width)]
    # mirrored in value too, so that slopes go on
    wide = np.pad(heatmaps.numpy(), [(0, 0), *edges], mode='reflect',
                  reflect_type='odd').clip(0)
    low, high = size // 2 - 1, size // 2  # pixels beside a middle
    rows = (wide[:, low::size] + wide[:, high::size]) / 2
    cells = (rows[..., low::size] + rows[..., high::size]) / 2
    frame = ImageFrame((wide.shape[1], wide.shape[2]), (height, width),
                       (height, width), (size, size))
    return torch.from_numpy(cells), frame

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Mapping
from dataclasses import dataclass

from mmdet.structures import DetDataSample

from .heatmaps import GridMaps
from .image_frame import ImageFrame


@dataclass(frozen=True)
class Explanation:
    """What a method says about the objects of an image.

    Args:
        sample (DetDataSample): The detections with their maps; see
            :func:`~mmdet_diffmap.explain`.
        frame (ImageFrame): Where the image lies in the network's input.
        grids (Mapping): What the maps are made of, by output; see
            :meth:`~mmdet_diffmap.explainers.Explainer.by_output`. Empty if it
            was not asked for.
    """
    sample: DetDataSample
    frame: ImageFrame
    grids: Mapping[str, GridMaps]

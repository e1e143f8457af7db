# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..heatmaps import LevelMaps, image_heatmaps
from ..registry import EXPLAINERS
from ..trace import Trace


class Explainer(ABC):
    """A method that makes one map for each detection of an image.

    An explainer knows nothing of detectors: all that it sees is a
    :class:`~mmdet_diffmap.trace.Trace`.

    Args:
        target_layer (str): The module whose feature maps are explained, as a
            path from the model; see
            :class:`~mmdet_diffmap.target_layer.TargetLayer`.
        statistics (str): How gradients treat the GroupNorm layers of a
            one-stage detector's head. ``exact``, the default: each value of a
            level counts in the layer's mean and variance, so that every cell
            has some influence on every detection. ``frozen``: mean and
            variance are constants; maps are local, and many times faster on
            heads with such layers. Both are the same for heads without.
        half (bool): Maps in float16, for half of their memory.
    """

    def __init__(self,
                 target_layer: str = 'neck',
                 statistics: str = 'exact',
                 half: bool = False) -> None:
        if statistics not in ('exact', 'frozen'):
            raise ValueError('statistics must be exact or frozen, not '
                             f'{statistics}')
        self.target_layer = target_layer
        self.statistics = statistics
        self.half = half

    @abstractmethod
    def __call__(self, trace: Trace) -> Tensor:
        """Explain all detections of a trace.

        Returns:
            Tensor: Shape (N, H, W), of the original image's size: heat maps
            in [0, 1], or signed maps in [-1, 1].
        """

    def image_heatmaps(self, detections: Sequence[LevelMaps],
                       trace: Trace) -> Tensor:
        """Heat maps from maps on grids; see
        :func:`~mmdet_diffmap.heatmaps.image_heatmaps`."""
        return image_heatmaps(
            detections, trace.frame, trace.outputs.device,
            torch.float16 if self.half else trace.outputs.dtype)


ExplainerLike = Explainer | dict[str, Any] | str


def build_explainer(explainer: ExplainerLike, **options: Any) -> Explainer:
    """An explainer from its config, or from its name alone.

    Args:
        explainer (Explainer | dict | str): An explainer, which is returned;
            a config such as ``dict(type='ODAM', extents=True)``; or a type's
            name, in which case, ``-`` and ``_`` do not count.
        **options: Override those of the config.

    Raises:
        ValueError: If there is no such explainer, or not with such options.
    """
    if isinstance(explainer, Explainer):
        if options:
            raise ValueError(f'{type(explainer).__name__} is built already '
                             f'and cannot take {", ".join(options)}')
        return explainer
    if isinstance(explainer, str):
        explainer = dict(type=explainer)
    explainer = dict(explainer, **options)
    if 'type' not in explainer:
        raise ValueError(f'explainer {explainer} has no type; there are '
                         f'{", ".join(registered_explainers())}')
    name = explainer['type']
    if isinstance(name, str):
        plain = {plain_name(key): key for key in registered_explainers()}
        if plain_name(name) not in plain:
            raise ValueError(f'unknown explainer {name!r}; there are '
                             f'{", ".join(registered_explainers())}')
        explainer['type'] = plain[plain_name(name)]
    try:
        return EXPLAINERS.build(explainer)
    except TypeError as error:
        raise ValueError(f'explainer {explainer} cannot be built: '
                         f'{error}') from error


def registered_explainers() -> list[str]:
    """The names of all explainers, in alphabetic order."""
    EXPLAINERS.import_from_location()
    return sorted(EXPLAINERS.module_dict)


def plain_name(name: str) -> str:
    return name.lower().replace('-', '').replace('_', '')

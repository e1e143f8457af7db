# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The methods whose maps are checked."""
from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...explainers import DifferenceMap, ExplainerLike, build_explainer


class CheckedMethods:
    """Methods that are each checked plain and as a signed difference map.

    Args:
        explainers (Mapping): Methods by their names; that of the difference
            map has ``-diff`` after it.

    Attributes:
        differences (dict): By the name of each method, its difference map.
        bases (dict): By the name of each difference map, the method.
        spans (dict): By the name of each map, what its values may range over:
            1 for heat maps, 2 for difference maps.

    Raises:
        ValueError: If a method is a difference map, or two maps would have
            one name.
    """

    def __init__(self, explainers: Mapping[str, ExplainerLike]) -> None:
        self.differences: dict[str, DifferenceMap] = {}
        self.bases: dict[str, str] = {}
        self.spans: dict[str, float] = {}
        for name, config in explainers.items():
            explainer = build_explainer(config)
            difference = f'{name}-diff'
            if isinstance(explainer, DifferenceMap):
                raise ValueError(f'{name} is a difference map, and each '
                                 'method is checked with its own: name the '
                                 'method alone')
            if difference in explainers:
                raise ValueError(f'{difference} is the name of a method, and '
                                 f'of the difference map of {name}: name one '
                                 'of them otherwise')
            self.differences[name] = DifferenceMap(explainer)
            self.bases[difference] = name
            self.spans |= {name: 1., difference: 2.}

    def maps(self, name: str, heatmaps: Tensor) -> dict[str, Tensor]:
        """Return both kinds of maps of a method by their names.

        Args:
            name (str): The method.
            heatmaps (Tensor): Its heat maps, shape (N, H, W).
        """
        difference = self.differences[name]
        return {name: heatmaps, f'{name}-diff': difference.compare(heatmaps)}

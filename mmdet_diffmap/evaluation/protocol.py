# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is measured, and of which methods."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..explainers import (
    DifferenceMap,
    Explainer,
    ExplainerLike,
    build_explainer,
)
from .map_metrics import MAP_METRICS

METRICS = ('del_ins', *MAP_METRICS)


@dataclass(frozen=True)
class Protocol:
    """What is measured, and of which objects (paper, Sec. 4.3).

    Args:
        metrics (Sequence[str]): Some of ``METRICS``.
        score_thr (float): Objects are detections with a larger score that
            found an annotated object; see
            :func:`~mmdet_diffmap.evaluation.objects.match_objects`.
        iou_thr (float): What overlaps by more is the same object.
        min_objects (int): Images with fewer objects are left out.
        steps (int): Steps of Deletion and of Insertion.
        seed (int): Of the noise.
        amp (bool): Detect in mixed precision behind changed pixels.

    Raises:
        ValueError: If one of them makes no sense.
    """
    metrics: Sequence[str] = ('del_ins', )
    score_thr: float = 0.4
    iou_thr: float = 0.5
    min_objects: int = 2
    steps: int = 10
    seed: int = 0
    amp: bool = False

    @property
    def map_metrics(self) -> list[str]:
        """Those of ``metrics`` that are groups of ``MAP_METRICS``."""
        return [name for name in MAP_METRICS if name in self.metrics]

    def __post_init__(self) -> None:
        if not self.metrics or set(self.metrics) - set(METRICS):
            raise ValueError(f'metrics must be some of {", ".join(METRICS)}, '
                             f'not {", ".join(self.metrics) or "none"}')
        for name in 'score_thr', 'iou_thr':
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 0 and less than 1, '
                                 f'not {getattr(self, name)}')
        for name, least in ('min_objects', 2), ('steps', 1), ('seed', 0):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f'{name} must be a whole number of at least '
                                 f'{least}, not {value}')


@dataclass(frozen=True)
class Method:
    """An explanation method of a run.

    Args:
        name (str): Any name.
        explainer (Explainer): As it was built, with all its options.
    """
    name: str
    explainer: Explainer

    @property
    def difference(self) -> DifferenceMap | None:
        """The method itself, if it makes difference maps."""
        return self.explainer if isinstance(self.explainer, DifferenceMap) \
            else None

    @property
    def heatmap_explainer(self) -> Explainer:
        """What makes the heat maps."""
        return self.difference.explainer if self.difference else \
            self.explainer

    def maps(self, heatmaps: Tensor) -> Tensor:
        """Make the method's maps of its heat maps (N, H, W)."""
        return self.difference.compare(heatmaps) if self.difference else \
            heatmaps


@dataclass
class MethodGroup:
    """Methods that share heat maps, which are made once.

    Args:
        explainer (Explainer): Makes the heat maps.
        methods (list[Method]): The methods.
    """
    explainer: Explainer
    methods: list[Method]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each difference map with each method whose heat maps it
        compares."""
        return [(method.name, base.name) for method in self.methods
                if method.difference for base in self.methods
                if not base.difference]


class Methods:
    """The methods of a run, in groups that share heat maps.

    What a method makes is told by its explainer alone, so that it may have
    any name:

    >>> methods = Methods({
    ...     'mine': 'odam', 'shape-diff': dict(type='DifferenceMap')})
    >>> methods.pairs
    [('shape-diff', 'mine')]

    Args:
        explainers (Mapping): Configs or names, by names; see
            :func:`~mmdet_diffmap.explainers.build_explainer`.

    Raises:
        ValueError: If there is none, or one cannot be built.
    """

    def __init__(self, explainers: Mapping[str, ExplainerLike]) -> None:
        if not explainers:
            raise ValueError('there is no explainer to measure')
        #: In the order of the tables.
        self.methods = [Method(name, build_explainer(explainer))
                        for name, explainer in explainers.items()]
        #: In the order in which they are measured.
        self.groups: list[MethodGroup] = []
        for method in self.methods:
            explainer = method.heatmap_explainer
            for group in self.groups:
                if same_explainers(group.explainer, explainer):
                    group.methods.append(method)
                    break
            else:
                self.groups.append(MethodGroup(explainer, [method]))

    @property
    def names(self) -> list[str]:
        """The names in the order of the tables."""
        return [method.name for method in self.methods]

    @property
    def explainers(self) -> list[Explainer]:
        """What makes the heat maps of each group."""
        return [group.explainer for group in self.groups]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each difference map with each method whose heat maps it
        compares."""
        return [pair for group in self.groups for pair in group.pairs]


def same_explainers(explainer: Explainer, other: Explainer) -> bool:
    """Whether two explainers are of one type and have the same options."""
    return type(explainer) is type(other) and vars(explainer) == vars(other)

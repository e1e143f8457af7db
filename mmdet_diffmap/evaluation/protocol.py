# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What is measured, and of which methods."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


class Methods:
    """Explainers by their names, in groups that share heat maps: those of a
    method and of its difference map are made once.

    Args:
        explainers (Mapping): Configs or names, by names; see
            :func:`~mmdet_diffmap.explainers.build_explainer`.
    """

    def __init__(self, explainers: Mapping[str, ExplainerLike]) -> None:
        if not explainers:
            raise ValueError('there is no explainer to measure')
        #: Each as it was built, with all its options.
        self.by_name: dict[str, Explainer] = {}
        self.explainers: list[Explainer] = []
        self.named: list[dict[str, DifferenceMap | None]] = []
        for name, config in explainers.items():
            self.by_name[name] = built = build_explainer(config)
            difference = built if isinstance(built, DifferenceMap) else None
            inner = difference.explainer if difference else built
            for known, group in zip(self.explainers, self.named):
                if type(known) is type(inner) and vars(known) == vars(inner):
                    group[name] = difference
                    break
            else:
                self.explainers.append(inner)
                self.named.append({name: difference})

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each difference map with the method whose heat maps it compares."""
        return [(name, base) for group in self.named
                for name, difference in group.items() if difference
                for base, plain in group.items() if not plain]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from typing import Any

from torch import Tensor

from ..maps.difference import difference_map
from ..registry import EXPLAINERS
from ..tracing.trace import Trace
from .explainer import Explainer, ExplainerLike, build_explainer


@EXPLAINERS.register_module()
class DifferenceMap(Explainer):
    """The difference maps of any method's heat maps (Eq. 4): what is
    important for an object and not for the others.

    >>> from mmdet_diffmap import explain, load_detector
    >>> detector = load_detector('mmdet_diffmap::demo/fcos_scenes.py')
    >>> explainer = DifferenceMap('grad-cam', positive=True)
    >>> sample = explain(detector, 'scene://0/2', explainer, max_objects=2)
    >>> sample.pred_instances.difference_maps.aminmax()
    torch.return_types.aminmax(
    min=tensor(0.),
    max=tensor(1.))

    Args:
        explainer (Explainer | dict | str): The method; see
            :func:`build_explainer`. Defaults to ODAM.
        positive (bool): See
            :func:`~mmdet_diffmap.maps.difference.difference_map`.
        **options: Override those of the method's config.
    """

    def __init__(self,
                 explainer: ExplainerLike = 'ODAM',
                 positive: bool = False,
                 **options: Any) -> None:
        self.explainer = build_explainer(explainer, **options)
        if isinstance(self.explainer, DifferenceMap):
            raise ValueError('the explainer of a difference map makes heat '
                             'maps, not difference maps')
        self.positive = positive
        super().__init__(self.explainer.half)
        self.target_layer = self.explainer.target_layer
        self.statistics = self.explainer.statistics

    def __call__(self, trace: Trace) -> Tensor:
        """Make maps (N, H, W): signed in [-1, 1], or positive in [0, 1]."""
        return self.compare(self.explainer(trace))

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """tuple[str]: Those of the explainer."""
        return self.explainer.outputs

    def working_memory(self, trace: Trace) -> int:
        """Return that of the explainer."""
        return self.explainer.working_memory(trace)

    def compare(self, heatmaps: Tensor) -> Tensor:
        """Make the difference maps of heat maps (N, H, W)."""
        return difference_map(heatmaps, self.positive)

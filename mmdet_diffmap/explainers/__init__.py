# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from .difference_map import DifferenceMap
from .explainer import Explainer, ExplainerLike, build_explainer
from .odam import ODAM

__all__ = [
    'ODAM', 'DifferenceMap', 'Explainer', 'ExplainerLike', 'build_explainer'
]

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Iterator

import torch
from torch import Tensor

from ..maps.heatmaps import GridMaps
from ..registry import EXPLAINERS
from ..tracing.level_gradients import LevelGradients
from ..tracing.trace import Trace
from .feature_explainer import FeatureExplainer, reached_levels
from .gradient_explainer import GradientExplainer

#: Bytes that are worked with at one time.
MEMORY_BUDGET = 2**28


def first_component(values: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Project the cells of levels on their first principal direction: the
    first right singular vector of all cells (rows) and channels (columns),
    centred.

    A singular vector may as well have the other sign. This one has that with
    which the projection has a positive scalar product with the sum over the
    channels.

    Args:
        values (Tensor): Shape (n, C, h, w), in windows outside of which, and
            outside of the level, they are zero.
        cells (int): How many cells the whole level has.

    Returns:
        tuple: What the cells of the windows have more than a cell outside of
        them, shape (n, h, w), and the projection of such a cell, shape (n, );
        in double precision.

    >>> values = torch.tensor([[[[3., 0.]], [[4., 0.]]]])  # two channels
    >>> projection, outside = first_component(values, cells=5)
    >>> projection[0, 0], outside  # 5 for a cell, 1 for the mean of all
    (tensor([5., 0.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    columns = values.double().flatten(2)  # (n, C, h * w)
    mean = columns.sum(dim=2) / cells
    scatter = columns @ columns.mT - cells * mean[:, :, None] * mean[:, None]
    # what is not finite stays so in the projection, where it is noticed
    _, directions = torch.linalg.eigh(scatter.nan_to_num(0, 0, 0))
    direction = directions[:, :, -1]
    projection = (direction[:, None] @ columns)[:, 0]
    outside = -(direction * mean).sum(dim=1)
    sums = columns.sum(dim=1)
    product = ((projection + outside[:, None]) * sums).sum(dim=1)
    sign = torch.where(product < 0, -1., 1.).to(mean)
    return ((sign[:, None] * projection).view(-1, *values.shape[2:]),
            sign * outside)


@EXPLAINERS.register_module()
class EigenCAM(FeatureExplainer):
    """EigenCAM (Muhammad & Yeasin, IJCNN 2020).

    ``ReLU`` of the projection of a level's features on their first principal
    direction; see :func:`first_component`. It knows no classes and no
    objects: it shows what stands out on a level. All detections whose scores
    depend on the same levels have the same map, so that nothing is left of
    their difference maps.

    Args:
        **kwargs: See :class:`FeatureExplainer`.
    """

    def grid_maps(self, trace: Trace) -> list[GridMaps]:
        """Make one map a level, for all detections that depend on it."""
        maps = []
        for level, detections in reached_levels(trace).items():
            feature = trace.features[level]
            projection, outside = first_component(
                feature[None], feature[0].numel())
            values = (projection + outside).relu().to(feature)
            maps.append(GridMaps.of_whole_level(
                values.expand(len(detections), -1, -1), level, detections))
        return maps


@EXPLAINERS.register_module()
class EigenGradCAM(GradientExplainer):
    """EigenCAM of the products of gradients and features, as the package
    grad-cam has it.

    ``ReLU`` of the projection of a level's ``∂score/∂A ∘ A`` on their first
    principal direction; see :func:`first_component`. They are zero outside of
    what a detection sees, which counts in their mean.

    Args:
        **kwargs: See :class:`GradientExplainer`.
    """

    def linear_maps(self, level: LevelGradients, output: str) -> Tensor:
        """Compute ``Σ_k g_k ∘ A_k``."""
        return level.feature_sums()

    def level_maps(self, level: LevelGradients) -> GridMaps:
        """Project the products, of a few detections at a time."""
        cells = level.feature[0].numel()
        maps = []
        for part in few_at_a_time(level):
            projection, outside = first_component(
                part.gradients * part.activations, cells)
            maps.append((part.windows.spread(projection) +
                         outside[:, None, None]).relu().to(level.feature))
        return GridMaps.of_whole_level(
            torch.cat(maps), level.windows.level, level.windows.detections)


def few_at_a_time(level: LevelGradients) -> Iterator[LevelGradients]:
    """Divide gradients so that the products of a part, and the square
    matrices made of them, keep to ``MEMORY_BUDGET``."""
    channels = len(level.feature)
    height, width = level.windows.shape
    # in double precision: products and their copy, matrices and eigenvectors
    size = max(1, MEMORY_BUDGET // (
        8 * channels * (2 * height * width + 3 * channels)))
    for first in range(0, len(level.windows), size):
        yield level.take(range(first, min(first + size, len(level.windows))))

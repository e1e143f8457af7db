# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""How alike two maps are."""
import math

import numpy as np
from scipy.stats import rankdata
from skimage.metrics import structural_similarity


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Compute Spearman's rank correlation of two maps (H, W), in [-1, 1]; NaN
    where one is flat, or they are single pixels.

    >>> heatmap = np.array([[1., 2.], [3., 9.]])
    >>> round(rank_correlation(heatmap, heatmap**2), 6)
    1.0
    """
    first_ranks, second_ranks = (rankdata(first.ravel()),
                                 rankdata(second.ravel()))
    if not first_ranks.std() or not second_ranks.std():
        return math.nan
    return float(np.corrcoef(first_ranks, second_ranks)[0, 1])


def structural(first: np.ndarray, second: np.ndarray, span: float) -> float:
    """Compute the mean SSIM of two maps (H, W), at most 1 (Wang et al., TIP
    2004, with their Gaussian windows).

    Args:
        first, second (np.ndarray): The maps, at least 11 pixels on a side.
        span (float): What values may range over: 1 for heat maps, 2 for
            signed difference maps.
    """
    return float(
        structural_similarity(
            first.astype(np.float64),
            second.astype(np.float64),
            data_range=span,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False))

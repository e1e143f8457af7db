import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmdet_diffmap.lab.similarity import rank_correlation, structural

RANDOM = np.random.default_rng(0)


def test_rank_correlation():
    first = RANDOM.integers(0, 9, (20, 30)).astype(float)  # with ties
    second = first + RANDOM.normal(0, 3, first.shape)
    assert rank_correlation(first, second) == pytest.approx(
        spearmanr(first.ravel(), second.ravel()).statistic)
    assert rank_correlation(first, -first) == pytest.approx(-1)


def test_rank_correlation_of_a_flat_map_is_not_known():
    flat = np.zeros((4, 4))
    assert math.isnan(rank_correlation(flat, RANDOM.random((4, 4))))
    assert math.isnan(rank_correlation(np.ones((1, 1)), np.ones((1, 1))))


def test_ssim():
    heatmap = RANDOM.random((40, 30))
    assert structural(heatmap, heatmap, 1) == pytest.approx(1)
    assert structural(heatmap, RANDOM.random((40, 30)), 1) < 0.2


@pytest.mark.parametrize('span', [1., 2.])
def test_ssim_of_flat_maps_has_a_closed_form(span):
    first, second = np.full((20, 20), 0.2), np.full((20, 20), 0.7)
    small = (0.01 * span)**2
    assert structural(first, second, span) == pytest.approx(
        (2 * 0.2 * 0.7 + small) / (0.2**2 + 0.7**2 + small))

import math

import numpy as np
import pytest
import torch

from mmdet_diffmap.evaluation.shape import BAND, SHAPE, contour_band, shape

H, W = 40, 60
Y, X = torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij')


def rectangle(top, left, height, width):
    mask = torch.zeros(H, W, dtype=torch.bool)
    mask[top:top + height, left:left + width] = True
    return mask


@pytest.mark.parametrize('mask', [
    rectangle(10, 15, 20, 24),
    rectangle(0, 0, 12, 30),  # at the image's edge
    (Y - 20)**2 + (X - 30)**2 < 200,
])
def test_band_against_a_loop(mask):
    reach = BAND * math.sqrt(int(mask.sum()))
    padded = np.pad(mask.numpy(), 8)
    places = np.argwhere(np.ones_like(padded))
    expected = np.zeros_like(mask.numpy())
    for row in range(H):
        for column in range(W):
            here = padded[row + 8, column + 8]
            others = places[padded.ravel() != here]
            nearest = np.hypot(*(others - (row + 8, column + 8)).T).min()
            expected[row, column] = nearest - 0.5 <= reach
    assert np.array_equal(contour_band(mask).numpy(), expected)
    assert expected.any() and not expected.all()


def test_a_map_that_is_its_box():
    mask = rectangle(10, 15, 20, 24)
    band = contour_band(mask)
    quantities = shape(mask.float(), mask, mask, band)
    assert set(quantities) == set(SHAPE)
    for name in 'half_area', 'mean_inside', 'in_box':
        assert quantities[name] == 1
    assert quantities['rectangularity'] == 1
    inside = int((band & mask).sum()) / int(mask.sum())
    assert quantities['near_contour'] == pytest.approx(inside)
    share = int(band.sum()) / int((band | mask).sum())
    assert quantities['contour_density'] == pytest.approx(inside / share)


def test_an_ellipse_fills_less_of_its_rectangle():
    mask = rectangle(2, 2, 36, 56)
    ellipse = ((Y - 19.5) / 16)**2 + ((X - 29.5) / 26)**2 <= 1
    quantities = shape(ellipse.float(), mask, mask, contour_band(mask))
    assert quantities['rectangularity'] == pytest.approx(math.pi / 4, abs=0.02)
    assert quantities['half_area'] == pytest.approx(
        math.pi * 16 * 26 / (36 * 56), abs=0.02)


def test_a_map_on_the_contour_alone():
    mask = rectangle(10, 15, 20, 24)
    band = contour_band(mask)
    quantities = shape(band.float(), mask, mask, band)
    assert quantities['near_contour'] == 1
    assert quantities['contour_density'] == pytest.approx(
        int((band | mask).sum()) / int(band.sum()))
    assert 0 < quantities['in_box'] < 1  # half of the band is outside


def test_even_light_has_a_density_of_one():
    mask = rectangle(10, 15, 20, 24)
    quantities = shape(torch.full((H, W), 0.3), mask, mask, contour_band(mask))
    assert quantities['contour_density'] == pytest.approx(1)
    assert quantities['mean_inside'] == pytest.approx(0.3)
    assert quantities['half_area'] == pytest.approx(H * W / int(mask.sum()))


def test_values_below_half_do_not_count_as_area():
    mask = rectangle(10, 15, 20, 24)
    heatmap = 0.4 * mask.float()
    heatmap[12:14, 20:30] = 1
    quantities = shape(heatmap, mask, mask, contour_band(mask))
    assert quantities['half_area'] == pytest.approx(20 / 480)
    assert quantities['rectangularity'] == 1


def test_a_map_of_zeros():
    mask = rectangle(10, 15, 20, 24)
    quantities = shape(torch.zeros(H, W), mask, mask, contour_band(mask))
    assert quantities['half_area'] == quantities['in_box'] == 0
    assert math.isnan(quantities['rectangularity'])
    assert math.isnan(quantities['contour_density'])

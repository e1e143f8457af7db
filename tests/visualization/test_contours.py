"""Outlines as paths, walked by hand; borders come from scipy."""
import re

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from mmdet_diffmap.visualization.contours import contour_path


def walked(path, shape):
    """Which pixels a path goes through."""
    pixels = np.zeros(shape, bool)
    for line in path.split('z')[:-1]:
        start, steps = line.removeprefix('M').split('l')
        place = np.array([float(number) for number in start.split()])
        assert (place % 1 == 0.5).all()
        first = place.copy()
        numbers = [int(number) for number in re.findall(r'-?\d+', steps)]
        corners = [place]
        for step in zip(numbers[::2], numbers[1::2]):
            corners.append(corners[-1] + step)
        for one, other in zip(corners, [*corners[1:], first]):
            for share in np.linspace(0, 1, 200):
                x, y = np.floor(one + share * (other - one)).astype(int)
                pixels[y, x] = True
    return pixels


@pytest.mark.parametrize('shape', [(40, 56), (1, 1), (1, 9)])
def test_a_path_goes_through_all_of_the_border_and_nothing_else(shape):
    rng = np.random.default_rng(0)
    coarse = rng.random((12, 14)) > 0.6  # pieces, holes, pieces in holes
    mask = np.kron(coarse, np.ones((4, 4), bool))[:shape[0], :shape[1]]
    mask[::7, ::5] ^= True  # single pixels, too
    path = contour_path(mask, shape)
    assert (walked(path, shape) == (mask & ~binary_erosion(mask))).all()


def test_a_path_is_in_pixels_of_the_picture():
    mask = np.zeros((80, 120), bool)
    mask[20:60, 30:90] = True
    small = np.zeros((8, 12), bool)
    small[2:6, 3:9] = True
    assert contour_path(mask, (8, 12)) == contour_path(small, (8, 12))

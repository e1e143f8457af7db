import math

import numpy as np
import pytest
import torch

from mmdet_diffmap.evaluation.localization import (
    LOCALIZATION,
    box_regions,
    discrimination_index,
    energy_share,
    localization,
    pointing_game,
)


def region(*rows):
    return torch.tensor(rows, dtype=torch.bool)


MAP = torch.tensor([[1., 2., 0.], [3., 0., 4.]])


def test_pointing_game():
    assert pointing_game(MAP, region([0, 0, 0], [0, 0, 1])) == 1
    assert pointing_game(MAP, region([1, 1, 1], [1, 1, 0])) == 0
    assert pointing_game(torch.ones(2, 2), region([1, 0], [0, 0])) == 0.25
    assert pointing_game(torch.zeros(2, 2), region([1, 1], [1, 1])) == 0


def test_energy():
    assert energy_share(MAP, region([1, 1, 0], [0, 0, 0])) == pytest.approx(.3)
    assert energy_share(torch.zeros(2, 3), region([1, 1, 0], [0, 0, 0])) == 0


def test_discrimination_index():
    others, every = region([1, 1, 0], [0, 0, 0]), region([1, 1, 1], [1, 0, 0])
    assert discrimination_index(MAP, others, every) == pytest.approx(3 / 6)
    assert math.isnan(discrimination_index(
        MAP, others, region([0, 0, 1], [0, 0, 0])))


def test_regions_of_boxes():
    boxes = torch.tensor([[1., 0., 3., 2.], [0.6, 0.4, 2.4, 1.6]])
    assert box_regions(boxes, 2, 4).tolist() == [
        region([0, 1, 1, 0], [0, 1, 1, 0]).tolist(),
        region([0, 1, 0, 0], [0, 1, 0, 0]).tolist()]


def test_against_a_loop_over_pixels():
    random = np.random.default_rng(0)
    heatmap = random.random((9, 11))
    masks = random.random((3, 9, 11)) < .4
    boxes = random.random((3, 9, 11)) < .5
    sums = dict.fromkeys(('all', 'own', 'leak', 'other_masks', 'any_mask',
                          'other_boxes', 'any_box'), 0.)
    for place in np.ndindex(9, 11):
        value, inside, boxed = (heatmap[place],
                                masks[(slice(None), *place)],
                                boxes[(slice(None), *place)])
        sums['all'] += value
        sums['own'] += value * inside[1]
        sums['leak'] += value * ((inside[0] or inside[2]) and not inside[1])
        sums['other_masks'] += value * (inside[0] or inside[2])
        sums['any_mask'] += value * any(inside)
        sums['other_boxes'] += value * (boxed[0] or boxed[2])
        sums['any_box'] += value * any(boxed)
    top = np.unravel_index(heatmap.argmax(), heatmap.shape)
    quantities = localization(torch.from_numpy(heatmap), 1,
                              torch.from_numpy(boxes),
                              torch.from_numpy(masks))
    assert quantities.keys() == LOCALIZATION.keys()
    assert quantities == pytest.approx(dict(
        pointing_game_box=float(boxes[1][top]),
        pointing_game_mask=float(masks[1][top]),
        energy_inside=sums['own'] / sums['all'],
        leakage=sums['leak'] / sums['all'],
        odi_box=sums['other_boxes'] / sums['any_box'],
        odi_mask=sums['other_masks'] / sums['any_mask']))

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_diffmap.evaluation.perturbation import (
    area_under_curve,
    perturb,
    rank_pixels,
    step_counts,
)


@pytest.mark.parametrize('area, steps, pixels, expected', [
    (100, 10, 10**6, list(range(0, 101, 10))),
    (104, 10, 10**6, list(range(0, 101, 10))),
    (106, 10, 10**6, list(range(0, 111, 11))),
    (9, 10, 10**6, list(range(11))),  # fewer pixels than steps
    (0.2, 10, 10**6, list(range(11))),
    (100, 4, 60, [0, 25, 50, 60, 60]),  # a box beyond the image's edge
    (7, 1, 100, [0, 7]),
])
def test_counts_of_steps(area, steps, pixels, expected):
    assert step_counts(area, steps, pixels) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6),
       st.integers(0, 2**31), st.data())
def test_ranking_is_a_stable_sort(height, width, levels, seed, data):
    values = np.random.default_rng(seed).integers(
        -levels, levels + 1, (height, width)).astype(np.float32)
    count = data.draw(st.integers(0, height * width))
    expected = np.argsort(-values.flatten(), kind='stable')[:count]
    ranked = rank_pixels(torch.from_numpy(values), count)
    assert ranked.tolist() == expected.tolist()


def test_nan_has_no_rank():
    with pytest.raises(FloatingPointError, match='NaN'):
        rank_pixels(torch.tensor([[1., float('nan')]]), 1)


@pytest.fixture
def images():
    torch.manual_seed(0)
    start = torch.rand(3, 7, 9)
    return start, start + 1, torch.randperm(63)


def test_every_step_replaces_so_many_of_the_first_pixels(images):
    start, end, order = images
    counts = [0, 5, 10, 15, 63, 63]
    steps = [image.clone() for image in perturb(start, end, order, counts)]
    assert len(steps) == 5
    for count, image in zip(counts[1:], steps):
        replaced = (image == end).all(dim=0).flatten()
        assert replaced.sum() == count
        assert set(replaced.nonzero()[:, 0].tolist()) == set(
            order[:count].tolist())
        assert torch.equal(image.flatten(1)[:, ~replaced],
                           start.flatten(1)[:, ~replaced])


def test_inputs_are_left_alone(images):
    start, end, order = images
    before = start.clone(), end.clone()
    list(perturb(start, end, order, [0, 3, 6]))
    assert torch.equal(start, before[0]) and torch.equal(end, before[1])


def test_deletion_with_start_and_end_swapped_is_insertion(images):
    image, other, order = images
    for count in (1, 20, 62):
        *_, inserted = perturb(other, image, order, [0, count])
        *_, deleted = perturb(image, other, order.flip(0), [0, 63 - count])
        assert torch.equal(inserted, deleted)


def test_area_is_that_of_numpy():
    curve = np.random.default_rng(0).random(11)
    assert area_under_curve(curve) == pytest.approx(
        np.trapezoid(curve, np.linspace(0, 1, 11)))
    assert area_under_curve([100 - 10 * i for i in range(11)]) == 50

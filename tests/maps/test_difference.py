import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmdet_diffmap import difference_map


def brute_force(heatmaps):
    """Eq. 4 with every pair of objects looked at."""
    signed = np.array(heatmaps, copy=True)
    for i in range(len(heatmaps)):
        others = [heatmaps[n] for n in range(len(heatmaps)) if n != i]
        if others:
            signed[i] = heatmaps[i] - np.max(others, axis=0)
    return signed


def brute_force_positive(heatmaps):
    positive = np.maximum(brute_force(heatmaps), 0)
    for one in positive:
        span = one.max() - one.min()
        one[:] = (one - one.min()) / span if span > 0 else 0
    return positive


def heatmaps(min_objects=0, max_objects=5):
    # few values, so that ties are frequent
    values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    return st.integers(min_objects, max_objects).flatmap(
        lambda n: arrays(np.float64, (n, 3, 4), elements=values))


@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_equals_brute_force(count):
    maps = torch.rand(count, 13, 17, dtype=torch.float64)
    np.testing.assert_array_equal(difference_map(maps), brute_force(maps))
    np.testing.assert_allclose(
        difference_map(maps, positive=True),
        brute_force_positive(maps.numpy()),
        rtol=0,
        atol=1e-12)


def test_single_object_keeps_its_heat_map():
    maps = torch.rand(1, 5, 6)
    torch.testing.assert_close(difference_map(maps), maps, rtol=0, atol=0)


@settings(max_examples=80, deadline=None)
@given(heatmaps())
def test_ties_and_ranges(maps):
    signed = difference_map(torch.from_numpy(maps))
    np.testing.assert_array_equal(signed, brute_force(maps))
    assert signed.abs().le(1).all()
    positive = difference_map(torch.from_numpy(maps), positive=True)
    assert positive.isfinite().all()
    assert positive.ge(0).all() and positive.le(1).all()


@settings(max_examples=40, deadline=None)
@given(heatmaps(2, 2))
def test_two_objects_are_antisymmetric(maps):
    first, second = difference_map(torch.from_numpy(maps))
    torch.testing.assert_close(first, -second, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(heatmaps(1, 6), st.randoms())
def test_order_of_objects_does_not_matter(maps, random):
    order = list(range(len(maps)))
    random.shuffle(order)
    maps = torch.from_numpy(maps)
    torch.testing.assert_close(
        difference_map(maps[order]), difference_map(maps)[order],
        rtol=0, atol=0)


def test_input_with_a_graph():
    maps = torch.rand(2, 4, 4, requires_grad=True)
    assert not difference_map(maps).requires_grad


def test_input_is_left_as_it_is():
    maps = torch.rand(3, 4, 4)
    copy = maps.clone()
    difference_map(maps, positive=True)
    assert torch.equal(maps, copy)


@pytest.mark.parametrize('bad', [torch.rand(4, 4), torch.rand(1, 2, 3, 4)])
def test_wrong_shape(bad):
    with pytest.raises(ValueError, match=r'\(N, H, W\), not torch.float32 of'):
        difference_map(bad)


def test_wrong_type():
    with pytest.raises(ValueError, match='floating point'):
        difference_map(torch.ones(2, 3, 3, dtype=torch.int64))


def test_maps_that_differ_by_rounding_alone_have_no_positive_part():
    """Normalised, rounding would look like the strongest difference."""
    maps = torch.rand(1, 13, 17).repeat(2, 1, 1)
    maps[0, 3, 4] += 2e-7
    assert (difference_map(maps)[0] > 0).any()
    assert not difference_map(maps, positive=True).any()

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_diffmap.maps.heatmaps import (
    GridMap,
    image_heatmaps,
    min_max_normalize,
    normalize_levels,
)
from mmdet_diffmap.maps.image_frame import ImageFrame


def test_min_max_normalize():
    maps = torch.tensor([[[2., 4.], [3., 6.]], [[-1., 0.], [1., 3.]]])
    expected = torch.tensor([[[0, .5], [.25, 1]], [[0, .25], [.5, 1]]])
    torch.testing.assert_close(min_max_normalize(maps), expected)


@pytest.mark.parametrize('value', [0., 0.3, -2.])
def test_flat_map_becomes_zeros(value):
    maps = torch.full((2, 3, 3), value)
    assert torch.equal(min_max_normalize(maps), torch.zeros(2, 3, 3))


def test_no_map_at_all():
    assert min_max_normalize(torch.zeros(0, 4, 5)).shape == (0, 4, 5)


CPU = torch.device('cpu')


def grid(values):
    """A map that is given on its whole grid."""
    return GridMap(values, tuple(values.shape))


def test_levels_are_normalized_together():
    levels = {0: grid(torch.tensor([[1., 3.]])), 2: grid(torch.tensor([[5.]]))}
    normalized = normalize_levels(levels)
    assert torch.equal(normalized[0].whole(), torch.tensor([[0., .5]]))
    assert torch.equal(normalized[2].whole(), torch.tensor([[1.]]))
    assert normalize_levels({}) == {}


def test_cells_outside_of_the_window_count_when_levels_are_normalized():
    window = GridMap(torch.tensor([[2., 4.]]), (3, 2), (1, 0))
    normalized = normalize_levels({0: window})[0].whole()
    expected = torch.tensor([[0., 0.], [.5, 1.], [0., 0.]])
    assert torch.equal(normalized, expected)


def test_maximum_of_two_windows():
    first = GridMap(torch.tensor([[1., 5.]]), (2, 3), (0, 0))
    second = GridMap(torch.tensor([[3.], [4.]]), (2, 3), (0, 1))
    expected = torch.tensor([[1., 5., 0.], [0., 4., 0.]])
    assert torch.equal(first.maximum(second).whole(), expected)
    same = GridMap(torch.tensor([[2., 3.]]), (2, 3), (0, 0))
    joined = first.maximum(same)
    assert torch.equal(joined.values, torch.tensor([[2., 5.]]))
    assert joined.corner == (0, 0)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_map_that_is_not_finite(value):
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    maps = [{}, {0: grid(torch.ones(4, 4))},
            {0: grid(torch.full((4, 4), value))}]
    with pytest.raises(FloatingPointError, match='detection 2 is not finite'):
        image_heatmaps(maps, frame, CPU)


def test_levels_are_joined_by_the_maximum():
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    fine = torch.zeros(4, 4)
    fine[0, 0] = 8.
    coarse = torch.tensor([[2., 2.], [2., 2.]])
    (heatmap, ) = image_heatmaps(
        [{0: grid(fine), 1: grid(coarse)}], frame, CPU)
    assert heatmap[0, 0] == 1
    assert heatmap[3, 3] == 0  # 2 everywhere else is the joint minimum
    (nothing, ) = image_heatmaps([{}], frame, CPU)
    assert torch.equal(nothing, torch.zeros(4, 4))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_give_what_whole_grids_give(data):
    """Two levels, windows of any size and place, padding and odd scales."""
    number = st.integers(1, 9)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    shape = data.draw(st.tuples(number, number))
    frame = ImageFrame(
        tuple(8 * (size + data.draw(st.integers(0, 1))) for size in shape),
        tuple(8 * size - data.draw(st.integers(0, 5)) for size in shape),
        data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60))))
    windows = {}
    for level in range(data.draw(st.integers(1, 2))):
        cells = tuple(-(-size // (8 << level)) for size in frame.input_shape)
        corner = tuple(data.draw(st.integers(0, size - 1)) for size in cells)
        window = [data.draw(st.integers(1, size - first))
                  for size, first in zip(cells, corner)]
        windows[level] = GridMap(torch.rand(window), cells, corner)
    wholes = [{level: grid(one.whole()) for level, one in windows.items()}]
    expected = image_heatmaps(wholes, frame, CPU)
    torch.testing.assert_close(
        image_heatmaps([windows], frame, CPU), expected)
    half = image_heatmaps([windows], frame, CPU, torch.float16)
    assert half.dtype == torch.float16
    assert (half.float() - expected).abs().max() <= 2**-12

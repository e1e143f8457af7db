import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_diffmap.maps import heatmaps
from mmdet_diffmap.maps.heatmaps import (
    GridMaps,
    JointMaps,
    image_heatmaps,
    min_max_normalize,
    normalize_levels,
)
from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.maps.windows import Windows


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


def grid(values, level=0):
    """The map of one detection on its whole grid."""
    return GridMaps.of_whole_level(values[None], level)


def windows(values, grid, corner, level=0):
    """The map of one detection in a window."""
    return GridMaps(values[None], Windows(
        level, grid, (0, ), (corner, ), tuple(values.shape), CPU))


def test_levels_are_normalized_together():
    levels = [grid(torch.tensor([[1., 3.]])), grid(torch.tensor([[5.]]), 2)]
    first, second = normalize_levels(levels)
    assert torch.equal(first.values[0], torch.tensor([[0., .5]]))
    assert torch.equal(second.values[0], torch.tensor([[1.]]))
    assert normalize_levels([]) == []


def test_detections_are_normalized_apart():
    values = torch.tensor([[[1., 3.]], [[2., 2.]], [[0., 8.]]])
    others = GridMaps.of_whole_level(torch.tensor([[[5.]]]), 1, [1])
    first, second = normalize_levels(
        [GridMaps.of_whole_level(values), others])
    assert first.values.tolist() == [[[0, 1]], [[0, 0]], [[0, 1]]]
    assert second.values.tolist() == [[[1]]]


def test_cells_outside_of_the_window_count_when_levels_are_normalized():
    window = windows(torch.tensor([[2., 4.]]), (3, 2), (1, 0))
    (normalized, ) = normalize_levels([window])
    expected = torch.tensor([[0., 0.], [.5, 1.], [0., 0.]])
    assert torch.equal(normalized.spread().values[0], expected)


def test_maximum_of_windows():
    first = windows(torch.tensor([[1., 5.]]), (2, 3), (0, 0))
    second = windows(torch.tensor([[3.], [4.]]), (2, 3), (0, 1))
    joint = JointMaps()
    joint.add(first)
    joint.add(second)
    (joined, ) = joint.maps()
    expected = torch.tensor([[1., 5., 0.], [0., 4., 0.]])
    assert torch.equal(joined.values[0], expected)
    joint = JointMaps()
    joint.add(first)
    joint.add(windows(torch.tensor([[2., 3.]]), (2, 3), (0, 0)))
    (joined, ) = joint.maps()
    assert torch.equal(joined.values[0], torch.tensor([[2., 5.]]))
    assert joined.windows == first.windows


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_map_that_is_not_finite(value):
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    maps = GridMaps.of_whole_level(
        torch.stack([torch.ones(4, 4), torch.full((4, 4), value)]), 0, [1, 2])
    with pytest.raises(FloatingPointError, match='detection 2 is not finite'):
        image_heatmaps([maps], 3, frame, CPU)


def test_levels_are_joined_by_the_maximum():
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    fine = torch.zeros(4, 4)
    fine[0, 0] = 8.
    coarse = torch.tensor([[2., 2.], [2., 2.]])
    (heatmap, ) = image_heatmaps([grid(fine), grid(coarse, 1)], 1, frame, CPU)
    assert heatmap[0, 0] == 1
    assert heatmap[3, 3] == 0  # 2 everywhere else is the joint minimum
    (nothing, ) = image_heatmaps([], 1, frame, CPU)
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
    count = data.draw(st.integers(1, 3))
    maps = []
    for level in range(data.draw(st.integers(1, 2))):
        cells = tuple(-(-size // (8 << level)) for size in frame.input_shape)
        shape = tuple(data.draw(st.integers(1, size + 2)) for size in cells)
        corners = tuple(
            tuple(data.draw(st.integers(-1, size - 1)) for size in cells)
            for _ in range(count))
        detections = data.draw(st.permutations(range(count)))
        where = Windows(level, cells, tuple(detections), corners, shape, CPU)
        maps.append(GridMaps(torch.rand(count, *shape) * where.inside, where))
    wholes = [level_maps.spread() for level_maps in maps]
    expected, rounding = map(torch.stack, zip(*(
        naive_heatmap([(level_maps.values[level_maps.windows.detections.index(
            detection)]) for level_maps in wholes], frame)
        for detection in range(count))))
    for form in wholes, maps:
        apart = (image_heatmaps(form, count, frame, CPU) - expected).abs()
        assert (apart.amax(dim=(1, 2)) <= rounding + 1e-5).all()
    half = image_heatmaps(maps, count, frame, CPU, torch.float16)
    assert half.dtype == torch.float16
    apart = (half.float() - expected).abs().amax(dim=(1, 2))
    assert (apart <= 2**-12 + 1e-5 + rounding).all()


def naive_heatmap(levels, frame):
    """The map of a detection's whole levels, one by one, and what four
    roundings of its largest value are after it is normalised: much, if that
    is hardly more than the smallest."""
    enlarged = torch.stack([frame.to_image(values) for values in levels])
    joined = enlarged.amax(dim=0)
    span = joined.max() - joined.min()
    eps = torch.finfo(torch.float32).eps
    if span <= 16 * eps * joined.max():
        return torch.zeros_like(joined), torch.tensor(0.)
    return (joined - joined.min()) / span, 4 * eps * joined.max() / span


def test_many_maps_are_made_in_parts(monkeypatch):
    """As many at a time as fit into the budget, whatever levels they are
    on."""
    frame = ImageFrame((32, 48), (32, 48), (20, 31))
    torch.manual_seed(0)
    first = GridMaps.of_whole_level(torch.rand(5, 4, 6), 0, [4, 0, 2, 1, 6])
    second = GridMaps(torch.rand(3, 2, 2), Windows(
        1, (2, 3), (6, 5, 0), ((0, 1), (0, 0), (0, 1)), (2, 2), CPU))
    together = image_heatmaps([first, second], 7, frame, CPU)
    monkeypatch.setattr(heatmaps, 'BUDGET', 2 * 16 * 20 * 31)
    assert list(heatmaps.chunks(range(5), 16 * 20 * 31)) == [
        range(2), range(2, 4), range(4, 5)]
    apart = image_heatmaps([first, second], 7, frame, CPU)
    torch.testing.assert_close(apart, together)
    half = image_heatmaps([first, second], 7, frame, CPU, torch.float16)
    torch.testing.assert_close(half.float(), together, rtol=0, atol=2**-12)
    assert not apart[3].any() and apart.flatten(1).amax(dim=1).sum() == 6

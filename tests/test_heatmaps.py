import pytest
import torch

from mmdet_diffmap.heatmaps import (
    image_heatmaps,
    min_max_normalize,
    normalize_levels,
)
from mmdet_diffmap.image_frame import ImageFrame


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


def test_levels_are_normalized_together():
    levels = {0: torch.tensor([[1., 3.]]), 2: torch.tensor([[5.]])}
    normalized = normalize_levels(levels)
    assert torch.equal(normalized[0], torch.tensor([[0., .5]]))
    assert torch.equal(normalized[2], torch.tensor([[1.]]))
    assert normalize_levels({}) == {}


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_map_that_is_not_finite(value):
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    maps = [{0: torch.ones(4, 4)}, {0: torch.full((4, 4), value)}]
    with pytest.raises(FloatingPointError, match='detection 1 is not finite'):
        image_heatmaps(maps, frame, torch.ones(1))


def test_levels_are_joined_by_the_maximum():
    frame = ImageFrame((4, 4), (4, 4), (4, 4))
    fine = torch.zeros(4, 4)
    fine[0, 0] = 8.
    coarse = torch.tensor([[2., 2.], [2., 2.]])
    (heatmap, ) = image_heatmaps([{0: fine, 1: coarse}], frame, torch.ones(1))
    assert heatmap[0, 0] == 1
    assert heatmap[3, 3] == 0  # 2 everywhere else is the joint minimum
    (nothing, ) = image_heatmaps([{}], frame, torch.ones(1))
    assert torch.equal(nothing, torch.zeros(4, 4))

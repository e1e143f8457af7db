from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from squares import SquareDetector

from mmdet_diffmap.explainers.random_masks import (
    MaskedImage,
    MaskedSums,
    RandomMasks,
)
from mmdet_diffmap.lab.speed import input_batch
from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.tracing.detector import DetectorAdapter


def test_how_many_are_drawn_at_once_does_not_matter():
    image = torch.zeros(3, 40, 50)
    first, second = (RandomMasks(5, .4, seed=3) for _ in range(2))
    once = first.draw(12, image)
    parts = torch.cat([second.draw(count, image) for count in (1, 4, 7)])
    torch.testing.assert_close(once, parts, rtol=0, atol=1e-6)
    other = RandomMasks(5, .4, seed=4).draw(12, image)
    assert (other - once).abs().max() > 0.5


@pytest.mark.parametrize('probability', [.1, .5, .8])
def test_share_that_is_shown(probability):
    masks = RandomMasks(8, probability, 0).draw(
        2000, torch.zeros(48, 32, dtype=torch.float64))
    assert masks.shape == (2000, 48, 32)
    assert masks.min() >= 0 and masks.max() <= 1
    # each pixel is the mean of at least a cell, over 2000 masks
    spread = (probability * (1 - probability) / 2000)**.5
    assert (masks.mean(dim=0) - probability).abs().max() < 5 * spread


@pytest.mark.parametrize('shift', [(0, 0), (1, 0), (1, 1)])
def test_grid_is_enlarged_and_moved(shift):
    """16 cells over 34 pixels; 32 of them, from the first or the second."""
    masks = RandomMasks(16, .5, 0)
    cells = torch.rand(1, 16, 16, dtype=torch.float64)
    rows, columns = (
        masks.weights(torch.tensor([cells_moved / 2], dtype=torch.float64),
                      32)
        for cells_moved in shift)  # a cell less is 2 pixels
    large = F.interpolate(cells[None], (34, 34), mode='bilinear')[0]
    top, left = shift
    torch.testing.assert_close(
        rows @ cells @ columns.mT, large[:, top:top + 32, left:left + 32],
        rtol=0, atol=1e-12)


def test_grid_of_one_cell_hides_all_or_nothing():
    masks = RandomMasks(1, .5, 0).draw(20, torch.zeros(6, 7))
    assert set(masks.flatten(1).amin(dim=1).tolist()) == {0., 1.}
    assert torch.equal(masks.amin(dim=(1, 2)), masks.amax(dim=(1, 2)))


def test_padding_stays_as_it_is():
    image = torch.rand(3, 10, 12, dtype=torch.float64)
    black = torch.rand(3, 1, 1, dtype=torch.float64)
    frame = ImageFrame((10, 12), (5, 6), (5, 6), corner=(2, 3))
    masked = MaskedImage(SimpleNamespace(image=image, black=black), frame)
    mask = torch.rand(5, 6, dtype=torch.float64)
    (image_behind, ) = masked.behind(mask[None])
    expected = image.clone()
    for row in range(5):
        for column in range(6):
            pixel = image[:, 2 + row, 3 + column]
            share = mask[row, column]
            expected[:, 2 + row, 3 + column] = \
                share * pixel + (1 - share) * black[:, 0, 0]
    torch.testing.assert_close(image_behind, expected, rtol=0, atol=1e-12)


def test_behind_a_mask_of_zeros_the_image_is_black():
    """The host's own preprocessing of a black image says what black is."""
    model = SquareDetector((1, 1, 5, 5))
    image = np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8)
    (network, frame), (black, _) = (
        (trace.input, trace.frame) for trace in (
            DetectorAdapter(model, None).trace(input_batch(pixels, (33, 50)))
            for pixels in (image, np.zeros_like(image))))
    masked = MaskedImage(network, frame)
    assert masked.content.shape == (3, 33, 50)
    hidden, shown = masked.behind(
        torch.stack([torch.zeros(33, 50), torch.ones(33, 50)]))
    torch.testing.assert_close(hidden, black.image)
    torch.testing.assert_close(shown, network.image)


def test_sums_and_means():
    rng = np.random.default_rng(0)
    scores, masks = rng.random((2, 9)), rng.random((9, 4, 5))
    masks[:, 0, 0] = 0  # a pixel that is never shown
    sums = MaskedSums(2, (4, 5), torch.zeros(0, dtype=torch.float64))
    other = MaskedSums(2, (4, 5), torch.zeros(0, dtype=torch.float64))
    sums.add(torch.from_numpy(scores[:, :4]), torch.from_numpy(masks[:4]))
    other.add(torch.from_numpy(scores[:, 4:]), torch.from_numpy(masks[4:]))
    sums.merge(other)
    for i in range(2):
        weighted = sum(s * m for s, m in zip(scores[i], masks))
        np.testing.assert_allclose(sums.weighted[i], weighted, atol=1e-12)
        mean = sums.mean(i).numpy()
        assert mean[0, 0] == 0
        np.testing.assert_allclose(
            mean.ravel()[1:], (weighted / np.maximum(masks.sum(0), 1e-9)
                               ).ravel()[1:], atol=1e-12)

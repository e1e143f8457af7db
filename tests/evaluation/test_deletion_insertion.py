"""Curves against closed forms: the score of an object is the brightness of a
square."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from squares import SquareDetector

from mmdet_diffmap.evaluation.perturbation import area_under_curve

from .pointing import AREAS, LIGHT, SQUARES, Pointer, measure, percent, truth


@pytest.mark.parametrize('target', [0, 1])
def test_insertion_of_the_own_square(target):
    result, _ = measure({'own': Pointer()})
    assert result['objects'][target]['area'] == AREAS[target]
    curve = percent(result, 'own', 'insertion', 'target', target)
    assert curve == pytest.approx(np.arange(0, 101, 10), abs=1e-3)
    assert area_under_curve(curve) == pytest.approx(50, abs=1e-3)
    assert percent(result, 'own', 'insertion', 'others',
                   target) == pytest.approx(np.zeros(11), abs=1e-3)


@pytest.mark.parametrize('target', [0, 1])
def test_insertion_of_the_other_square(target):
    result, _ = measure({'wrong': Pointer((1, 0))})
    assert percent(result, 'wrong', 'insertion', 'target',
                   target) == pytest.approx(np.zeros(11), abs=1e-3)
    shown = np.arange(11) * AREAS[target] / 10 / AREAS[1 - target]
    if target == 1:  # the larger box: then what is left, which is nothing's
        shown = shown.clip(max=1)
    assert percent(result, 'wrong', 'insertion', 'others',
                   target) == pytest.approx(100 * shown, abs=1e-3)


@pytest.mark.parametrize('target', [0, 1])
def test_deletion_leaves_noise(target):
    result, _ = measure({'own': Pointer()}, seed=5)
    own = torch.zeros(60, 75)
    x1, y1, x2, y2 = (side // 2 for side in SQUARES[target])
    own[y1:y2, x1:x2] = 1
    own = F.interpolate(own[None, None], (120, 150), mode='bilinear')[0, 0]
    order = np.argsort(-own.numpy().flatten(), kind='stable')
    noise = np.random.default_rng((5, 3, target)).integers(
        0, 256, (3, 128, 160), dtype=np.uint8)[:, :120, :150]
    noise = noise.mean(axis=0).flatten()
    expected = []
    for count in np.arange(11) * AREAS[target] // 10:
        total = noise[order[:count]].sum() + LIGHT * (AREAS[target] - count)
        expected.append(100 * total / AREAS[target] / LIGHT)
    assert percent(result, 'own', 'deletion', 'target',
                   target) == pytest.approx(expected, abs=1e-3)
    assert percent(result, 'own', 'deletion', 'others',
                   target) == pytest.approx(np.full(11, 100), abs=1e-3)


class Recorder(SquareDetector):
    """Keeps what it sees."""

    def predict(self, inputs, samples, **options):
        self.seen = [*getattr(self, 'seen', []), *inputs.clone()]
        return super().predict(inputs, samples, **options)


def test_pixels_of_every_step_are_counted_and_padding_is_never_touched():
    model = Recorder(*SQUARES)
    measure({'own': Pointer()}, model)
    image, black, *changed = model.seen
    assert image.shape == (3, 128, 160)
    padding = torch.ones(128, 160, dtype=torch.bool)
    padding[:120, :150] = False
    assert len(changed) == 40
    for picture in (black, *changed):
        assert torch.equal(picture[:, padding], image[:, padding])
    for i, picture in enumerate(changed):
        target, direction, step = i // 20, i // 10 % 2, i % 10 + 1
        start = (image, black)[direction]
        different = (picture != start).any(dim=0).sum()
        # a pixel of noise may be what it was in all channels
        assert different == pytest.approx(step * AREAS[target] // 10, abs=1)


def test_a_box_of_less_than_ten_pixels():
    tiny = [(0, 0, 4, 2), SQUARES[1]]
    model = Recorder(*tiny)
    result, _ = measure({'own': Pointer()}, model, annotated=truth(tiny))
    assert result['objects'][0]['area'] == 8
    _, black, *changed = model.seen
    for step, picture in enumerate(changed[10:20], 1):  # its insertion
        assert (picture != black).any(dim=0).sum() == step


class NotFinite(SquareDetector):
    """Gives NaN for dark images."""
    limit = 0.

    def predict(self, inputs, samples, **options):
        for sample, image in zip(super().predict(inputs, samples, **options),
                                 inputs):
            if image.mean() < self.limit:
                sample.pred_instances.scores[:] = float('nan')
        return samples


@pytest.mark.parametrize('limit, message', [
    (0, 'not finite behind changed pixels'), (99, 'scores are not finite$')])
def test_scores_that_are_not_finite(limit, message, monkeypatch):
    monkeypatch.setattr(NotFinite, 'limit', limit)
    with pytest.raises(FloatingPointError, match=message):
        measure({'a': Pointer()}, NotFinite(*SQUARES))

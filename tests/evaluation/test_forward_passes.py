import numpy as np
import pytest
import torch
from demo import SCENE, demo_detector
from squares import SquareDetector

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.evaluation import (
    GroundTruth,
    ImageScorer,
    Methods,
    Protocol,
)
from mmdet_diffmap.evaluation.measured_image import MeasuredImage
from mmdet_diffmap.evaluation.perturbation import area_under_curve

from .pointing import SQUARES, Pointer, measure


@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_batches_do_not_matter(batch_size):
    model = SquareDetector(*SQUARES)
    result, scorer = measure({'a': Pointer(), 'b': Pointer((1, 0))}, model,
                             batch_size)
    expected, _ = measure({'a': Pointer(), 'b': Pointer((1, 0))})
    assert result == expected
    # 2 methods, 2 objects, 2 directions, 10 steps, and one black image
    assert scorer.forward.count == 81
    assert sum(model.batches[1:]) == 81
    assert max(model.batches) == min(batch_size, 81)


class SmallMemory(SquareDetector):
    """A device that holds three images."""
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def predict(self, inputs, samples, **options):
        if len(inputs) > 3:
            raise self.error
        return super().predict(inputs, samples, **options)


@pytest.mark.parametrize('error', [
    SmallMemory.error, torch.cuda.OutOfMemoryError('CUDA out of memory')])
def test_batches_become_smaller_when_memory_runs_out(error, monkeypatch):
    monkeypatch.setattr(SmallMemory, 'error', error)
    result, scorer = measure({'a': Pointer()}, SmallMemory(*SQUARES))
    assert scorer.forward.batch_size == 2  # 16, 8, 4, 2
    assert result == measure({'a': Pointer()})[0]


class NoMemory(SquareDetector):
    """Fails after the first image."""

    def predict(self, inputs, samples, **options):
        if self.batches:
            raise self.error
        return super().predict(inputs, samples, **options)


def test_one_image_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(NoMemory, 'error', SmallMemory.error, raising=False)
    with pytest.raises(MemoryError, match='a single changed image'):
        measure({'a': Pointer()}, NoMemory(*SQUARES))


def test_other_errors_are_not_taken_for_it(monkeypatch):
    monkeypatch.setattr(NoMemory, 'error', RuntimeError('broken'),
                        raising=False)
    with pytest.raises(RuntimeError, match='broken'):
        measure({'a': Pointer()}, NoMemory(*SQUARES))


def test_mixed_precision_is_for_changed_images():
    model = SquareDetector(*SQUARES)
    measure({'a': Pointer()}, model, amp=True)
    # and for the untouched one, whose scores they are divided by
    assert model.autocast[0] is False and set(model.autocast[1:]) == {True}
    assert model.batches[1] == 1 and sum(model.batches) == 43


def test_batches_of_a_real_detector_differ_by_rounding_only():
    scene = render_scene(0, 2)
    annotated = GroundTruth(torch.from_numpy(scene.boxes),
                            torch.from_numpy(scene.labels), [None] * 9,
                            [None] * 9)
    areas = []
    for batch_size in 1, 7, 32:
        scorer = ImageScorer(demo_detector(), Methods({'odam': 'odam'}),
                             Protocol(steps=4), batch_size)
        data = image_pipeline(demo_detector())(SCENE).batch
        _, figures = scorer(data, annotated, 2)
        image = MeasuredImage.of_entry(dict(figures, image_id=2))
        areas.append([
            [area_under_curve(curve) for curve in curves]
            for curves in image.percent_curves('odam').values()])
    assert np.ptp(areas, axis=0).max() < 0.05  # points
    assert np.std(areas[0]) > 5

"""Curves against closed forms: the score of an object is the brightness of a
square."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from mmdet_diffmap.evaluation.objects import ObjectChoice
from mmdet_diffmap.evaluation.perturbation import area_under_curve
from mmdet_diffmap.evaluation.summary import percent_curves
from mmdet_diffmap.explainers import DRISE, ODAM, DifferenceMap, Explainer
from mmdet_diffmap.lab.speed import input_batch
from mmdet_diffmap.tracing.detector import DetectorAdapter

#: In pixels of a 120 x 150 input, padded to 128 x 160, which shows an image
#: of 60 x 75 pixels.
SQUARES = [(0, 0, 40, 40), (80, 60, 140, 100)]
AREAS = [1600, 2400]
LIGHT = 200


class Pointer(Explainer):
    """A map for each object: its own square, or another's."""

    def __init__(self, targets=(0, 1)):
        super().__init__()
        self.targets = targets

    def __call__(self, trace):
        maps = torch.zeros(len(trace), *trace.frame.image_shape)
        for one, target in zip(maps, self.targets):
            x1, y1, x2, y2 = (side // 2 for side in SQUARES[target])
            one[y1:y2, x1:x2] = 1
        return maps


def truth(squares=SQUARES):
    return GroundTruth.of_instances([
        dict(bbox=[side / 2 for side in square], bbox_label=i, mask=[[
            x for corner in ((0, 1), (2, 1), (2, 3), (0, 3))
            for x in (square[corner[0]] / 2, square[corner[1]] / 2)]])
        for i, square in enumerate(squares)])


def data():
    return input_batch(np.full((60, 75, 3), LIGHT, np.uint8), (120, 150))


def measure(methods, model=None, batch_size=16, known=None, **options):
    scorer = ImageScorer(model or SquareDetector(*SQUARES), Methods(methods),
                         Protocol(**options), batch_size)
    return scorer(data(), known or truth(), 3)[1], scorer


def percent(result, method, direction, kind, target):
    original = LIGHT / 255
    return 100 * np.array(
        result['scores'][method][direction][kind][target]) / original


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


def test_a_difference_map_and_its_method_share_heat_maps():
    calls = []

    class Counted(Pointer):

        def __call__(self, trace):
            calls.append(1)
            return super().__call__(trace)

    one = Counted()
    methods = {'plain': one, 'diff': DifferenceMap(one),
               'positive': DifferenceMap(one, positive=True)}
    result, _ = measure(methods)
    assert len(calls) == 1 and result['scores'].keys() == methods.keys()
    assert Methods(methods).pairs == [('diff', 'plain'),
                                      ('positive', 'plain')]


def test_only_equal_methods_share():
    groups = Methods({'a': 'odam', 'b': 'odam-diff', 'c': ODAM(extents=True),
                      'd': DRISE(masks=9), 'e': DRISE(masks=8),
                      'f': dict(type='DifferenceMap', extents=True)}).named
    assert [list(group) for group in groups] == [['a', 'b'], ['c', 'f'],
                                                 ['d'], ['e']]


@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_batches_do_not_matter(batch_size):
    model = SquareDetector(*SQUARES)
    result, scorer = measure({'a': Pointer(), 'b': Pointer((1, 0))}, model,
                             batch_size)
    expected, _ = measure({'a': Pointer(), 'b': Pointer((1, 0))})
    assert result == expected
    # 2 methods, 2 objects, 2 directions, 10 steps, and one black image
    assert scorer.forwards == 81
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
    assert scorer.batch_size == 2  # 16, 8, 4, 2
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
    for one in (black, *changed):
        assert torch.equal(one[:, padding], image[:, padding])
    for i, one in enumerate(changed):
        target, direction, step = i // 20, i // 10 % 2, i % 10 + 1
        start = (image, black)[direction]
        different = (one != start).any(dim=0).sum()
        # a pixel of noise may be what it was in all channels
        assert different == pytest.approx(step * AREAS[target] // 10, abs=1)


def test_a_box_of_less_than_ten_pixels():
    tiny = [(0, 0, 4, 2), SQUARES[1]]
    model = Recorder(*tiny)
    result, _ = measure({'own': Pointer()}, model, known=truth(tiny))
    assert result['objects'][0]['area'] == 8
    _, black, *changed = model.seen
    for step, one in enumerate(changed[10:20], 1):  # its insertion
        assert (one != black).any(dim=0).sum() == step


def test_too_few_objects_are_not_measured():
    elsewhere = [SQUARES[0], (0, 100, 20, 118)]
    result, scorer = measure({'a': Pointer()}, known=truth(elsewhere))
    assert len(result['objects']) == 1 and 'scores' not in result
    assert scorer.forwards == 0


def test_too_few_annotations_need_no_detector():
    model = SquareDetector(*SQUARES)
    result, _ = measure({'a': Pointer()}, model, known=truth(SQUARES[:1]))
    assert result == dict(objects=[]) and not model.batches


def test_objects_without_masks_are_not_localized():
    bare = GroundTruth.of_instances([
        dict(bbox=[side / 2 for side in square], bbox_label=i)
        for i, square in enumerate(SQUARES)])
    result, _ = measure({'own': Pointer()}, known=bare,
                        metrics=('del_ins', 'localization'))
    assert result['localization']['own']['leakage'] == [None, None]
    assert result['scores']['own'] == measure(
        {'own': Pointer()})[0]['scores']['own']


def test_maps_with_nan_are_an_error():

    class Broken(Pointer):

        def __call__(self, trace):
            return super().__call__(trace) * float('nan')

    with pytest.raises(FloatingPointError, match='a map of own holds NaN'):
        measure({'own': Broken()}, metrics=('localization', ))


class Moving(SquareDetector):
    """Finds another box at every run."""

    def predict(self, inputs, samples, **options):
        x1, y1, x2, y2 = self.squares[0]
        self.squares = ((x1, y1, x2 + 8, y2), *self.squares[1:])
        return super().predict(inputs, samples, **options)


def test_two_runs_must_find_the_same_objects():
    model = Moving(*SQUARES)
    choice = ObjectChoice(truth(), Protocol())
    adapter = DetectorAdapter(model, None)
    choice(adapter.trace(data()))
    with pytest.raises(RuntimeError, match='two runs of the detector find'):
        choice(adapter.trace(data()))


def test_localization_alone_looks_at_no_changed_image():
    result, scorer = measure(
        {'own': Pointer(), 'wrong': Pointer((1, 0))},
        metrics=('localization', ))
    assert scorer.forwards == 0 and 'scores' not in result
    own, wrong = (result['localization'][name] for name in ('own', 'wrong'))
    assert own['energy_inside'] == [1, 1] and wrong['energy_inside'] == [0, 0]
    assert own['leakage'] == [0, 0] and wrong['leakage'] == [1, 1]
    assert own['odi_box'] == [0, 0] and wrong['odi_mask'] == [1, 1]
    assert own['pointing_game_mask'] == [1, 1]


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


def test_mixed_precision_is_for_changed_images():
    model = SquareDetector(*SQUARES)
    measure({'a': Pointer()}, model, amp=True)
    # and for the untouched one, whose scores they are divided by
    assert model.autocast[0] is False and set(model.autocast[1:]) == {True}
    assert model.batches[1] == 1 and sum(model.batches) == 43


@pytest.mark.parametrize('options, message', [
    (dict(steps=0), 'steps must be a whole number of at least 1, not 0'),
    (dict(seed=-1), 'seed must be a whole number'),
    (dict(min_objects=1), 'min_objects must be'),
    (dict(iou_thr=1.), 'iou_thr must be at least 0 and less than 1'),
    (dict(metrics=('x', )), 'metrics must be some of del_ins, localization'),
])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**options)


def test_batches_of_a_real_detector_differ_by_rounding_only():
    scene = render_scene(0, 2)
    known = GroundTruth(torch.from_numpy(scene.boxes),
                        torch.from_numpy(scene.labels), [None] * 9, [None] * 9)
    areas = []
    for batch_size in 1, 7, 32:
        scorer = ImageScorer(demo_detector(), Methods({'odam': 'odam'}),
                             Protocol(steps=4), batch_size)
        data = image_pipeline(demo_detector())(SCENE).batch
        _, found = scorer(data, known, 2)
        areas.append([
            [area_under_curve(curve) for curve in curves]
            for curves in percent_curves(dict(found), 'odam').values()])
    assert np.ptp(areas, axis=0).max() < 0.05  # points
    assert np.std(areas[0]) > 5

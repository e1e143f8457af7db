from weakref import ref

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
from mmdet_diffmap.explainers import ODAM, DifferenceMap

from .pointing import SQUARES, Pointer, measure, truth


def test_a_difference_map_and_its_method_share_heat_maps():
    calls = []

    class Counted(Pointer):

        def __call__(self, trace):
            calls.append(1)
            return super().__call__(trace)

    counted = Counted()
    methods = {'plain': counted, 'diff': DifferenceMap(counted),
               'positive': DifferenceMap(counted, positive=True)}
    result, _ = measure(methods)
    assert len(calls) == 1 and result['scores'].keys() == methods.keys()
    assert Methods(methods).pairs == [('diff', 'plain'),
                                      ('positive', 'plain')]


def test_too_few_objects_are_not_measured():
    elsewhere = [SQUARES[0], (0, 100, 20, 118)]
    result, scorer = measure({'a': Pointer()}, annotated=truth(elsewhere))
    assert len(result['objects']) == 1 and 'scores' not in result
    assert scorer.forward.count == 0


def test_too_few_annotations_need_no_detector():
    model = SquareDetector(*SQUARES)
    result, _ = measure({'a': Pointer()}, model, annotated=truth(SQUARES[:1]))
    assert result == dict(objects=[]) and not model.batches


def test_objects_without_masks_are_not_localized():
    bare = GroundTruth.of_instances([
        dict(bbox=[side / 2 for side in square], bbox_label=i)
        for i, square in enumerate(SQUARES)])
    result, _ = measure({'own': Pointer()}, annotated=bare,
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


def test_localization_alone_looks_at_no_changed_image():
    result, scorer = measure(
        {'own': Pointer(), 'wrong': Pointer((1, 0))},
        metrics=('localization', ))
    assert scorer.forward.count == 0 and 'scores' not in result
    own, wrong = (result['localization'][name] for name in ('own', 'wrong'))
    assert own['energy_inside'] == [1, 1] and wrong['energy_inside'] == [0, 0]
    assert own['leakage'] == [0, 0] and wrong['leakage'] == [1, 1]
    assert own['odi_box'] == [0, 0] and wrong['odi_mask'] == [1, 1]
    assert own['pointing_game_mask'] == [1, 1]


def test_the_graph_of_a_run_is_gone_at_the_next_run():
    traces, alive = [], []

    class Watching(ODAM):

        def __call__(self, trace):
            alive.append([earlier() is not None for earlier in traces])
            traces.append(ref(trace))
            return super().__call__(trace)

    model = demo_detector()
    scene = render_scene(0, 2)
    methods = Methods({layer: Watching(target_layer=layer)
                       for layer in ('neck', 'backbone')})
    scorer = ImageScorer(model, methods, Protocol(metrics=('localization', )))
    annotated = GroundTruth(
        torch.from_numpy(scene.boxes), torch.from_numpy(scene.labels),
        [None] * len(scene.labels), [None] * len(scene.labels))
    scorer(image_pipeline(model)(SCENE).batch, annotated, 2)
    assert alive == [[], [False]]

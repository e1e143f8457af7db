import copy
import math

import pytest
import torch
from demo import SCENE, demo_detector
from families import batch_of

from mmdet_diffmap import explain
from mmdet_diffmap.apis import read_image
from mmdet_diffmap.explainers import ODAM, DifferenceMap
from mmdet_diffmap.explainers.engine import (
    Selection,
    as_difference,
    check_explainable,
    trace_image,
)


@pytest.mark.parametrize('score_thr', [math.nan, -1, -1e-9, 2, math.inf])
def test_threshold_that_is_no_score(score_thr):
    with pytest.raises(ValueError, match=r'score_thr must be in \[0, 1\]'):
        Selection(score_thr)
    with pytest.raises(ValueError, match=r'score_thr must be in \[0, 1\]'):
        explain(demo_detector(), SCENE, score_thr=score_thr)


def test_selection_takes_the_best_above_the_threshold():
    data = batch_of(demo_detector(), read_image(SCENE))
    (every, ) = trace_image(demo_detector(), data, 0, [ODAM()],
                            lambda trace: trace)
    chosen = Selection(0.5, 3)(every)
    scores = sorted((score for score in every.detections.scores.tolist()
                     if score > 0.5), reverse=True)
    assert chosen.detections.scores.tolist() == scores[:3]
    assert len(Selection(0.5, 0)(every)) == 0


def test_several_images_and_a_batch():
    images = [read_image('scene://0/2'), read_image('scene://0/3')]
    model = demo_detector()
    alone = [explain(model, image).pred_instances for image in images]
    for samples in (explain(model, images), explain(model, tuple(images)),
                    explain(model, batch_of(model, *images))):
        assert len(samples) == 2
        for sample, expected in zip(samples, alone):
            for name in 'bboxes', 'heatmaps', 'difference_maps':
                assert torch.equal(sample.pred_instances[name],
                                   expected[name])


def test_one_run_serves_methods_of_one_target_layer(monkeypatch):
    model, runs = demo_detector(), []
    predict = type(model).predict
    monkeypatch.setattr(
        type(model), 'predict',
        lambda self, *args, **kwargs: runs.append(1) or predict(
            self, *args, **kwargs))
    data = batch_of(model, read_image(SCENE))
    methods = [ODAM(), ODAM(extents=True), ODAM(target_layer='backbone'),
               ODAM(target_layer='backbone')]
    traces = list(trace_image(model, data, 0, methods, Selection()))
    assert len(runs) == 2
    assert traces[0] is traces[1] and traces[2] is traces[3]


def test_difference_map_is_left_as_it_is():
    positive = DifferenceMap('odam', positive=True)
    assert as_difference(positive) is positive
    assert isinstance(as_difference('odam').explainer, ODAM)


def detector():
    """A copy of the bundled detector, to be changed."""
    return copy.deepcopy(demo_detector())


@pytest.mark.parametrize('convert', ['half', 'bfloat16', 'double'])
def test_weights_of_another_precision(convert):
    model = getattr(detector(), convert)()
    name = dict(half='float16', double='float64').get(convert, convert)
    with pytest.raises(ValueError, match=rf'are {name}, and detectors are '
                                         r'explained in single precision'):
        explain(model, SCENE)
    assert len(explain(model.float(), SCENE).pred_instances) >= 4


def test_weights_that_were_loaded_in_inference_mode():
    with torch.inference_mode():
        model = detector()
    with pytest.raises(ValueError, match='load the detector outside of it'):
        explain(model, SCENE)


@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('name', ['bbox_head.conv_cls.weight',
                                  'backbone.bn1.running_mean'])
def test_weights_that_are_not_finite(value, name):
    """Also if they were finite when the detector was explained before."""
    model = detector()
    check_explainable(model, [ODAM()])
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = value
    with pytest.raises(ValueError, match=f'weights {name} hold values that '
                                         'are not finite'):
        explain(model, SCENE)


def test_weights_are_looked_at_once(monkeypatch):
    model, looks = detector(), []
    state_dict = type(model).state_dict
    monkeypatch.setattr(
        type(model), 'state_dict',
        lambda self, *args, **kwargs: looks.append(1) or state_dict(
            self, *args, **kwargs))
    for _ in range(3):
        check_explainable(model, [ODAM()])
    assert len(looks) == 1
    model.load_state_dict(state_dict(model))
    check_explainable(model, [ODAM()])
    assert len(looks) == 2


def test_model_that_is_no_detector():
    with pytest.raises(TypeError, match='must be a detector of mmdet, not '
                                        'Linear'):
        check_explainable(torch.nn.Linear(1, 1), [ODAM()])


def test_target_layer_that_does_not_exist():
    with pytest.raises(ValueError, match="target layer 'nose' does not exist"):
        check_explainable(demo_detector(), [ODAM(target_layer='nose')])

"""The methods of a running page, and what it cannot serve."""
import pytest
from demo import CONFIG, WEIGHTS, demo_detector

from mmdet_diffmap import load_detector
from mmdet_diffmap.explainers import build_explainers
from mmdet_diffmap.explainers.engine import Selection, check_explainable
from mmdet_diffmap.explainers.explainer import (
    as_config,
    registered_explainers,
)
from mmdet_diffmap.serve.session import Question, Session

LAYER = 'backbone.layer4'


@pytest.fixture(scope='module')
def session():
    names = [*registered_explainers(), 'odam-diff']
    return Session(demo_detector(), build_explainers(
        {name: name for name in names}, masks=7, tolerance=0.1), Selection())


@pytest.mark.parametrize('name', [*registered_explainers(), 'odam-diff'])
def test_a_method_at_another_layer_is_the_same_but_for_it(session, name):
    method = session.methods[name]
    built = session.method(Question(name, LAYER, 0.3))
    before, after = as_config(method), as_config(built)
    if method.target_layer is None:  # D-RISE has none
        assert built is method and after['masks'] == 7
        assert session.name_of(Question(name, LAYER, 0.3)) == name
        return
    assert built.target_layer == LAYER and method.target_layer == 'neck'
    assert session.name_of(Question(name, LAYER, 0.3)) == f'{name}, {LAYER}'
    for config in before, after:
        for part in config, config.get('explainer', {}):
            part.pop('target_layer', None)
    assert before == after


def test_layers_that_are_offered_can_be_explained(session):
    layers = session.layers()
    assert {'neck', 'backbone', 'backbone.layer1', LAYER} <= set(layers)
    for layer in layers:
        check_explainable(demo_detector(), [
            session.method(Question('odam', layer, 0.3))])


def test_a_pipeline_that_reads_files_itself():
    detector = load_detector(CONFIG, WEIGHTS, device='cpu')
    pipeline = detector.cfg.test_dataloader.dataset.pipeline
    pipeline[0] = dict(type='LoadImageFromNDArray')
    with pytest.raises(ValueError, match='let it begin with LoadImageFromFil'):
        Session(detector, {}, Selection())

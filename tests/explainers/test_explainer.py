import math

import pytest

from mmdet_diffmap.explainers import (
    ODAM,
    DifferenceMap,
    Explainer,
    build_explainer,
)
from mmdet_diffmap.registry import EXPLAINERS


@pytest.mark.parametrize('name', ['ODAM', 'odam', 'difference-map',
                                  'difference_map', 'DifferenceMap'])
def test_names(name):
    assert isinstance(build_explainer(name), Explainer)


def test_config_and_overrides():
    explainer = build_explainer(
        dict(type='ODAM', extents=True), target_layer='backbone')
    assert explainer.extents and explainer.target_layer == 'backbone'
    assert build_explainer(explainer) is explainer
    assert isinstance(build_explainer(dict(type=ODAM)), ODAM)


def test_options_reach_the_explainer_of_a_difference_map():
    difference = build_explainer('difference-map', target_layer='backbone',
                                 extents=True)
    assert isinstance(difference, DifferenceMap)
    assert difference.target_layer == 'backbone'
    assert difference.explainer.target_layer == 'backbone'
    assert difference.explainer.extents


def test_options_of_every_method():
    difference = build_explainer('difference-map', statistics='frozen',
                                 half=True)
    assert difference.statistics == 'frozen' and difference.half
    assert difference.explainer.statistics == 'frozen'
    assert difference.explainer.half
    with pytest.raises(ValueError, match='exact or frozen, not approximate'):
        build_explainer('odam', statistics='approximate')


def test_single_output_as_a_word():
    assert build_explainer(dict(type='ODAM', outputs='x1')).outputs == ('x1', )


def test_config_is_left_as_it_is():
    config = dict(type='odam')
    build_explainer(config, extents=True)
    assert config == dict(type='odam')


@pytest.mark.parametrize('explainer, message', [
    ('grad-cat', "unknown explainer 'grad-cat'; there are DRISE, Differenc"),
    (dict(type='Nothing'), "unknown explainer 'Nothing'"),
    (dict(type='ODAM', colour=1), "cannot be built: .*'colour'"),
    (dict(type='ODAM', outputs=('area', )), "outputs must be some of"),
    (dict(type='ODAM', outputs=()), "outputs must be some of"),
    (dict(type='ODAM', outputs='area'), "outputs must be some of"),
    (dict(type='ODAM', smoothing=-1), 'smoothing must be 0 or more'),
    (dict(type='ODAM', smoothing=math.inf), 'smoothing must be 0 or more'),
    (dict(type='ODAM', smoothing=math.nan), 'smoothing must be 0 or more'),
    (dict(extents=True), 'has no type'),
    (dict(type='DifferenceMap', explainer='difference-map'), 'heat maps, not'),
])
def test_mistakes(explainer, message):
    with pytest.raises(ValueError, match=message):
        build_explainer(explainer)


def test_options_for_a_built_explainer():
    with pytest.raises(ValueError, match='ODAM is built already'):
        build_explainer(ODAM(), extents=True)


def test_registry_builds_without_a_warning(recwarn):
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmdet'):
        EXPLAINERS.build(dict(type='ODAM'))
    assert not recwarn.list

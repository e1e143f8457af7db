import math

import pytest
from demo import ROOT
from mmengine.config import Config

from mmdet_diffmap.explainers import (
    DRISE,
    ODAM,
    AblationCAM,
    DifferenceMap,
    EigenCAM,
    EigenGradCAM,
    Explainer,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    SSGradCAMPlusPlus,
    XGradCAM,
    build_explainer,
    build_explainers,
)
from mmdet_diffmap.explainers.explainer import (
    method_name,
    registered_explainers,
)
from mmdet_diffmap.registry import EXPLAINERS

NAMED = Config.fromfile(ROOT / 'configs/_base_/explainers.py').explainers


@pytest.mark.parametrize('name', ['ODAM', 'odam', 'difference-map',
                                  'difference_map', 'DifferenceMap'])
def test_names(name):
    assert isinstance(build_explainer(name), Explainer)


@pytest.mark.parametrize('name', ['grad-cam++', 'Grad-CAM++', 'GradCAM++',
                                  'grad_cam_plus_plus', 'GradCAMPlusPlus'])
def test_names_with_pluses(name):
    assert type(build_explainer(name)) is GradCAMPlusPlus
    difference = build_explainer(f'{name}-diff')
    assert isinstance(difference, DifferenceMap)
    assert type(difference.explainer) is GradCAMPlusPlus


@pytest.mark.parametrize('kind, names', [
    (LayerCAM, ['layer-cam', 'LayerCAM', 'layercam', 'layer_cam']),
    (HiResCAM, ['hires-cam', 'HiResCAM', 'hirescam', 'hi-res-cam']),
    (XGradCAM, ['xgrad-cam', 'XGradCAM', 'xgradcam', 'x-grad-cam']),
    (EigenCAM, ['eigen-cam', 'EigenCAM', 'eigencam']),
    (EigenGradCAM, ['eigen-grad-cam', 'EigenGradCAM', 'eigengradcam']),
    (AblationCAM, ['ablation-cam', 'AblationCAM', 'ablationcam']),
])
def test_names_with_and_without_hyphens(kind, names):
    assert method_name(kind) == names[0]
    assert names[0] in registered_explainers()
    for name in names:
        assert type(build_explainer(name)) is kind
        difference = build_explainer(f'{name}-diff')
        assert type(difference.explainer) is kind


class SubclassOfDRISE(DRISE):
    """A method of one's own, made of one with a name of its own."""


def test_a_subclass_has_a_name_of_its_own(monkeypatch):
    assert method_name(SubclassOfDRISE) == 'subclass-of-drise'
    monkeypatch.setitem(
        EXPLAINERS.module_dict, 'SubclassOfDRISE', SubclassOfDRISE)
    assert registered_explainers().count('d-rise') == 1
    assert type(build_explainer('d-rise')) is DRISE
    assert type(build_explainer('subclass-of-drise')) is SubclassOfDRISE


def test_named_explainers_are_those_of_the_paper():
    plain = {'grad-cam', 'grad-cam++', 'ss-grad-cam', 'ss-grad-cam++',
             'd-rise', 'odam'}
    assert set(NAMED) == plain | {f'{name}-diff' for name in plain}


@pytest.mark.parametrize('name', NAMED)
def test_named_explainer_is_what_its_name_stands_for(name):
    named, other = build_explainer(dict(NAMED[name])), build_explainer(name)
    assert type(named) is type(other)
    if name.endswith('-diff'):
        named, other = named.explainer, other.explainer
    assert type(named) is type(other)
    assert vars(named) == vars(other)


def test_option_goes_to_each_method_that_has_it():
    built = build_explainers(
        {'one': 'odam', 'two': 'd-rise', 'three': 'ss-grad-cam++-diff'},
        masks=7, statistics='frozen', half=True)
    assert isinstance(built['two'], DRISE) and built['two'].masks == 7
    assert built['one'].statistics == 'frozen'
    assert isinstance(built['three'].explainer, SSGradCAMPlusPlus)
    assert built['three'].explainer.statistics == 'frozen'
    assert all(one.half for one in built.values())


def test_option_that_no_method_has():
    with pytest.raises(ValueError, match='one and two cannot be built with '
                       'masks: there is no such option'):
        build_explainers({'one': 'odam', 'two': 'grad-cam'}, masks=7)


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
    ('grad-cat', "unknown explainer 'grad-cat'; there are ablation-cam, d"),
    (dict(type='Nothing'), "unknown explainer 'Nothing'"),
    (dict(type='ODAM', colour=1), "cannot be built: .*'colour'"),
    (dict(type='ODAM', outputs=('size', )), "there is no output 'size'"),
    (dict(type='ODAM', outputs=()), 'outputs are empty'),
    (dict(type='ODAM', outputs='size'), "there is no output 'size'"),
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

"""What holds for every registered explainer with every detector family."""
import copy
import sys
from functools import lru_cache

import pytest
import torch
from families import (
    DETECTIONS,
    FAMILIES,
    GRADIENT_MODES,
    SIZE,
    batch_of,
    random_detector,
    random_image,
    trace_of,
)

from mmdet_diffmap.apis import explain
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.explainer import registered_explainers
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.heads import cut_heads

#: Options that make slow methods fast.
OPTIONS = {'d-rise': dict(masks=8, progress=False),
           'ablation-cam': dict(batch_size=32, progress=False)}
#: Those that stay slow.
SLOW = ('ablation-cam', 'd-rise')
#: All methods are tried with it at all times.
FAST_FAMILY = 'yolox'
#: Whose heads are unlike: levels, regions and queries. Slow methods are tried
#: in full with these, and their maps with all.
UNLIKE = (FAST_FAMILY, 'faster_rcnn', 'detr')


def pairs(families, names):
    """Every explainer with every family; those at all times that are among
    the families and names, or with the fast family."""
    return pytest.mark.parametrize('family, name', [
        pytest.param(family, name, marks=(
            () if family == FAST_FAMILY or
            (family in families and name in names) else pytest.mark.slow))
        for family in FAMILIES for name in registered_explainers()
        if families is FAMILIES or name not in SLOW or family in UNLIKE])


every_pair = pairs(FAMILIES, [name for name in registered_explainers()
                              if name not in SLOW])
unlike_pairs = pairs(UNLIKE, ['odam'])


@lru_cache
def maps_of(family, name, mode='plain'):
    """Return the maps of a shared trace, which all explainers of a target
    layer get."""
    explainer = explainer_of(name)
    trace = trace_of(family, explainer.target_layer, mode)
    with GRADIENT_MODES[mode]():
        return explainer(trace)


def explainer_of(name):
    return build_explainer(name, **OPTIONS.get(name, {}))


def head_of(model):
    return cut_heads(model)[-1]


def state(model):
    """All that a call could leave changed behind it."""
    return dict(
        training=[module.training for module in model.modules()],
        hooks=[(len(module._forward_hooks), len(module._forward_pre_hooks),
                len(module._backward_hooks)) for module in model.modules()],
        attributes=[sorted(vars(module)) for module in model.modules()],
        paddings=[getattr(module, 'padding', None)
                  for module in model.modules()],
        requires_grad=[p.requires_grad for p in model.parameters()],
        grad=[p.grad for p in model.parameters()],
        swapped=[
            vars(sys.modules[base.__module__]).get(name)
            for base in type(head_of(model)).__mro__
            for name in ('select_single_mlvl', 'filter_scores_and_topk',
                         'multiclass_nms')
        ])


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@every_pair
def test_shape_and_range(family, name):
    maps = maps_of(family, name)
    assert maps.shape == (DETECTIONS, *SIZE)
    assert maps.isfinite().all()
    assert maps.min() >= -1 and maps.max() <= 1
    assert not maps.requires_grad
    assert maps.abs().sum() > 0


@unlike_pairs
def test_no_detection_and_one(family, name):
    explainer = explainer_of(name)
    trace = trace_of(family, explainer.target_layer)
    assert explainer(trace.select(slice(0))).shape == (0, *SIZE)
    (single, ) = explainer(trace.select(slice(1)))
    assert single.shape == SIZE
    assert single.min() == 0 and single.max() in (0, 1)


@unlike_pairs
def test_gradient_mode_does_not_matter(family, name):
    plain = maps_of(family, name)
    for mode in ('no_grad', 'inference_mode'):
        maps = maps_of(family, name, mode)
        assert maps.is_inference() == (mode == 'inference_mode')
        torch.testing.assert_close(maps.clone(), plain)


@unlike_pairs
def test_model_is_left_as_it_was(family, name):
    model = copy.deepcopy(random_detector(family))
    model.train()
    for parameter in model.parameters():  # unfrozen, if it was frozen
        parameter.requires_grad_(True)
    list(model.children())[1].eval()  # a mode for each module
    next(model.parameters()).requires_grad_(False)
    before, values = state(model), weights(model)
    (sample, ) = explain(
        model, batch_of(model, random_image(*SIZE)), explainer_of(name),
        score_thr=0, max_objects=2)
    assert len(sample.pred_instances) == 2
    assert state(model) == before
    for key, value in weights(model).items():
        assert torch.equal(value, values[key]), key


@pytest.mark.parametrize('family', [
    pytest.param(family, marks=() if family in UNLIKE else pytest.mark.slow)
    for family in FAMILIES])
@pytest.mark.parametrize('place', ['backbone', 'neck', 'head', 'predict'])
def test_nothing_is_left_behind_after_a_failure(family, place, monkeypatch):
    model = copy.deepcopy(random_detector(family)).train()

    def fail(*args, **kwargs):
        raise RuntimeError('the planted failure')

    if place == 'predict':
        monkeypatch.setattr(
            type(head_of(model)), 'predict_by_feat', fail)
    else:
        module = head_of(model) if place == 'head' else getattr(model, place)
        monkeypatch.setattr(module, 'forward', fail)
    before = state(model)
    grad = torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match='the planted failure'):
        DetectorAdapter(model).trace(batch_of(model, random_image(*SIZE)))
    assert state(model) == before
    assert torch.is_grad_enabled() == grad


@pytest.mark.parametrize('name', registered_explainers())
def test_order_of_the_detections_does_not_matter(name):
    explainer = explainer_of(name)
    family = FAST_FAMILY if name in SLOW else 'pvt'
    trace = trace_of(family, explainer.target_layer)
    order = [2, 0, 3, 1]
    turned = explainer(trace.select(torch.tensor(order)))
    torch.testing.assert_close(turned, maps_of(family, name)[order])


@pytest.mark.parametrize('family', FAMILIES)
def test_a_trace_is_left_as_it_was(family):
    """Traces are shared, above and by the functions of ``apis``."""
    trace = trace_of(family)
    new = trace_of.__wrapped__(family)
    for name in registered_explainers():
        if explainer_of(name).target_layer is not None and (
                family == FAST_FAMILY or name not in SLOW):
            maps_of(family, name)
    assert torch.equal(trace.outputs, new.outputs)
    assert torch.equal(trace.input.image, new.input.image)
    for feature, expected in zip(trace.features, new.features, strict=True):
        assert torch.equal(feature, expected)

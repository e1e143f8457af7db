"""What holds for every registered explainer with every detector family."""
import copy
import sys

import pytest
import torch
from families import (
    DETECTIONS,
    FAMILIES,
    batch_of,
    random_detector,
    random_image,
)

from mmdet_diffmap.apis import explain
from mmdet_diffmap.explainers import build_explainer
from mmdet_diffmap.explainers.explainer import registered_explainers
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.heads import cut_heads

SIZE = (75, 130)
#: Options that make slow methods fast.
OPTIONS = dict(DRISE=dict(masks=12, progress=False))

every_pair = pytest.mark.parametrize(
    'family, name',
    [(family, name) for family in FAMILIES
     for name in registered_explainers()])


def explained(family, name, count=DETECTIONS):
    model = random_detector(family)
    data = batch_of(model, random_image(*SIZE))
    explainer = explainer_of(name)
    trace = DetectorAdapter(model, explainer.target_layer).trace(data)
    return explainer(trace.select(slice(count)))


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
    maps = explained(family, name)
    assert maps.shape == (DETECTIONS, *SIZE)
    assert maps.isfinite().all()
    assert maps.min() >= -1 and maps.max() <= 1
    assert not maps.requires_grad
    assert maps.abs().sum() > 0


@every_pair
def test_no_detection_and_one(family, name):
    assert explained(family, name, count=0).shape == (0, *SIZE)
    (single, ) = explained(family, name, count=1)
    assert single.shape == SIZE
    assert single.min() == 0 and single.max() in (0, 1)


@every_pair
def test_gradient_mode_does_not_matter(family, name):
    plain = explained(family, name)
    with torch.no_grad():
        torch.testing.assert_close(explained(family, name), plain)
    with torch.inference_mode():
        maps = explained(family, name)
    torch.testing.assert_close(maps.clone(), plain)


@every_pair
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


@pytest.mark.parametrize('family', FAMILIES)
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
    model = random_detector('pvt')
    data = batch_of(model, random_image(*SIZE))
    explainer = explainer_of(name)
    trace = DetectorAdapter(model, explainer.target_layer).trace(data)
    maps = explainer(trace.select(slice(3)))
    turned = explainer(trace.select(torch.tensor([2, 0, 1])))
    torch.testing.assert_close(turned, maps[[2, 0, 1]])

import copy

import numpy as np
import pytest
import torch
from demo import SCENE, demo_detector
from families import FAMILIES, batch_of, random_detector, random_image
from naive import odam

from mmdet_diffmap.apis import explain
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.explainers import Explainer
from mmdet_diffmap.explainers.engine import Selection
from mmdet_diffmap.lab.sanity import check_sanity
from mmdet_diffmap.lab.sanity.cascade import slices_of
from mmdet_diffmap.lab.sanity.held_detections import HeldDetections
from mmdet_diffmap.lab.sanity.methods import CheckedMethods
from mmdet_diffmap.lab.sanity.randomization import (
    part_of,
    parts_from_the_head,
    randomize,
)
from mmdet_diffmap.tracing.detector import DetectorAdapter


@pytest.mark.parametrize('module, part', [
    ('backbone.layer4.1.conv2', 'backbone.layer4'),
    ('backbone.layers.3.1.0.attn', 'backbone.layers.3'),
    ('neck.fpn_convs.0.conv', 'neck.fpn_convs'),
    ('roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_cls'),
    ('decoder.layers.2.ffn', 'decoder.layers.2'),
    ('query_embedding', 'query_embedding'),
])
def test_parts(module, part):
    assert part_of(module) == part


def test_parts_come_from_the_head_down():
    model = demo_detector()
    parts = parts_from_the_head(model, SCENE)
    owners = [part.split('.')[0] for part in parts]
    assert owners == sorted(owners, key=['bbox_head', 'neck',
                                         'backbone'].index)
    assert parts[-1] == 'backbone.conv1'
    for name, _ in model.named_parameters():
        assert sum(name.startswith(f'{part}.') for part in parts) == 1, name


def test_randomize():
    layer = torch.nn.Sequential(torch.nn.Linear(300, 200),
                                torch.nn.BatchNorm1d(200))
    layer[1].running_mean += 3
    layer[0].weight.data.mul_(7).add_(2)
    scale = torch.nn.Parameter(torch.tensor(5.))
    layer.register_parameter('scale', scale)
    before = copy.deepcopy(layer.state_dict())
    randomize(layer, torch.Generator().manual_seed(1))
    weight, old = layer[0].weight.data, before['0.weight']
    assert weight.mean() == pytest.approx(float(old.mean()), abs=0.02)
    assert weight.std() == pytest.approx(float(old.std()), rel=0.02)
    assert abs(np.corrcoef(weight.ravel(), old.ravel())[0, 1]) < 0.02
    assert scale == 5 and (layer[1].running_mean == 3).all()
    again = copy.deepcopy(layer)
    again.load_state_dict(before)
    randomize(again, torch.Generator().manual_seed(1))
    assert torch.equal(again[0].weight, layer[0].weight)


@pytest.mark.parametrize('family', FAMILIES)
def test_other_weights_explain_the_same_detections(family):
    """Values are the recorded ones to the bit, gradients those of the
    detector as it is: both as the plain way has them."""
    model = copy.deepcopy(random_detector(family))
    data = batch_of(model, random_image(100, 140))
    held = HeldDetections()
    with held.recorded(model):
        first = DetectorAdapter(model).trace(data).detections
    randomize(model, torch.Generator().manual_seed(0))
    without = DetectorAdapter(model).trace(data).detections
    assert len(without) != len(first) or \
        not torch.allclose(without.bboxes, first.bboxes)
    with held.held(model):
        (sample, ) = explain(model, data, 'ODAM', score_thr=0)
    instances = sample.pred_instances
    for name in 'bboxes', 'scores', 'labels':
        assert torch.equal(instances[name], first[name])
    with held.held(model):
        _, expected = odam(model, data, len(instances))
    assert expected.amax() == 1
    assert torch.allclose(instances.heatmaps, expected, atol=2e-3)


class Place(Explainer):
    """Knows where a detection is, and nothing of the detector."""

    target_layer = None

    def __call__(self, trace):
        height, width = trace.frame.image_shape
        y, x = torch.arange(height)[:, None], torch.arange(width)
        x1, y1, x2, y2 = (side[:, None, None] for side in
                          trace.detections.bboxes.unbind(dim=1))
        return torch.exp(-(((x - (x1 + x2) / 2) / (x2 - x1))**2 +
                           ((y - (y1 + y2) / 2) / (y2 - y1))**2))


def test_check():
    model = demo_detector()
    before = copy.deepcopy(model.state_dict())
    checked = check_sanity(model, [SCENE], {'odam': 'ODAM', 'place': Place()},
                           Selection(max_objects=2))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert checked.objects == 2 and checked.stages[0] == 'unchanged'
    assert len(checked.maps) == len(checked.stages) > 10

    def means(name, measure):
        return [estimate.mean for estimate in checked.figures[name][measure]]

    for name in 'odam', 'odam-diff', 'place', 'place-diff':
        for measure in 'rank_correlation', 'rank_correlation_in_box', 'ssim':
            assert means(name, measure)[0] == pytest.approx(1)
    # a method that looks at no weight gives itself away
    for name in 'place', 'place-diff':
        assert min(means(name, 'ssim')) == pytest.approx(1)
    assert means('odam', 'rank_correlation')[-1] < 0.7
    assert means('odam', 'ssim')[-1] < 0.95
    assert 0 < checked.blank['odam'] < 1


def test_nothing_to_check():
    with pytest.raises(ValueError, match='no object above the score thresh'):
        check_sanity(demo_detector(), [SCENE], {'odam': 'ODAM'},
                     Selection(score_thr=1))


def test_names_tell_nothing():
    """A method is plain whatever it is called, and its difference map is
    compared on the span of signed maps."""
    odd, plain = (
        check_sanity(demo_detector(), [SCENE], {name: 'ODAM'},
                     Selection(max_objects=2)) for name in ('x-diff', 'odam'))
    assert odd.bases == {'x-diff-diff': 'x-diff'}
    assert odd.figures['x-diff'] == plain.figures['odam']
    assert odd.figures['x-diff-diff'] == plain.figures['odam-diff']
    assert odd.blank == {'x-diff': plain.blank['odam'],
                         'x-diff-diff': plain.blank['odam-diff']}
    first = odd.maps[0]
    assert first['x-diff'].min() >= 0 > first['x-diff-diff'].min()


def test_two_maps_of_one_name():
    with pytest.raises(ValueError, match='a-diff is the name of a method, '):
        CheckedMethods({'a': 'ODAM', 'a-diff': 'GradCAM'})


def test_difference_maps_are_checked_anyway():
    with pytest.raises(ValueError, match='odam-diff is a difference map'):
        check_sanity(demo_detector(), [SCENE], {
            'odam-diff': dict(type='DifferenceMap', explainer='ODAM')})


def test_rows_and_columns_of_a_box():
    assert slices_of((2.6, 1.2, 7.9, 4.), (10, 20)) == (slice(1, 4),
                                                        slice(2, 7))
    rows, columns = slices_of((-3., 9.9, -1., 12.), (10, 20))
    assert (rows.start, columns.start) == (9, 0)
    assert columns.stop > columns.start


def test_data_is_left_as_it_is():
    data = image_pipeline(demo_detector())(SCENE).batch
    held = HeldDetections()
    with held.recorded(demo_detector()):
        DetectorAdapter(demo_detector()).trace(data)
    assert len(held.raw) == 1 and held.proposals is None

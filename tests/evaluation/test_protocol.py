import pytest
import torch

from mmdet_diffmap.evaluation import Methods, Protocol
from mmdet_diffmap.explainers import DRISE, ODAM, DifferenceMap


def test_only_equal_methods_share():
    methods = Methods({'a': 'odam', 'b': 'odam-diff', 'c': ODAM(extents=True),
                      'd': DRISE(masks=9), 'e': DRISE(masks=8),
                      'f': dict(type='DifferenceMap', extents=True)})
    assert [[method.name for method in group.methods]
            for group in methods.groups] == [['a', 'b'], ['c', 'f'],
                                             ['d'], ['e']]


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


def test_names_tell_nothing():
    methods = Methods({
        'a-diff': 'odam', 'b': dict(type='DifferenceMap'),
        'c': dict(type='DifferenceMap', positive=True), 'd-diff': 'grad-cam'})
    assert methods.names == ['a-diff', 'b', 'c', 'd-diff']
    assert methods.pairs == [('b', 'a-diff'), ('c', 'a-diff')]
    heatmaps = torch.rand(2, 3, 4)
    plain, signed, positive, other = methods.methods
    for method in plain, other:
        assert method.difference is None
        assert torch.equal(method.maps(heatmaps), heatmaps)
    expected = heatmaps - heatmaps.flip(0)
    assert torch.equal(signed.maps(heatmaps), expected)
    assert positive.maps(heatmaps).min() == 0


def test_a_difference_map_without_its_method_has_no_pair():
    methods = Methods({'x': 'odam-diff', 'y': 'grad-cam'})
    assert methods.pairs == []
    assert isinstance(methods.methods[0].explainer, DifferenceMap)


def test_no_method():
    with pytest.raises(ValueError, match='there is no explainer to measure'):
        Methods({})

"""Gradients of heads with GroupNorm against autograd through whole levels."""
from functools import partial

import pytest
import torch
from level_heads import SIZES, build, outputs_of, random_levels
from torch import nn

from mmdet_diffmap.tracing.gradients import (
    CoupledGradients,
    FrozenStatistics,
    WindowGradients,
    coupled,
    receptive_field,
)
from mmdet_diffmap.tracing.nested import flat_tensors
from mmdet_diffmap.tracing.trace import OUTPUTS, Tolerance, whole_gradients

HEADS = ['FCOSHead frozen', 'ATSSHead frozen', 'GFLHead frozen']
PLACES = [(0, 0, 0), (0, 12, 20), (0, 6, 9), (0, 6, 10), (1, 6, 10),
          (1, 0, 3), (2, 3, 5), (3, 1, 2), (4, 0, 0), (0, 3, 3), (0, 9, 15)]


pytestmark = pytest.mark.usefixtures('double_precision')


def feature_sums(level, output):
    return level.feature_sums()


def run_head(name):
    """A head that ran on levels with a graph, its raw maps, and the source of
    gradients that it gives."""
    torch.manual_seed(0)
    head = build(name)
    levels = [level.requires_grad_() for level in random_levels()]
    field = receptive_field(head, levels, frozen=True)
    statistics = FrozenStatistics(head)
    with statistics.record(keep=True):
        raw = flat_tensors(head(tuple(levels)))
    cut = [each.detach().requires_grad_() for each in raw]
    source = CoupledGradients(
        WindowGradients(head, levels, cut, field, statistics), raw)
    return levels, raw, cut, source


def expected_gradients(outputs, levels):
    """One backward pass for each output."""
    return {
        (detection, output): torch.autograd.grad(
            outputs[detection, column], levels, retain_graph=True,
            allow_unused=True)
        for detection in range(len(outputs))
        for column, output in enumerate(OUTPUTS)
    }


@pytest.fixture
def passes(monkeypatch):
    """Notes how many directions are followed through the whole head."""
    counts = []
    follow = coupled.follow

    def counted(numbers, couplings, level):
        counts.append(len(numbers))
        return follow(numbers, couplings, level)

    monkeypatch.setattr(coupled, 'follow', counted)
    return counts


@pytest.mark.parametrize('name', HEADS)
def test_all_directions_give_the_gradient(name, passes):
    """With next to no tolerance, to rounding: so the local parts, couplings
    and fields are those of GroupNorm."""
    levels, raw, cut, source = run_head(name)
    expected = expected_gradients(outputs_of(raw, PLACES), levels)
    found = whole_gradients(source(
        outputs_of(cut, PLACES), range(5),
        Tolerance(1e-12, False, feature_sums)))
    assert len(found) == len(expected) and sum(passes) > 0
    for key, gradients in found.items():
        scale = max(float(each.abs().max()) for each in expected[key]
                    if each is not None)
        for level, gradient in gradients.items():
            torch.testing.assert_close(
                gradient, expected[key][level][0], rtol=0, atol=1e-8 * scale)
        for level, each in enumerate(expected[key]):
            assert level in gradients or each is None or not each.any()


@pytest.mark.parametrize('name', HEADS)
def test_without_a_tolerance_each_output_has_its_pass(name, passes):
    levels, raw, cut, source = run_head(name)
    expected = expected_gradients(outputs_of(raw, PLACES[:3]), levels)
    found = whole_gradients(source(outputs_of(cut, PLACES[:3]), range(5)))
    assert not passes and len(found) == len(expected)
    for key, gradients in found.items():
        for level, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[key][level][0])


@pytest.mark.parametrize('share', [
    0.03, *(pytest.param(share, marks=pytest.mark.slow)
            for share in (0.3, 0.003))])
@pytest.mark.parametrize('joint', [False, True])
@pytest.mark.parametrize('name', HEADS)
def test_maps_are_off_by_no_more_than_the_tolerance(name, joint, share,
                                                    passes):
    levels, raw, cut, source = run_head(name)
    places = [(0, row, column) for row in range(1, 13, 3)
              for column in range(2, 21, 4)]
    features = [level.detach()[0] for level in levels]
    exact = expected_gradients(outputs_of(raw, places), levels)
    maps = {key: (each[0][0] * features[0]).sum(dim=0).relu()
            for key, each in exact.items()}
    found = whole_gradients(source(outputs_of(cut, places), range(5),
                                   Tolerance(share, joint, feature_sums)))
    for (detection, output), expected in maps.items():
        ours = (found[detection, output][0] * features[0]).sum(dim=0).relu()
        own = [maps[detection, each] for each in OUTPUTS] if joint else [
            expected]
        # an all but empty map counts with a share of what is below zero
        negative = -(exact[detection, output][0][0] * features[0]).sum(dim=0)
        peak = max(*(float(each.max()) for each in own),
                   coupled.SMALLEST_PEAK * float(negative.max()))
        assert float((ours - expected).abs().max()) <= share * peak
    everything = len(places) * len(OUTPUTS)
    assert sum(passes) < everything
    if share == 0.3:
        assert sum(passes) < everything / 4


def test_what_cannot_show_needs_no_pass(passes):
    """The score's map is a billionth of those that it is joined with."""
    _, _, cut, source = run_head('FCOSHead frozen')
    outputs = outputs_of(cut, PLACES) * torch.tensor([1e-9, 1, 1, 1, 1])
    tolerance = Tolerance(0.01, True, feature_sums)
    for columns in (range(5), range(1, 5)):
        passes.append(None)
        gradients = list(source(outputs, columns, tolerance))
        if 0 in columns:
            assert all(level.windows.shape[0] < SIZES[0][0]
                       for each in gradients if each.output == 'score'
                       for level in each.levels)
    with_score, boxes_alone = passes[1:].index(None) + 1, len(passes) // 2
    assert with_score == boxes_alone > 1


def test_output_from_two_places_has_its_own_pass(passes):
    levels, raw, cut, source = run_head('FCOSHead frozen')

    def voted(maps):
        both = outputs_of(maps, [(0, 2, 3), (1, 4, 5)])
        return both.mean(dim=0, keepdim=True)

    expected = expected_gradients(voted(raw), levels)
    found = whole_gradients(source(voted(cut), range(5),
                                   Tolerance(0.002, True, feature_sums)))
    assert not passes and found.keys() == expected.keys()
    for key, gradients in found.items():
        assert gradients.keys() == {0, 1}
        for level, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[key][level][0])


def test_rows_are_left_without_what_was_taken():
    torch.manual_seed(0)
    values = torch.randn(9, 3).double() @ torch.randn(3, 40).double()
    rows = coupled.Rows(values)
    assert rows.rank == 3 and rows.longest(3) == 0
    assert rows.longest() == pytest.approx(float(values.norm(dim=1).max()))
    for rank in (1, 2):
        taken = rows.directions[:rank]
        left = rows.without(taken)
        assert left.rank == 3 - rank
        assert left.longest() == pytest.approx(rows.longest(rank))
        assert not (left.values @ taken.T).abs().max() > 1e-9
    sample = rows.without(rows.directions[:1]).sample()
    assert sample.norm() == pytest.approx(1)
    assert abs(float(sample @ rows.directions[0])) < 1e-9
    assert rows.without(rows.directions[:3]).rank == 0


def test_couplings_are_group_norms_way_back():
    """The local part and the fields make up the layer's own gradient."""
    torch.manual_seed(0)
    layer = nn.GroupNorm(4, 12).double()
    layer.weight.data.uniform_(0.5, 2)
    x = torch.randn(1, 12, 5, 7).double().requires_grad_()
    call = coupled.Call.of(layer, x, keep=True)
    given = torch.randn(1, 12, 5, 7).double()
    (expected, ) = torch.autograd.grad(layer(x), x, given)
    found = coupled.Coupling.of(call, x, given[None])
    scale, _ = call.scale_and_shift
    local = given * scale
    torch.testing.assert_close(
        local + found.fields(found.numbers[0])[0], expected)
    # about as large: the norm of the field of a unit number
    unit = torch.zeros(1, 2, 4).double()
    unit[0, 0, 1] = 1
    assert found.scale(found.norm)[0, 1] == pytest.approx(
        float(found.fields(unit).norm()))


def test_maps_of_sums_are_sums_of_maps():
    """Of gradients in windows and a basis, without ever adding them up."""
    _levels, _, cut, source = run_head('FCOSHead frozen')
    gradients = source(outputs_of(cut, PLACES), range(5),
                       Tolerance(1e-3, False, feature_sums))
    seen = 0
    for level in (level for each in gradients for level in each.levels):
        whole = coupled.LevelGradients(level.gradients, level.where)
        some = range(len(level.windows))[::2]
        renumber = partial(map, lambda number: number + 20)
        assert tuple(renumber(level.windows.detections)) == level.renumbered(
            range(20, 40)).windows.detections
        for changed in (level, -level, level.take(some), level.as_level(3)):
            plain = coupled.LevelGradients(changed.gradients, changed.where)
            torch.testing.assert_close(changed.feature_sums(),
                                       plain.feature_sums())
            torch.testing.assert_close(changed.channel_means(),
                                       plain.channel_means())
            torch.testing.assert_close(changed.channel_sums(),
                                       plain.channel_sums())
        torch.testing.assert_close((-level).gradients, -whole.gradients)
        seen += isinstance(level, coupled.SummedGradients)
    assert seen

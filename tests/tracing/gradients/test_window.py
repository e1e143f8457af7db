"""Windows against plain autograd through whole levels."""
import copy

import pytest
import torch
from families import random_detector
from hypothesis import given, settings
from hypothesis import strategies as st
from level_heads import (
    CHANNELS,
    HEADS,
    SIZES,
    build,
    outputs_of,
    random_levels,
)
from torch import nn

from mmdet_diffmap.tracing.gradients import (
    FrozenStatistics,
    WindowGradients,
    receptive_field,
    window,
)
from mmdet_diffmap.tracing.nested import flat_tensors
from mmdet_diffmap.tracing.trace import OUTPUTS, whole_gradients

pytestmark = pytest.mark.usefixtures('double_precision')


def constant_norms(head, levels):
    """A copy of the head whose GroupNorm layers subtract and divide by the
    numbers that they have for these levels."""
    head = copy.deepcopy(head)
    norms = [m for m in head.modules() if isinstance(m, nn.GroupNorm)]
    seen = {norm: [] for norm in norms}

    def record(norm, args, output):
        groups = args[0].unflatten(1, (norm.num_groups, -1))
        mean = groups.mean(dim=(2, 3, 4), keepdim=True)
        spread = (groups.var(dim=(2, 3, 4), correction=0, keepdim=True) +
                  norm.eps).sqrt()
        seen[norm].append((mean, spread))

    handles = [norm.register_forward_hook(record) for norm in norms]
    with torch.no_grad():
        head(levels)
    for handle in handles:
        handle.remove()

    def replace(norm, args, output):
        mean, spread = seen[norm].pop(0)
        groups = args[0].unflatten(1, (norm.num_groups, -1))
        normal = ((groups - mean) / spread).flatten(1, 2)
        return normal * norm.weight[:, None, None] + \
            norm.bias[:, None, None]

    for norm in norms:
        norm.register_forward_hook(replace)
    return head


def compare(name, places, columns=(0, 1, 2, 3, 4), head=None):
    """Compare with autograd through the whole head."""
    head = head or build(name)
    frozen = name.endswith('frozen')
    levels = random_levels()
    field = receptive_field(head, levels, frozen)
    assert field is not None
    statistics = FrozenStatistics(head) if frozen else None
    with torch.no_grad():
        if statistics:
            with statistics.record():
                raw = flat_tensors(head(tuple(levels)))
        else:
            raw = flat_tensors(head(tuple(levels)))
    cut = [one.detach().requires_grad_() for one in raw]
    source = WindowGradients(head, levels, cut, field, statistics)
    leaves = [level.clone().requires_grad_() for level in levels]
    whole = constant_norms(head, levels) if frozen else head
    expected = outputs_of(flat_tensors(whole(tuple(leaves))), places)
    seen = set()
    for (detection, output), ours in whole_gradients(
            source(outputs_of(cut, places), columns)).items():
        column = OUTPUTS.index(output)
        seen.add((detection, column))
        gradients = torch.autograd.grad(
            expected[detection, column], leaves, retain_graph=True,
            allow_unused=True)
        for level, gradient in enumerate(gradients):
            if gradient is None:
                gradient = torch.zeros_like(leaves[level])
            if level not in ours:
                assert not gradient.any()
                continue
            scale = float(gradient.abs().max()) or 1.
            torch.testing.assert_close(
                ours[level], gradient[0], rtol=0, atol=1e-10 * scale)
    assert seen == {(i, c) for i in range(len(places)) for c in columns}
    return field


place = st.integers(0, 4).flatmap(
    lambda level: st.tuples(st.just(level),
                            st.integers(0, SIZES[level][0] - 1),
                            st.integers(0, SIZES[level][1] - 1)))


@pytest.mark.parametrize('name', [*HEADS, 'residual'])
@settings(max_examples=6, deadline=None)
@given(st.lists(place, min_size=1, max_size=7),
       st.permutations([0, 1, 2, 3, 4]), st.integers(1, 5))
def test_any_head_and_places(name, places, columns, number):
    compare(name, places, columns[:number])


CORNERS = [(0, 0, 0), (0, 12, 20), (0, 0, 20), (0, 12, 0), (0, 6, 0),
           (0, 6, 10), (1, 6, 10), (2, 3, 5), (3, 1, 2), (4, 0, 0)]


@pytest.mark.parametrize('name', [*HEADS, 'residual'])
def test_borders_corners_tiny_levels_and_the_same_place_twice(name):
    compare(name, CORNERS + CORNERS[:6])


def test_more_windows_than_one_run_takes(monkeypatch):
    monkeypatch.setattr(window, 'MEMORY_BUDGET',
                        8 * window.HEAD_SIZE * 7**2 * CHANNELS * 8)
    runs = []
    monkeypatch.setattr(window.WindowRun, 'agrees', lambda run: runs.append(
        sum(map(len, run.locations.values()))) or True)
    compare('RetinaHead', [(i % 2, i // 20, i % 10) for i in range(30)])
    assert runs == [8, 8, 8, 6]


def test_training_mode_does_not_matter():
    head = copy.deepcopy(build('RTMDetSepBNHead')).train()
    before = {k: v.clone() for k, v in head.state_dict().items()}
    levels = random_levels()
    with torch.no_grad():
        raw = flat_tensors(build('RTMDetSepBNHead')(tuple(levels)))
    cut = [one.requires_grad_() for one in raw]
    field = receptive_field(build('RTMDetSepBNHead'), levels, False)
    source = WindowGradients(head, levels, cut, field)
    assert all(part.gradients.shape[2] < 13 for found in source(
        outputs_of(cut, [(0, 5, 5)]), [0]) for part in found.levels)
    assert head.training
    for key, value in head.state_dict().items():
        assert torch.equal(value, before[key])


class Shifted(nn.Module):
    """Looks at a cell that depends on what is in the level: no probe with
    constant maps can see that."""

    def forward(self, feats):
        raw = []
        for x in feats:
            shift = x[:, 0].abs().sum().nan_to_num(0)
            raw.append(x.roll(int(shift * 100) % 5, dims=3))
        return raw, [one[:, :4] * 2 for one in raw]


def test_head_that_deceives_the_probe_takes_the_dense_way():
    torch.manual_seed(0)
    head = Shifted()
    assert compare('deceiving', CORNERS, head=head).radius == 0
    # and it is not tried again
    assert receptive_field(
        head, random_levels(), False) is None


def test_output_from_two_places_takes_the_dense_way():
    torch.manual_seed(0)
    head = build('RetinaHead')
    leaves = [level.requires_grad_() for level in random_levels()]
    raw = flat_tensors(head(tuple(leaves)))
    cut = [one.detach().requires_grad_() for one in raw]

    def voted(maps):
        both = outputs_of(maps, [(0, 2, 3), (0, 9, 15)])
        return both.mean(dim=0, keepdim=True)

    field = receptive_field(head, leaves, False)
    source = WindowGradients(head, [leaf.detach() for leaf in leaves], cut,
                             field)
    found = {one.output: one.levels for one in source(voted(cut), range(5))}
    expected = voted(raw)
    for column, output in enumerate(OUTPUTS):
        gradients = torch.autograd.grad(
            expected[0, column], leaves, retain_graph=True, allow_unused=True)
        (part, ) = found[output]
        torch.testing.assert_close(part.gradients, gradients[0])


def test_head_that_changed_since_is_an_error():
    torch.manual_seed(0)
    head = copy.deepcopy(build('RetinaHead'))
    levels = random_levels()
    with torch.no_grad():
        cut = [one.requires_grad_()
               for one in flat_tensors(head(tuple(levels)))]
    source = WindowGradients(head, levels, cut,
                             receptive_field(head, levels, False))
    for parameter in head.parameters():
        parameter.data += 1
    with pytest.raises(RuntimeError, match='detect them again'):
        list(source(outputs_of(cut, [(0, 3, 3)]), [0]))


def test_statistics_held_where_there_are_no_windows():
    """The graph is that of constant norms, the values are the head's."""
    torch.manual_seed(0)
    head = build('GFLHead frozen')
    levels = random_levels()
    leaves = [[level.clone().requires_grad_() for level in levels]
              for _ in range(2)]
    exact = flat_tensors(head(tuple(levels)))
    with FrozenStatistics(head).held():
        held = flat_tensors(head(tuple(leaves[0])))
    assert all(map(torch.equal, held, exact))
    constant = flat_tensors(constant_norms(head, levels)(tuple(leaves[1])))
    cotangents = [torch.randn_like(one) for one in held]
    for ours, expected in zip(
            torch.autograd.grad(held, leaves[0], cotangents),
            torch.autograd.grad(constant, leaves[1], cotangents)):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_families_take_windows():
    """The strategy is chosen by the adapter, and is not dense by mistake."""
    from families import batch_of, random_image

    from mmdet_diffmap.tracing.detector import DetectorAdapter
    for family, statistics, expected in [
        ('pvt', 'exact', True), ('yolox', 'exact', True),
        ('fcos', 'frozen', True), ('fcos', 'exact', False),
        ('detr', 'frozen', False)]:
        model = random_detector(family)
        trace = DetectorAdapter(model, 'neck', statistics).trace(
            batch_of(model, random_image(75, 130)))
        assert isinstance(trace.source.source, WindowGradients) == expected

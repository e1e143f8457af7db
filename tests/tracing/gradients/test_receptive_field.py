import copy

import pytest
import torch
from families import random_detector
from torch import nn

from mmdet_diffmap.tracing.gradients.receptive_field import (
    forget,
    receptive_field,
    unpadded,
)


class Head(nn.Module):
    """The same layers for each level, or others for each."""

    def __init__(self, *levels):
        super().__init__()
        self.levels = nn.ModuleList(levels)

    def forward(self, feats):
        return ([self.levels[i % len(self.levels)](x)
                 for i, x in enumerate(feats)], )


def conv(kernel=3, dilation=1, **options):
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation,
                     **options)


class Residual(nn.Module):

    def __init__(self):
        super().__init__()
        self.inner = conv()

    def forward(self, x):
        return x + self.inner(x)


class GlobalGate(nn.Module):

    def forward(self, x):
        return x * x.mean(dim=(2, 3), keepdim=True)


class Fused(nn.Module):
    """Each level sees the one above it."""

    def forward(self, feats):
        small = nn.functional.interpolate(
            feats[-1], size=feats[0].shape[-2:])
        return ([feats[0] + small, feats[-1]], )


LEVELS = [torch.rand(1, 4, 20, 30), torch.rand(1, 4, 10, 15)]


def field(head, frozen=False, levels=LEVELS):
    return receptive_field(head.eval(), levels, frozen)


@pytest.mark.parametrize('layers, radius', [
    ([conv(1)], 0),
    ([conv(3)], 1),
    ([conv(3), nn.ReLU(), conv(5), conv(1)], 3),
    ([conv(3, dilation=3), nn.BatchNorm2d(4), conv(7)], 6),
    ([conv(3, groups=4), nn.SiLU(), conv(3)], 2),
    ([nn.MaxPool2d(3, 1, 1), conv(3)], 2),
])
def test_layers_with_known_radius(layers, radius):
    found = field(Head(nn.Sequential(*layers)))
    assert (found.radius, found.levels, found.shrinks) == (
        radius, [0, 1], True)


def test_towers_of_different_depth():
    found = field(Head(conv(3), nn.Sequential(conv(3), conv(3))))
    assert found.radius == 2


def test_residual_heads_keep_their_padding():
    found = field(Head(nn.Sequential(Residual(), Residual())))
    assert (found.radius, found.shrinks) == (2, False)


@pytest.mark.parametrize('head', [
    Head(nn.Sequential(conv(), GlobalGate())),
    Head(nn.Sequential(*[conv(7)] * 5)),  # wider than a window may be
    Head(nn.Conv2d(4, 4, 3, stride=2, padding=1)),
    Head(nn.ConvTranspose2d(4, 4, 2, stride=2)),
    Head(nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(),
                       nn.Linear(196, 2))),
    Head(nn.Sequential(conv(), nn.InstanceNorm2d(4))),
    Fused(),
])
def test_heads_that_are_not_local(head):
    assert field(head) is None


def test_group_norm_is_local_only_when_frozen():
    head = Head(nn.Sequential(conv(), nn.GroupNorm(2, 4), nn.ReLU(), conv()))
    assert field(head) is None
    assert field(head, frozen=True).radius == 2


class Reshaping(nn.Module):
    """Cannot take an empty batch."""

    def forward(self, x):
        return x.reshape(len(x), -1, 2, *x.shape[2:]).flatten(1, 2)


def test_heads_that_cannot_take_every_level():
    assert not field(Head(Reshaping())).takes_none
    assert field(Head(conv())).takes_none
    held = Head(conv())
    held.rest = held.levels[0](LEVELS[0])  # cannot be copied
    assert field(held) is None


class DeformConv2dPack(nn.Conv2d):
    """Named as mmcv's layer, which needs compiled ops."""


def test_deformable_layers_are_not_probed():
    assert field(Head(DeformConv2dPack(4, 4, 3, padding=1))) is None


def test_hooks_of_the_user_see_no_probe():
    head, seen = Head(conv()), []
    head.levels[0].register_forward_hook(
        lambda *args: seen.append(args))
    assert field(head).radius == 1
    assert not seen


def test_inputs_that_are_no_levels():
    assert field(Head(conv()), levels=[torch.rand(2, 4, 8, 8)]) is None
    assert field(Head(conv()), levels=[torch.rand(1, 4, 8)]) is None


@pytest.mark.parametrize('family, frozen, radius', [
    ('pvt', False, 5), ('fcos', True, 5), ('fcos', False, None),
    ('yolox', False, 2)])
def test_heads_of_the_host(family, frozen, radius):
    head = copy.deepcopy(random_detector(family).bbox_head)
    count = 3 if family == 'yolox' else 5
    levels = [torch.rand(1, head.in_channels, 8, 8)] * count
    before = [(name, type(module), getattr(module, 'padding', None))
              for name, module in head.named_modules()]
    found = receptive_field(head, levels, frozen)
    assert (found and found.radius) == radius
    if found:
        assert found.levels == [*range(count)] * (len(found.levels) // count)
        assert found.shrinks
    assert before == [(name, type(module), getattr(module, 'padding', None))
                      for name, module in head.named_modules()]


def test_measured_once(monkeypatch):
    head = Head(conv())
    first = field(head)
    monkeypatch.setattr(Head, 'forward', None)  # would fail
    assert field(head) is first
    forget(head)
    assert field(head) is None


def test_padding_comes_back_after_a_failure():
    head = Head(conv(5))
    with pytest.raises(RuntimeError, match='planted'), unpadded(head):
        assert head.levels[0].padding == (0, 0)
        raise RuntimeError('planted')
    assert head.levels[0].padding == (2, 2)

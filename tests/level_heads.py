"""Heads on levels with random weights, and outputs of their raw maps."""
from functools import lru_cache

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from torch import nn

CHANNELS = 8
SIZES = [(13, 21), (7, 11), (4, 6), (2, 3), (1, 1)]

HEADS = {
    'RetinaHead': dict(stacked_convs=2, feat_channels=CHANNELS),
    'RetinaHead with norm': dict(
        stacked_convs=1, feat_channels=CHANNELS, norm_cfg=dict(type='BN')),
    'FCOSHead': dict(
        stacked_convs=2, feat_channels=CHANNELS, norm_cfg=None,
        centerness_on_reg=True, norm_on_bbox=True),
    'FCOSHead frozen': dict(
        stacked_convs=2, feat_channels=CHANNELS,
        norm_cfg=dict(type='GN', num_groups=4)),
    'ATSSHead frozen': dict(
        stacked_convs=1, feat_channels=CHANNELS,
        norm_cfg=dict(type='GN', num_groups=4),
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.], octave_base_scale=8,
            scales_per_octave=1, strides=[8, 16, 32, 64, 128])),
    'PAAHead': dict(
        stacked_convs=1, feat_channels=CHANNELS, norm_cfg=None,
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.], octave_base_scale=8,
            scales_per_octave=1, strides=[8, 16, 32, 64, 128])),
    'GFLHead frozen': dict(
        stacked_convs=2, feat_channels=CHANNELS,
        norm_cfg=dict(type='GN', num_groups=4),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.], octave_base_scale=8,
            scales_per_octave=1, strides=[8, 16, 32, 64, 128])),
    'RTMDetHead': dict(
        stacked_convs=2, feat_channels=CHANNELS, norm_cfg=dict(type='BN'),
        anchor_generator=dict(
            type='MlvlPointGenerator', offset=0,
            strides=[8, 16, 32, 64, 128])),
    'RTMDetSepBNHead': dict(
        stacked_convs=2, feat_channels=CHANNELS, norm_cfg=dict(type='BN'),
        share_conv=True, pred_kernel_size=1,
        anchor_generator=dict(
            type='MlvlPointGenerator', offset=0,
            strides=[8, 16, 32, 64, 128])),
    'YOLOXHead': dict(
        stacked_convs=2, feat_channels=CHANNELS,
        strides=(8, 16, 32, 64, 128)),
    'YOLOXHead depthwise': dict(
        stacked_convs=2, feat_channels=CHANNELS, use_depthwise=True,
        strides=(8, 16, 32, 64, 128)),
}


class ResidualHead(nn.Module):
    """Layers that cannot run without padding."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2)
            for _ in range(2))
        self.boxes = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, feats):
        towers = []
        for x in feats:
            for conv in self.inner:
                x = x + conv(x).tanh()
            towers.append(x)
        return towers, [self.boxes(x) for x in towers]


@lru_cache
def build(name):
    """A head with random weights that are not near zero."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    if name == 'residual':
        head = ResidualHead()
    else:
        kind, options = name.split()[0], HEADS[name]
        head = MODELS.build(dict(
            type=kind, num_classes=3, in_channels=CHANNELS, **options))
    for one in head.parameters():
        if one.dim() > 1:
            one.data.normal_(0, one[0].numel()**-0.5)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.GroupNorm):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return head.double().eval()


def random_levels():
    return [torch.randn(1, CHANNELS, *size, dtype=torch.double)
            for size in SIZES]


def outputs_of(raw, places):
    """Five outputs for each place (level, row, column): nonlinear, each of
    another part of the maps."""
    count = len(SIZES)
    rows = []
    for level, row, column in places:
        at = [raw[m][0, :, row, column] for m in range(level, len(raw), count)]
        score = at[0].sigmoid().prod()
        if len(at) > 2:
            score = score * at[2].tanh()[0]
        sides = at[1].unflatten(0, (4, -1)).logsumexp(1)
        rows.append(torch.stack([
            score, sides[0] - sides[2] / 2, sides[1] - sides[3] / 2,
            sides[0] + sides[2] / 2, sides[1] + sides[3] / 2]))
    return torch.stack(rows)

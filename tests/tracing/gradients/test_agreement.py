import pytest
import torch

from mmdet_diffmap.tracing.gradients.agreement import agree, tf32_is_allowed

newer = pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, 'conv'),
    reason='this torch has no fp32_precision')


def test_agree():
    before = torch.tensor([[3., -1000.], [0.1, 0.2]])
    assert agree([(before * (1 + 1e-6), before)])
    assert agree([(before + 1e-5, before)])
    assert not agree([(before + torch.tensor([[0.], [1e-3]]), before)])
    assert not agree([(before, before), (before * 1.01, before)])
    empty = torch.tensor([[float('nan'), float('-inf')]])
    assert agree([(empty, empty)])
    assert not agree([(torch.zeros(1, 2), empty)])
    assert agree([])


def test_small_features_are_no_small_matter():
    before = torch.tensor([[3e-6, -2e-6], [0., 0.]])
    assert agree([], [(before * (1 + 1e-6), before)])
    assert not agree([], [(before / 2, before)])
    assert not agree([(before, before)], [(before, before),
                                          (before.abs(), before)])
    assert agree([(before / 2, before)], [(before[:0], before[:0])])


def test_tf32_by_the_older_flags(monkeypatch):
    for convolutions in True, False:
        monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', convolutions)
        assert tf32_is_allowed() == convolutions


@newer
def test_tf32_by_the_newer_flags():
    parts = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:  # reading allow_tf32 would raise from here on
            part.fp32_precision = 'ieee'
        assert not tf32_is_allowed()
        for part in parts:
            part.fp32_precision = 'tf32'
            assert tf32_is_allowed()
            part.fp32_precision = 'ieee'
    finally:
        for part, precision in zip(parts, before):
            part.fp32_precision = precision

import subprocess
import sys

import mmcv.ops
import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, nms, sigmoid_focal_loss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torchvision.ops import roi_align


def run(code: str, *paths: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def naive_nms(boxes, scores, threshold, offset):
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        def iou(j, i=i):
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            inside = np.prod(np.maximum(high - low + offset, 0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2] + offset)
                     for k in (i, j)]
            return inside / (sum(areas) - inside)
        if all(iou(j) <= threshold for j in kept):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_a_plain_loop_keeps(offset):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (60, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 12, (60, 2))])
    scores = rng.permutation(60) / 60
    dets, kept = nms(
        torch.tensor(boxes), torch.tensor(scores), 0.3, offset=offset)
    expected = naive_nms(boxes, scores, 0.3, offset)
    assert kept.tolist() == expected
    assert len(expected) < 60
    np.testing.assert_array_equal(dets[:, :4], boxes[expected])
    if offset:  # the offset must matter here
        assert expected != naive_nms(boxes, scores, 0.3, 0)


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.6)])
def test_focal_loss_and_its_gradient(gamma, alpha):
    """mmdet's own for the CPU is the reference."""
    torch.manual_seed(0)
    first = (4 * torch.randn(7, 3, dtype=torch.float64)).requires_grad_()
    second = first.detach().clone().requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 0, 1])  # 3 is the background
    loss = sigmoid_focal_loss(first, target, gamma, alpha, None, 'none')
    one_hot = torch.nn.functional.one_hot(target, 4)[:, :3]
    expected = py_sigmoid_focal_loss(
        second, one_hot, gamma=gamma, alpha=alpha, reduction='none')
    torch.testing.assert_close(loss, expected)
    weights = torch.rand(7, 3, dtype=torch.float64)
    (loss * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient(aligned, sampling_ratio):
    torch.manual_seed(0)
    feature = torch.rand(2, 3, 20, 30, dtype=torch.float64)
    rois = torch.tensor([[0, 3.2, 4.1, 90.5, 60], [1, 0, 0, 7, 7],
                         [1, 50, 10, 130, 85]], dtype=torch.float64)
    first = feature.clone().requires_grad_()
    second = feature.clone().requires_grad_()
    pooled = RoIAlign((5, 7), 0.25, sampling_ratio, aligned=aligned)(
        first, rois)
    expected = roi_align(second, rois, (5, 7), 0.25, max(sampling_ratio, 0),
                         aligned)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)
    weights = torch.rand_like(pooled)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_another_op_says_what_to_install():
    image = torch.rand(1, 2, 8, 8)
    with pytest.raises(RuntimeError, match=r'needs a compiled mmcv.*mim inst'):
        mmcv.ops.DeformConv2d(2, 2, 3, padding=1)(
            image, image.new_zeros(1, 18, 8, 8))
    with pytest.raises(RuntimeError, match='pool_mode="max"'):
        RoIAlign(2, pool_mode='max')(image, torch.zeros(1, 5))


def test_mmdet_is_importable_after_the_package():
    code = 'import mmdet_diffmap, mmdet.apis; print(mmdet.__version__)'
    assert run(code).startswith('3.')


def test_compiled_mmcv_is_left_alone(tmp_path):
    (tmp_path / '_ext.py').write_text(
        'def __getattr__(name): return lambda *args: "compiled"')
    code = (f'import mmcv; mmcv.__path__.append({str(tmp_path)!r})\n'
            'from mmdet_diffmap.ops import install_standins\n'
            'import sys; print(install_standins(), '
            'sys.modules["mmcv._ext"].nms())')
    assert run(code) == 'False compiled'


def test_missing_mmcv_says_what_to_install():
    code = ('import sys; sys.modules["mmcv"] = None\n'
            'try: import mmdet_diffmap\n'
            'except ImportError as error: print(error)')
    assert 'mmdet_diffmap[lite]' in run(code)


def test_standins_are_installed_once():
    code = ('import mmdet_diffmap, sys; first = sys.modules["mmcv._ext"]\n'
            'from mmdet_diffmap.ops import install_standins\n'
            'print(install_standins(), sys.modules["mmcv._ext"] is first)')
    assert run(code) == 'True True'

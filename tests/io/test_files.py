import os
import stat

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

from mmdet_diffmap.io.files import (
    replacing,
    save_figure,
    save_maps,
    save_picture,
)


def sample_of(count):
    torch.manual_seed(count)
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=torch.rand(count, 4) * 9, scores=torch.rand(count),
        labels=torch.arange(count) % 2, heatmaps=torch.rand(count, 5, 6),
        difference_maps=torch.rand(count, 5, 6) * 2 - 1)
    return sample


@pytest.mark.parametrize('count', [0, 3])
def test_maps(count, tmp_path):
    sample = sample_of(count)
    save_maps(sample, ['cat', 'dög'], tmp_path / 'new/a.npz')
    with np.load(tmp_path / 'new/a.npz', allow_pickle=False) as file:
        content = dict(file)
    expected = dict(
        boxes=((count, 4), 'float32'), scores=((count, ), 'float32'),
        labels=((count, ), 'int64'), heatmaps=((count, 5, 6), 'float16'),
        difference_maps=((count, 5, 6), 'float16'), class_names=((2, ), '<U3'))
    assert {k: (v.shape, str(v.dtype)) for k, v in content.items()} == expected
    instances = sample.pred_instances
    np.testing.assert_array_equal(content['boxes'], instances.bboxes)
    for field in ('heatmaps', 'difference_maps'):
        np.testing.assert_allclose(content[field], instances[field], atol=1e-3)
    assert content['class_names'].tolist() == ['cat', 'dög']


def test_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (9, 8, 3), np.uint8)
    save_picture(picture, tmp_path / 'a.png')
    np.testing.assert_array_equal(Image.open(tmp_path / 'a.png'), picture)


def test_failure_leaves_the_old_file(tmp_path):
    file = tmp_path / 'a.txt'
    file.write_text('old')
    with pytest.raises(KeyboardInterrupt), replacing(file) as new:
        new.write(b'half')
        raise KeyboardInterrupt
    assert file.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_file_has_ordinary_permissions(tmp_path):
    with replacing(tmp_path / 'a') as file:
        file.write(b'x')
    (tmp_path / 'b').write_bytes(b'x')
    first, second = (stat.S_IMODE(os.stat(tmp_path / n).st_mode) for n in 'ab')
    assert first == second


def test_figures_go_into_a_paper(tmp_path):
    figure = Figure(figsize=(3.3, 1))
    figure.text(.5, .5, 'Grad-CAM')
    save_figure(figure, tmp_path / 'new/v1.2')
    pdf, png = (tmp_path / f'new/v1.2.{kind}' for kind in ('pdf', 'png'))
    content = pdf.read_bytes()
    assert b'/CIDFontType2' in content and b'/Type3' not in content
    assert b'CreationDate' not in content
    with Image.open(png) as picture:
        assert picture.size == (990, 300)
        assert picture.info['dpi'] == pytest.approx((300, 300), abs=.1)

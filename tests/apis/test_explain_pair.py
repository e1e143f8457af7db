import os

import numpy as np
import pytest
import torch
from demo import CONFIG, demo_detector
from PIL import Image

from mmdet_diffmap import explain, explain_pair, separation_map
from mmdet_diffmap.apis import pair_files
from mmdet_diffmap.cli.explain import main
from mmdet_diffmap.visualization import draw_pair
from mmdet_diffmap.visualization.colours import RIVAL, TARGET
from mmdet_diffmap.visualization.drawing import Outline, Picture
from mmdet_diffmap.visualization.pair_figure import pair_drawing

SCENE = 'scene://0/2'
METHOD = dict(type='ODAM', normalize_outputs=True, extents=True)


def test_the_smaller_of_both_maps():
    """Against the definition, pixel by pixel."""
    first, second = torch.rand(2, 5, 7)
    common = torch.tensor([[min(a, b) for a, b in zip(*rows)]
                           for rows in zip(first.tolist(), second.tolist())])
    expected = (common - common.min()) / (common.max() - common.min())
    torch.testing.assert_close(separation_map(first, second), expected)
    apart = torch.eye(2)
    assert not separation_map(apart, apart.flip(0)).any()
    with pytest.raises(ValueError, match='of one image'):
        separation_map(first, first[:2])


def test_two_objects_of_an_image():
    model = demo_detector()
    exact = dict(METHOD, tolerance=0)
    pair = explain_pair(model, SCENE, 2, 0, exact)
    whole = explain(model, SCENE, exact).pred_instances
    assert torch.equal(pair.bboxes, whole.bboxes[[2, 0]])
    torch.testing.assert_close(pair.heatmaps, whole.heatmaps[[2, 0]])
    torch.testing.assert_close(  # of each against the other alone
        pair.difference_maps[0], pair.heatmaps[0] - pair.heatmaps[1])
    for separation in pair.separation_maps:
        torch.testing.assert_close(separation, separation_map(
            *whole.heatmaps[[0, 2]]))


@pytest.mark.parametrize('first, second, message', [
    (1, 1, 'object 1 twice is no pair'),
    (0, 99, 'there is no object 99: the detector finds')])
def test_no_pair(first, second, message):
    with pytest.raises(ValueError, match=message):
        explain_pair(demo_detector(), SCENE, first, second)


def test_files(tmp_path):
    failures = pair_files(demo_detector(), [SCENE, 'missing.png'], 0, 1,
                          tmp_path)
    assert list(failures) == ['missing.png']
    assert os.listdir(tmp_path / 'pair') == ['2.png']
    drawn = np.asarray(Image.open(tmp_path / 'pair/2.png'))
    pair = explain_pair(demo_detector(), SCENE, 0, 1)
    picture = draw_pair(np.zeros((192, 192, 3), np.uint8), pair, (0, 1),
                        demo_detector().dataset_meta['classes'],
                        ['fcos_scenes · objects 0 and 1',
                         f'{SCENE} · score > 0.3 · ODAM('
                         'normalize_outputs=True, extents=True)'])
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()  # the photograph is there
    np.testing.assert_array_equal(drawn[:60], picture[:60])


def test_a_picture_shows_both_objects():
    """Both boxes lie in the part of the image that is cut out, whole."""
    pair = explain_pair(demo_detector(), SCENE, 0, 1)
    drawing = pair_drawing(np.zeros((192, 192, 3), np.uint8), pair, (0, 1),
                           demo_detector().dataset_meta['classes'])
    photo = next(item.area for item in drawing.items
                 if isinstance(item, Picture))
    for colour in TARGET, RIVAL:
        outline = next(item for item in drawing.items
                       if isinstance(item, Outline) and item.clip == photo
                       and item.colour == colour)
        x1, y1, x2, y2 = outline.area
        assert photo[0] <= x1 < x2 <= photo[2]
        assert photo[1] <= y1 < y2 <= photo[3]


def test_command(tmp_path, capsys):
    arguments = [SCENE, str(CONFIG), '--out-dir', str(tmp_path)]
    assert main([*arguments, '--pair', '0', '1']) == 0
    assert os.listdir(tmp_path / 'pair') == ['2.png']
    assert main([*arguments, '--pair', '0', '77']) == 1
    assert 'there is no object 77' in capsys.readouterr().err
    for wrong, message in (
            (['--pair', '1', '1'], 'object 1 twice is no pair'),
            (['--pair', '0', '1', '--report'], '--pair makes one picture and '
             'no report'),
            (['--pair', '0', '1', '--object', '1'], '--object does not go'),
            (['--pair', '0', '1', '--explainer', 'odam', 'grad-cam'],
             '--pair takes one explainer')):
        with pytest.raises(SystemExit):
            main([*arguments, *wrong])
        assert message in capsys.readouterr().err
    assert main([SCENE, str(CONFIG), str(CONFIG), '--out-dir', str(tmp_path),
                 '--pair', '0', '1']) == 1
    assert '--pair is for images and one MODEL' in capsys.readouterr().err

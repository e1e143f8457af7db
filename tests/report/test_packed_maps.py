"""What a page makes of packed maps, against the maps themselves."""
import zlib

import numpy as np
import pytest
import torch
from demo import SCENE, demo_detector

from mmdet_diffmap import explain, load_detector
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.explainers.engine import Selection, explain_image
from mmdet_diffmap.maps.heatmaps import GridMaps, image_heatmaps
from mmdet_diffmap.maps.image_frame import ImageFrame
from mmdet_diffmap.maps.windows import Windows
from mmdet_diffmap.report.packed_maps import VISIBLE, on_grids, pack_maps

CPU = torch.device('cpu')


def unpack(description, data):
    """Packed maps, enlarged by the package's own way to do so."""
    cells = np.frombuffer(zlib.decompress(data), np.uint8)
    given = {name: tuple(value)
             for name, value in description['frame'].items()}
    frame = ImageFrame(given['input'], given['content'], given['image'],
                       given['corner'])
    start, groups = 0, {}
    for name, objects in description['groups'].items():
        maps = []
        for number, one in enumerate(objects):
            for level, part in enumerate(one['parts']):
                rows, columns, top, left, height, width = part
                end = start + height * width
                values = torch.tensor(cells[start:end].astype(np.float32))
                maps.append(GridMaps(
                    values.view(1, height, width),
                    Windows(level, (rows, columns), (number, ),
                            ((top, left), ), (height, width), CPU)))
                start = end
        groups[name] = image_heatmaps(maps, len(objects), frame, CPU)
    assert start == len(cells)
    return groups


@pytest.mark.parametrize('target_layer', ['neck', 'backbone'])
def test_outputs_are_those_explained_alone(target_layer):
    model = demo_detector()
    method = dict(type='ODAM', target_layer=target_layer)
    (found, ) = explain_image(
        model, image_pipeline(model)(SCENE).batch, 0, [method], Selection(),
        by_output=True)
    count = len(found.sample.pred_instances)
    maps = unpack(*pack_maps(found.maps.grids, count, found.frame, (192, 192)))
    assert list(maps) == ['all', 'score', 'x1', 'y1', 'x2', 'y2']
    for name, heatmaps in maps.items():
        outputs = list(maps)[1:] if name == 'all' else [name]
        expected = explain(model, SCENE, dict(method, outputs=outputs))
        torch.testing.assert_close(
            heatmaps, expected.pred_instances.heatmaps, rtol=0, atol=0.006)


def test_real_photographs(real):
    model = load_detector(real / 'yolox_nano_coco.py',
                          real / 'yolox_nano_coco.pth', device='cpu')
    for path in sorted((real / 'images').iterdir())[1:4]:
        (found, ) = explain_image(
            model, image_pipeline(model)(str(path)).batch, 0, ['ODAM'],
            Selection(), by_output=True)
        expected = found.sample.pred_instances.heatmaps
        maps = unpack(*pack_maps(found.maps.grids, len(expected), found.frame,
                                 found.frame.image_shape))
        # half a step of eight bits; a little more, since the largest pixel
        # of an enlarged map is less than its largest cell
        assert (maps['all'] - expected).abs().max() < 0.75 / 255


def test_only_what_is_not_zero_travels():
    values = torch.zeros(9, 9)
    values[2:4, 5:8] = 3.
    values[8, 8] = 3e-4  # rounded to nothing
    maps = GridMaps(values[None], Windows(
        0, (20, 30), (0, ), ((10, 20), ), (9, 9), CPU))
    frame = ImageFrame((160, 240), (160, 240), (160, 240))
    description, data = pack_maps({'all': [maps]}, 2, frame, (80, 120))
    full, empty = description['groups']['all']
    assert full['parts'] == [[20, 30, 12, 25, 2, 3]]
    assert full['peak'] == 3 and empty == dict(peak=0, parts=[])
    assert zlib.decompress(data) == b'\xff' * 6
    assert description['frame']['image'] == (80, 120)


@pytest.mark.parametrize('padding, floor', [
    (600., 0.), (1e-30, 0.), (0., 20.), (5., 20.)])
def test_eight_bits_are_those_of_what_is_seen(padding, floor):
    """Cells of the padding may be larger than all others, a map may be far
    from zero everywhere, and values may be tiny."""
    values = torch.rand(80, 80, generator=torch.manual_seed(0)) + floor
    values[26:] = padding  # the image takes 25 rows, which see the next one
    if padding == 1e-30:
        values *= 1e-37
    levels = [GridMaps.of_whole_level(values[None])]
    frame = ImageFrame((640, 640), (200, 640), (200, 640))
    maps = unpack(*pack_maps({'all': levels}, 1, frame, (200, 640)))['all']
    expected = image_heatmaps(levels, 1, frame, CPU)
    # the largest pixel is less than the largest cell, the smallest is more
    assert (maps - expected).abs().max() < 0.75 / 255


def test_a_flat_map_is_nothing():
    levels = [GridMaps.of_whole_level(torch.full((1, 80, 80), .7))]
    frame = ImageFrame((640, 640), (600, 640), (333, 500))
    assert not image_heatmaps(levels, 1, frame, CPU).any()
    (one, ), _ = pack_maps({'all': levels}, 1, frame, (333, 500))[0][
        'groups']['all'], None
    assert one['parts'] == []


def test_zero_may_be_kept():
    """Parts of a signed map are not scaled by themselves."""
    levels = [GridMaps.of_whole_level(torch.tensor([[[1., 2.], [3., 4.]]]))]
    frame = ImageFrame((2, 2), (2, 2), (2, 2))
    for keep, cells in (False, [0, 85, 170, 255]), (True, [64, 128, 191, 255]):
        description, data = pack_maps({'for': levels}, 1, frame, (2, 2), keep)
        assert list(zlib.decompress(data)) == cells
        assert description['groups']['for'][0]['peak'] == 4


def test_smooth_maps_need_few_cells_and_sharp_ones_all():
    y, x = torch.meshgrid(torch.arange(100.), torch.arange(130.),
                          indexing='ij')
    smooth = torch.exp(-((y - 40)**2 + (x - 70)**2) / 2 / 60**2)
    sharp = ((y > 40) & (x > 30)).float()
    # linear interpolation is off by less than width² / 8 / 60² an axis: 8
    # pixels are narrow enough, and 16 are not
    for original, grid in (smooth, (15, 19)), (sharp, (100, 130)):
        (levels, ), frame = on_grids(original[None])
        assert levels.windows.grid == grid and levels.windows.are_whole
        assert (frame.to_image(levels.values[0]) - original).abs().max() \
            < VISIBLE
    assert not len(on_grids(torch.zeros(0, 100, 130))[0][0].windows)

"""Each image is read once, and its picture is what the detector saw."""
import copy
import os

import cv2
import mmcv
import numpy as np
import pytest
import torch
from demo import CONFIG, SCENE, WEIGHTS, demo_detector
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image
from server import serving

from mmdet_diffmap import DiffMapInferencer, explain, load_detector
from mmdet_diffmap.apis import compare_files, explain_files, read_image
from mmdet_diffmap.apis.image_pipeline import (
    as_picture,
    build_pipeline,
    image_pipeline,
)
from mmdet_diffmap.evaluation.image_set import ImageSet, TestImage
from mmdet_diffmap.report import Report


class Reads:
    """Counts how often files are read and decoded by anyone in Python."""

    def __init__(self, monkeypatch):
        self.files, self.decoded = [], 0
        read, decode = open, cv2.imdecode

        def opened(file, mode='r', *args, **kwargs):
            if 'r' in mode and str(file).endswith('.jpg'):
                self.files.append(str(file))
            return read(file, mode, *args, **kwargs)

        def decoded(*args, **kwargs):
            self.decoded += 1
            return decode(*args, **kwargs)

        monkeypatch.setattr('builtins.open', opened)
        monkeypatch.setattr(cv2, 'imdecode', decoded)


class Photos:
    """A data set of one photograph."""

    def __init__(self, path):
        self.path = path
        self.metainfo = dict(classes=['x'])
        self.pipeline = Compose([
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.PackDetInputs', meta_keys=())])

    def __len__(self):
        return 1

    def get_data_info(self, index):
        return dict(img_path=self.path, img_id=7, instances=[])


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), read_image(SCENE))
    return str(tmp_path / 'a.jpg')


@pytest.fixture
def reads(photo, monkeypatch):
    return Reads(monkeypatch)


def explain_a_file(photo, folder):
    explain(demo_detector(), photo)


def explain_several(photo, folder):
    explain(demo_detector(), [photo])


def write_files(photo, folder):
    explain_files(demo_detector(), [photo], folder, save_npz=True,
                  report=Report('a', ['x'] * 10, {}))


def compare(photo, folder):
    compare_files(dict(a=demo_detector()), [photo], 0, folder,
                  dict(odam='odam', cam='grad-cam'))


def compare_detectors(photo, folder):
    compare_files(dict(a=demo_detector(), b=copy.copy(demo_detector())),
                  [photo], 0, folder)


def prepare_for_the_benchmark(photo, folder):
    assert isinstance(ImageSet(Photos(photo))[0], TestImage)


def infer(photo, folder):
    inferencer = DiffMapInferencer(str(CONFIG), str(WEIGHTS), 'cpu',
                                   show_progress=False)
    result = inferencer(photo, out_dir=folder, return_vis=True,
                        no_save_pred=False)
    assert len(result['visualization']) == 1


@pytest.mark.parametrize('api, detectors', [
    (explain_a_file, 1), (explain_several, 1), (write_files, 1), (compare, 1),
    (compare_detectors, 2), (infer, 1), (prepare_for_the_benchmark, 1)])
def test_each_image_is_read_once(api, detectors, photo, reads, tmp_path):
    """And decoded once by the loading step of each detector."""
    api(photo, tmp_path / 'out')
    assert reads.files == [photo]
    assert reads.decoded == detectors


def test_url_is_downloaded_once(photo, tmp_path, monkeypatch):
    with serving(tmp_path) as address:
        requests = []
        monkeypatch.setattr('server.Handler.log_message',
                            lambda self, *args: requests.append(args))
        explain_files(demo_detector(), [f'{address}/a.jpg'], tmp_path / 'out')
    assert len(requests) == 1


@pytest.mark.parametrize('loading', [
    dict(), dict(color_type='unchanged'), dict(to_float32=True),
    dict(color_type='color_ignore_orientation'),
    dict(imdecode_backend='pillow')])
def test_picture_is_what_the_loading_step_gives(loading, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    path = str(tmp_path / 'a.jpg')
    Image.fromarray(pixels).save(path, exif=exif)
    expected = LoadImageFromFile(**loading)(dict(img_path=path))
    pipeline = build_pipeline([
        dict(type='LoadImageFromFile', **loading),
        dict(type='mmdet.PackDetInputs', meta_keys=('ori_shape', 'img_path'))
    ])
    image = pipeline(path)
    np.testing.assert_array_equal(image.picture, expected['img'])
    assert image.picture.dtype == np.uint8
    np.testing.assert_array_equal(
        image.example['inputs'].permute(1, 2, 0).numpy(), expected['img'])
    meta = image.example['data_samples'].metainfo
    assert meta == dict(ori_shape=expected['ori_shape'], img_path=path)


def test_photograph_on_its_side(tmp_path):
    """Boxes, maps and picture lie in one place, whichever way the config
    reads a camera's orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / 'a.jpg')
    Image.fromarray(read_image(SCENE)[:150, :, ::-1].copy()).save(
        path, exif=exif, quality=100, subsampling=0)
    model = copy.copy(demo_detector())
    model.cfg = copy.deepcopy(model.cfg)
    for color_type, shape in ('color', (192, 150)), (
            'color_ignore_orientation', (150, 192)):
        model.cfg.test_dataloader.dataset.pipeline[0].color_type = color_type
        image = image_pipeline(model)(path)
        assert image.picture.shape[:2] == shape
        instances = explain(model, path).pred_instances
        assert instances.heatmaps.shape[1:] == shape
        # the same as of the very picture
        again = explain(model, image.picture).pred_instances
        assert torch.equal(instances.bboxes, again.bboxes)
        assert torch.equal(instances.heatmaps, again.heatmaps)


class OwnLoading:
    """A loading step that is not mmcv's."""

    def __call__(self, results):
        image = mmcv.imread(results['img_path'])[:, ::-1].copy()
        return dict(results, img=image, img_shape=image.shape[:2],
                    ori_shape=image.shape[:2])


def test_loading_step_of_ones_own(photo):
    model = copy.copy(demo_detector())
    model.cfg = copy.deepcopy(model.cfg)
    model.cfg.test_dataloader.dataset.pipeline[0] = dict(type=OwnLoading)
    mirrored = explain(model, read_image(photo)[:, ::-1].copy())
    assert torch.equal(explain(model, photo).pred_instances.heatmaps,
                       mirrored.pred_instances.heatmaps)


@pytest.mark.parametrize('shape, dtype', [
    ((4, 6), np.uint8), ((4, 6, 1), np.uint8), ((4, 6, 2), np.uint8),
    ((4, 6, 3), np.float32), ((4, 6, 4), np.uint8), ((4, 6), np.uint16)])
def test_any_array_becomes_a_picture(shape, dtype):
    top = 65535 if dtype is np.uint16 else 255
    image = np.random.default_rng(0).integers(0, top, shape).astype(dtype)
    picture = as_picture(image)
    assert picture.shape == (4, 6, 3) and picture.dtype == np.uint8
    first = image if image.ndim == 2 else image[..., 0]
    expected = first // 256 if dtype is np.uint16 else first
    np.testing.assert_array_equal(picture[..., 0], expected.astype(np.uint8))
    assert not np.shares_memory(picture, image)


def test_loading_step_that_gives_no_image():
    with pytest.raises(ValueError, match=r'array of shape \(0, 3, 3\)'):
        as_picture(np.zeros((0, 3, 3), np.uint8))


@pytest.mark.parametrize('source, message', [
    (3, 'must be a path, a URL or an array, not int'),
    ({}, 'must be a path, a URL or an array, not NoneType')])
def test_no_image(source, message):
    with pytest.raises(ValueError, match=message):
        image_pipeline(demo_detector())(source)


def test_pipe_is_no_image(tmp_path):
    """Reading it would never end."""
    os.mkfifo(tmp_path / 'a.jpg')
    with pytest.raises(OSError, match=r'a\.jpg is no file'):
        explain(demo_detector(), tmp_path / 'a.jpg')


class Dropping:

    def __call__(self, results):
        return None


class Failing:

    def __call__(self, results):
        raise KeyError('gt_bboxes')


@pytest.mark.parametrize('transforms, message', [
    ([dict(type=Dropping)], 'Dropping of the config.s test pipeline drops'),
    ([dict(type=Failing)], 'Failing of the config.s test pipeline fails on '
     'an array of (4, 6, 3): KeyError: .gt_bboxes'.replace('(', r'\(').replace(
         ')', r'\)')),
    ([], 'let it end in PackDetInputs')])
def test_pipeline_that_gives_no_input(transforms, message):
    pipeline = build_pipeline([dict(type='LoadImageFromFile'), *transforms])
    with pytest.raises(ValueError, match=message):
        pipeline(np.zeros((4, 6, 3), np.uint8))


def test_config_that_changes_is_read_again(photo):
    model = load_detector(Config.fromfile(CONFIG), WEIGHTS, 'cpu')
    before = image_pipeline(model)
    assert image_pipeline(model) is before
    model.cfg.test_dataloader.dataset.pipeline.insert(
        -1, dict(type='mmdet.Pad', size=(256, 256)))
    after = image_pipeline(model)(photo).example['inputs']
    assert after.shape == (3, 256, 256)

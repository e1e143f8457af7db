"""Every geometric transform of mmcv and mmdet that a test pipeline can hold:
followed, or refused by its name."""
import copy
import random
import re

import letter_box  # noqa: F401
import numpy as np
import pytest
import torch
from demo import SCENE, demo_detector
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.dataset import Compose

from mmdet_diffmap import explain
from mmdet_diffmap.apis.frame_check import FrameCheck
from mmdet_diffmap.apis.image_pipeline import ImagePipeline, build_pipeline
from mmdet_diffmap.maps.image_frame import ImageFrame

SHAPE = (120, 180, 3)
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
        'border', 'pad_param')
RESIZE = dict(type='Resize', scale=(150, 150), keep_ratio=True)
LARGE = dict(type='Resize', scale=(400, 333), keep_ratio=True)

FOLLOWED = dict(
    nothing=[],
    smaller=[RESIZE],
    larger=[LARGE],
    stretched=[dict(type='Resize', scale=(97, 211), keep_ratio=False)],
    by_factor=[dict(type='Resize', scale_factor=0.7)],
    bicubic=[dict(RESIZE, interpolation='bicubic')],
    nearest=[dict(RESIZE, interpolation='nearest')],
    area=[dict(RESIZE, interpolation='area')],
    mmcv=[dict(RESIZE, type='mmcv.Resize')],
    pillow=[dict(RESIZE, backend='pillow')],
    pillow_larger=[dict(LARGE, backend='pillow')],
    shortest_edge=[
        dict(type='ResizeShortestEdge', scale=90, max_size=200)],
    fixed_scale=[dict(type='FixScaleResize', scale=(150, 150))],
    fixed_shape=[
        dict(type='FixShapeResize', width=130, height=170, keep_ratio=False)],
    fixed_shape_of_its_ratio=[
        dict(type='FixShapeResize', width=130, height=170, keep_ratio=True)],
    padded=[RESIZE, dict(type='Pad', size=(200, 256))],
    padded_by_mmcv=[RESIZE, dict(type='mmcv.Pad', size_divisor=32)],
    padded_to_a_square=[
        RESIZE, dict(type='Pad', pad_to_square=True,
                     pad_val=dict(img=(114, 114, 114)))],
    padded_first=[dict(type='Pad', size=(200, 256)), RESIZE],
    centred=[dict(type='RandomCenterCropPad', ratios=None, border=None,
                  mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True, test_mode=True,
                  test_pad_mode=['logical_or', 31])],
    letter_box=[dict(type='LetterBox', width=300, height=280)],
    letter_box_of_odd_size=[
        dict(type='LetterBox', width=201, height=133, halves=True)],
    unflipped=[RESIZE, dict(type='RandomFlip', prob=0.)],
    any_of_several_scales=[
        dict(type='RandomChoiceResize', scales=[(150, 150), (200, 180)],
             keep_ratio=True)],
    any_scale=[dict(type='RandomResize', scale=(180, 150),
                    ratio_range=(.5, 2.), keep_ratio=True)],
    normalized=[dict(type='mmcv.Normalize', mean=[10., 20., 30.],
                     std=[5., 60., 7.], to_rgb=True), RESIZE],
    of_other_colours=[dict(type='PhotoMetricDistortion'), RESIZE],
    of_other_contrast=[dict(type='AutoContrast', prob=1.), RESIZE],
    of_few_colours=[dict(type='Posterize', prob=1.), RESIZE],
    equalized=[dict(type='Equalize', prob=1.), RESIZE],
    inverted=[dict(type='Invert', prob=1.), RESIZE],
    grey=[dict(type='RandomGrayscale', prob=1., keep_channels=True), RESIZE],
    with_holes=[dict(type='CutOut', n_holes=2, cutout_shape=(9, 9)), RESIZE],
)
REFUSED = dict(
    cut=[dict(type='mmcv.CenterCrop', crop_size=(100, 90))],
    cut_after_resizing=[RESIZE, dict(type='mmcv.CenterCrop',
                                     crop_size=(100, 90))],
    cut_by_chance=[dict(type='RandomCrop', crop_size=(100, 90))],
    cut_with_padding=[dict(type='RandomCenterCropPad', crop_size=(90, 90),
                           ratios=(.9, 1.1), border=9, mean=[0, 0, 0],
                           std=[1, 1, 1], to_rgb=True, test_pad_mode=None)],
    flipped=[dict(type='RandomFlip', prob=1.)],
    flipped_after_resizing=[RESIZE, dict(type='RandomFlip', prob=1.,
                                         direction='vertical')],
    flipped_both_ways=[dict(type='mmcv.RandomFlip', prob=1.,
                            direction='diagonal')],
    resized_twice=[RESIZE, LARGE],
    resized_twice_by_mmcv=[RESIZE, dict(LARGE, type='mmcv.Resize')],
    rotated=[dict(type='Rotate', prob=1., level=9)],
    sheared_along_x=[dict(type='ShearX', prob=1., level=9)],
    sheared_along_y=[dict(type='ShearY', prob=1., level=9)],
    moved_along_x=[dict(type='TranslateX', prob=1., min_mag=.05)],
    moved_along_y=[dict(type='TranslateY', prob=1., min_mag=.05)],
    transformed=[dict(type='RandomAffine')],
    shifted=[dict(type='RandomShift', prob=1.)],
    laid_on_a_canvas=[dict(type='Expand', prob=1.)],
    cut_by_overlap=[dict(type='MinIoURandomCrop')],
)
#: What no test pipeline can hold, since it needs annotations, other images or
#: packages that mmdet does not install; what moves no pixel; and what the
#: forks of mmdet have for lanes (ImageAug and those with lines).
ELSEWHERE = {
    'Albu', 'AutoAugment', 'BaseFrameSample', 'Brightness', 'CachedMixUp',
    'CachedMosaic', 'Color', 'ColorTransform', 'Compose', 'Contrast',
    'CopyPaste', 'Corrupt', 'FilterAnnotations', 'GTBoxSubOne_GLIP',
    'GeomTransform', 'ImageAug', 'ImageToTensor', 'InferencerLoader',
    'InstaBoost', 'KeyMapper', 'LinesToArray', 'LoadAnnotations',
    'LoadEmptyAnnotations', 'LoadImageFromFile', 'LoadImageFromNDArray',
    'LoadMultiChannelImageFromFiles', 'LoadPanopticAnnotations',
    'LoadProposals', 'LoadTextAnnotations', 'LoadTrackAnnotations', 'MixUp',
    'Mosaic', 'MultiBranch', 'MultiScaleFlipAug', 'PackDetInputs',
    'PackLineDetectionInputs', 'PackReIDInputs', 'PackTrackInputs',
    'ProposalBroadcaster', 'RandAugment', 'RandomApply', 'RandomChoice',
    'RandomErasing', 'RandomFlip_GLIP', 'RandomOrder', 'RandomSamplingNegPos',
    'SegRescale', 'Sharpness', 'Solarize', 'SolarizeAdd', 'TestTimeAug',
    'ToTensor', 'TransformBroadcaster', 'Transpose', 'UniformRefFrameSample',
    'WrapFieldsToLists', 'YOLOXHSVRandomAug'
}
#: Those that need annotated boxes even where there are none.
NEED_BOXES = ('RandomAffine', 'RandomShift', 'MinIoURandomCrop',
              'RandomCrop', 'RandomCenterCropPad', 'Expand')


def pipeline_of(transforms):
    register_all_modules()
    return build_pipeline([
        dict(type='LoadImageFromFile', to_float32=any(
            transform['type'] == 'RandomCenterCropPad'
            for transform in transforms)), *copy.deepcopy(transforms),
        dict(type='PackDetInputs', meta_keys=META)
    ])


def picture_of_rows_and_columns():
    """A picture whose pixels tell where they are: red the row, green the
    column."""
    height, width, _ = SHAPE
    picture = np.zeros(SHAPE, np.uint8)
    picture[..., 2] = np.arange(height)[:, None]
    picture[..., 1] = np.arange(width)
    return picture


@pytest.mark.parametrize('name', FOLLOWED)
def test_followed(name):
    np.random.seed(0)
    image = pipeline_of(FOLLOWED[name])(picture_of_rows_and_columns())
    np.testing.assert_array_equal(image.picture, picture_of_rows_and_columns())
    assert image.example['inputs'].dim() == 3


@pytest.mark.parametrize('name', [
    name for name, transforms in FOLLOWED.items()
    if not {'PhotoMetricDistortion', 'AutoContrast', 'Posterize', 'Equalize',
            'Invert', 'RandomGrayscale', 'CutOut', 'mmcv.Normalize'}
    & {transform['type'] for transform in transforms}])
def test_pixels_that_are_followed_lie_where_boxes_are_taken_back(name):
    """By mmdet's own rule: a place in the input, less the border, divided by
    the scale factor, is the place in the image."""
    np.random.seed(0)
    example = pipeline_of(FOLLOWED[name])(
        picture_of_rows_and_columns()).example
    meta, inputs = example['data_samples'].metainfo, example['inputs']
    top, _, left, _ = meta.get('border', meta.get('pad_param', [0] * 4))
    scale_w, scale_h = meta.get('scale_factor', (1., 1.))
    for row, column in (20, 30), (60, 90), (100, 150):
        y = int((row + .5) * scale_h + top)
        x = int((column + .5) * scale_w + left)
        assert abs(float(inputs[2, y, x]) - row) <= 1 / scale_h + 1
        assert abs(float(inputs[1, y, x]) - column) <= 1 / scale_w + 1


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name):
    np.random.seed(0)
    random.seed(0)
    transforms = REFUSED[name]
    culprit = transforms[-1]['type'].removeprefix('mmcv.')
    message = f'{culprit} of the test pipeline moves pixels'
    if culprit in NEED_BOXES:
        message = f'{message}|{culprit} of the config.s test pipeline fails'
    with pytest.raises(ValueError, match=message):
        pipeline_of(transforms)(np.zeros(SHAPE, np.uint8))


def test_all_transforms_of_mmcv_and_mmdet_are_tried():
    register_all_modules()
    tried = {transform['type'].removeprefix('mmcv.')
             for transforms in (*FOLLOWED.values(), *REFUSED.values())
             for transform in transforms}
    every = {*TRANSFORMS.module_dict, *TRANSFORMS.parent.module_dict}
    ours = {name for name in every
            if 'mmdet_diffmap' in (TRANSFORMS.get(name) or
                                   BaseTransform).__module__}
    assert every - ours - tried - ELSEWHERE == set()


def test_flip_that_happens_half_of_the_time():
    """It is checked with the random numbers of the very image."""
    pipeline = pipeline_of([dict(type='RandomFlip', prob=.5)])
    outcomes = []
    np.random.seed(3)
    for _ in range(12):
        try:
            image = pipeline(picture_of_rows_and_columns())
        except ValueError as error:
            assert 'RandomFlip' in str(error)
            outcomes.append('refused')
            np.random.rand()  # on to other numbers
        else:
            assert torch.equal(
                image.example['inputs'][1, 0],
                torch.arange(SHAPE[1], dtype=torch.uint8))
            outcomes.append('followed')
    assert set(outcomes) == {'refused', 'followed'}


def test_random_numbers_are_left_as_they_were():
    np.random.seed(1)
    random.seed(1)
    torch.manual_seed(1)
    expected = np.random.rand(), random.random(), float(torch.rand(()))
    np.random.seed(1)
    random.seed(1)
    torch.manual_seed(1)
    register_all_modules()
    check = FrameCheck(
        Compose([dict(type='PhotoMetricDistortion'),
                 dict(type='RandomFlip', prob=0.)]).transforms)
    check(dict(img=np.zeros(SHAPE, np.uint8), img_shape=SHAPE[:2],
               ori_shape=SHAPE[:2]))
    assert (np.random.rand(), random.random(),
            float(torch.rand(()))) == expected


class Counted(BaseTransform):
    """Counts how often it is applied."""

    def __init__(self):
        self.count = 0

    def transform(self, results):
        self.count += 1
        return results


def test_a_size_is_checked_once():
    counted = Counted()
    pipeline = pipeline_of([RESIZE])
    pipeline.rest.insert(0, counted)
    for shape, expected in (SHAPE, 5), (SHAPE, 6), ((50, 60, 3), 11):
        pipeline(np.zeros(shape, np.uint8))
        assert counted.count == expected


class OnePixelDown(BaseTransform):
    """Moves all pixels by one, and tells nobody."""

    def transform(self, results):
        results['img'] = np.roll(results['img'], 1, axis=0)
        return results


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_one_pixel_is_seen(dtype):
    """At the input's own size, where nothing hides it."""
    pipeline = ImagePipeline([
        *pipeline_of([]).transforms[:1], OnePixelDown(), OnePixelDown(),
        *pipeline_of([]).rest])
    with pytest.raises(ValueError, match='OnePixelDown'):
        pipeline(np.zeros((40, 60, 3), np.uint8))


def test_frame_of_what_was_noted():
    frame = ImageFrame.of_metainfo(
        dict(ori_shape=(120, 180), scale_factor=(.5, .25),
             border=(3, 33, 5, 95)), (64, 96))
    assert frame == ImageFrame((64, 96), (30, 90), (120, 180), (3, 5))


def test_explain_refuses():
    model = copy.copy(demo_detector())
    model.cfg = copy.deepcopy(model.cfg)
    model.cfg.test_dataloader.dataset.pipeline.insert(
        1, dict(type='RandomFlip', prob=1.))
    with pytest.raises(ValueError, match=re.escape(
            'RandomFlip of the test pipeline moves pixels in a way that '
            'scale_factor does not tell')):
        explain(model, SCENE)

import cv2
import letter_box  # noqa: F401
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose

import mmdet_diffmap  # noqa: F401
from mmdet_diffmap.maps.image_frame import ImageFrame, covered_length

RESIZE = dict(type='Resize', scale=(333, 200), keep_ratio=True)
PIPELINES = {
    'resize': [RESIZE],
    'stretch': [dict(type='Resize', scale=(160, 224), keep_ratio=False)],
    'pad': [  # YOLOX: img_shape is then the padded one
        dict(type='Resize', scale=(416, 416), keep_ratio=True),
        dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114., ) * 3))
    ],
    'border': [  # CenterNet: padding on all sides
        dict(
            type='RandomCenterCropPad', ratios=None, border=None,
            mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True, test_mode=True,
            test_pad_mode=['logical_or', 31], test_pad_add_pix=1)
    ],
    'letter box': [dict(type='LetterBox', width=320, height=256)],
    'halves': [dict(type='LetterBox', width=319, height=255, halves=True)],
}


def prepare(image, pipeline):
    """The host's own transforms, and padding to multiples of 32."""
    transforms = [dict(type='LoadImageFromNDArray', to_float32=True),
                  *PIPELINES[pipeline],
                  dict(type='PackDetInputs',
                       meta_keys=('ori_shape', 'img_shape', 'scale_factor',
                                  'border', 'pad_param'))]
    packed = Compose([
        dict(transform, type=f'mmdet.{transform["type"]}')
        for transform in transforms
    ])(dict(img=image, img_id=0))
    inputs = packed['inputs'].float()
    height, width = inputs.shape[-2:]
    return F.pad(inputs, (0, -width % 32, 0, -height % 32)), \
        packed['data_samples']


@pytest.mark.parametrize('pipeline', PIPELINES)
@pytest.mark.parametrize('shape', [(375, 500), (640, 427), (90, 31),
                                   (12, 17), (480, 640)])
@pytest.mark.parametrize('place', [(.3, .7), (.52, .5), (.05, .95)])
def test_planted_signal_comes_back(shape, place, pipeline):
    """A bright spot, resized and padded by mmdet, and pooled to a grid of
    stride 8, has its peak on the right original pixel."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    centre = place[0] * height, place[1] * width
    spread = max(height, width) / 25
    spot = np.exp(-((y + .5 - centre[0])**2 + (x + .5 - centre[1])**2) /
                  (2 * spread**2))
    image = np.repeat(np.uint8(255 * spot)[..., None], 3, axis=2)
    inputs, sample = prepare(image, pipeline)
    inputs = inputs[:1].where(inputs[:1] != 114, torch.zeros(()))
    grid = F.avg_pool2d(inputs[None], 8)[0, 0]
    frame = ImageFrame.of_metainfo(sample.metainfo, tuple(inputs.shape[-2:]))
    heatmap = frame.to_image(grid)
    assert heatmap.shape == shape
    # the centre of mass is finer than the grid's cells
    mass = (heatmap / heatmap.sum()).numpy()
    found = (mass * (y + .5)).sum(), (mass * (x + .5)).sum()
    truth = spot / spot.sum()
    cell = 8 / frame.scale[1], 8 / frame.scale[0]
    for axis, coordinate in enumerate((y, x)):
        wanted = (truth * (coordinate + .5)).sum()
        # with a border, cells lie across the image's edge
        share = 0.5 if frame.corner != (0, 0) else 0.25
        assert abs(found[axis] - wanted) < share * cell[axis] + 0.5
    # the map is flat between the image's edge and the first cell's centre
    peak = np.argwhere(heatmap.numpy() >= heatmap.max().item() * (1 - 1e-5))
    distance = np.abs(peak + .5 - centre)
    assert (distance <= np.array(cell) / 2 + 1).all(axis=1).any()


def test_input_that_is_the_image():
    frame = ImageFrame((96, 160), (90, 131), (61, 250), (4, 20))
    whole = ImageFrame.of_metainfo(frame.metainfo_of_input(), (96, 160))
    assert whole == ImageFrame((96, 160), (96, 160), (96, 160))


@pytest.mark.parametrize('stride', [8, 32])
def test_equals_two_interpolations(stride):
    frame = ImageFrame((96, 160), (90, 131), (61, 250))
    grid = torch.rand(3, 96 // stride, 160 // stride, dtype=torch.float64)
    padded = F.interpolate(
        grid[None], size=(96, 160), mode='bilinear', align_corners=False)
    expected = F.interpolate(
        padded[..., :90, :131], size=(61, 250), mode='bilinear')[0]
    torch.testing.assert_close(
        frame.to_image(grid), expected, rtol=0, atol=1e-6)


def test_padding_does_not_shift_the_map():
    """The same content in a larger batch gives the same map."""
    grid = torch.rand(1, 12, 20)
    alone = ImageFrame((96, 160), (96, 160), (48, 80)).to_image(grid)
    wide = torch.zeros(1, 16, 24)
    wide[:, :12, :20] = grid
    batched = ImageFrame((128, 192), (96, 160), (48, 80)).to_image(wide)
    inner = (slice(None), slice(0, 45), slice(0, 77))  # not beside padding
    torch.testing.assert_close(alone[inner], batched[inner])


@pytest.mark.parametrize('length, cells, expected', [
    (1344, 168, 1344),  # stride 8
    (1333, 42, 1344),  # stride 32, rounded up
    (1344, 11, 1408),  # stride 128, rounded up
    (224, 16, 224),  # stride 14, no power of two
    (8, 16, 8),  # finer than pixels
    (1, 1, 1),
])
def test_covered_length(length, cells, expected):
    assert covered_length(length, cells) == expected


def test_boxes_in_the_input():
    frame = ImageFrame((64, 96), (40, 60), (20, 20), corner=(5, 7))
    box = frame.to_input(torch.tensor([[1., 2., 3., 4.]]))
    assert box.tolist() == [[1 * 3 + 7, 2 * 2 + 5, 3 * 3 + 7, 4 * 2 + 5]]


def test_scale_factor_is_missing():
    sample = DetDataSample(metainfo=dict(ori_shape=(20, 30)))
    frame = ImageFrame.of_metainfo(sample.metainfo, (32, 32))
    assert frame.content_shape == (20, 30)
    assert frame.scale == (1, 1)


def test_opencv_agrees_on_the_pixel_grid():
    """``Resize`` of the host maps pixel areas, as the frame does."""
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    halved = cv2.resize(ramp, (32, 32), interpolation=cv2.INTER_LINEAR)
    frame = ImageFrame((32, 32), (32, 32), (64, 64))
    back = frame.to_image(torch.from_numpy(halved))
    np.testing.assert_allclose(back[:, 2:-2], ramp[:, 2:-2], atol=1e-4)

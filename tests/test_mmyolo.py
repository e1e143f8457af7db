"""Detectors of MMYOLO, in an environment that has it: `make test-mmyolo`."""
import numpy as np
import pytest
import torch
from families import batch_of, random_image
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_diffmap.apis.image_pipeline import build_pipeline
from mmdet_diffmap.lab.zoo import check_config, zoo_configs
from mmdet_diffmap.lab.zoo.check import TOLERANCES
from mmdet_diffmap.lab.zoo.families import zoo_folder
from mmdet_diffmap.lab.zoo.small import random_detector, shrink
from mmdet_diffmap.tracing.detector import DetectorAdapter
from mmdet_diffmap.tracing.filtering import Fate
from mmdet_diffmap.tracing.trace import OUTPUTS

pytest.importorskip(
    'mmyolo', reason='MMYOLO wants another mmcv: make test-mmyolo')
SMALL = ((96, 128), )
#: Families, and how their gradients are found.
FAMILIES = {
    'ppyoloe': 'dense',  # a mean over the level in each branch
    'rtmdet': 'window',
    'rtmdet-ins': 'dense',  # masks from all levels
    'yolov5': 'window',
    'yolov5/ins_seg': 'dense',
    'yolov5/yolov5u': 'window',
    'yolov6': 'window',
    'yolov6_v3': 'window',
    'yolov7': 'window',
    'yolov8': 'window',
    'yolox': 'window',
}


@pytest.mark.parametrize('name, strategy', FAMILIES.items())
def test_families(name, strategy):
    checked = check_config(zoo_configs('mmyolo')[name], SMALL)
    assert (checked.status, checked.reason) == ('works', '')
    assert checked.strategy == strategy
    assert tuple(checked.outputs) == OUTPUTS
    assert checked.difference <= TOLERANCES[checked.double]


def test_every_folder_is_checked_or_left_out():
    folders = {path.parent.relative_to(zoo_folder('mmyolo')).parts[0]
               for path in zoo_folder('mmyolo').rglob('*.py')}
    assert {name.partition('/')[0] for name in zoo_configs('mmyolo')
            } | {'_base_', 'deploy', 'razor'} == folders | {
                'rtmdet-ins', 'yolov6_v3'}


@pytest.mark.parametrize('name', [
    'yolov5', 'yolov5/ins_seg', 'yolox', 'rtmdet', 'ppyoloe', 'yolov7'])
@pytest.mark.parametrize('shape', [(480, 640), (613, 421), (37, 1000),
                                   (641, 639), (640, 640), (91, 90)])
def test_pixels_lie_where_boxes_are_taken_back(name, shape):
    """By MMYOLO's own rule: a place in the input, less the padding, divided by
    the scale factor, is the place in the image."""
    cfg = Config.fromfile(zoo_configs('mmyolo')[name])
    init_default_scope('mmyolo')
    rows, columns = np.mgrid[:shape[0], :shape[1]] / np.array(
        [shape[0] - 1, shape[1] - 1])[:, None, None] * 200
    picture = np.stack([columns * 0, columns, rows], axis=2).round().astype(
        np.uint8)
    example = build_pipeline(cfg.test_dataloader.dataset.pipeline)(
        picture).example
    meta, inputs = example['data_samples'].metainfo, example['inputs']
    top, _, left, _ = meta.get('pad_param', (0, 0, 0, 0))
    scale_w, scale_h = meta['scale_factor']
    for row, column in (.2, .3), (.5, .5), (.9, .85):
        row, column = row * shape[0], column * shape[1]
        y, x = int(row * scale_h + top), int(column * scale_w + left)
        for found, expected, length, scale in (
                (inputs[2, y, x], row - .5, shape[0], scale_h),
                (inputs[1, y, x], column - .5, shape[1], scale_w)):
            step = (length - 1) / 200
            assert abs(float(found) * step - expected) <= 1 / scale + step + 1


@pytest.fixture(scope='module', params=['yolov5', 'yolov8', 'yolox'])
def detector(request):
    cfg = Config.fromfile(zoo_configs('mmyolo')[request.param])
    shrink(cfg, SMALL[0])
    # larger than the image, so that what is clipped to it would be seen
    model = random_detector(cfg, spread=2)
    return model, batch_of(model, random_image(60, 50))


def test_probabilities_and_candidates(detector):
    model, data = detector
    trace = DetectorAdapter(model).trace(data)
    with torch.no_grad():
        (sample, ) = model.test_step(data)
    for name in 'bboxes', 'scores', 'labels':
        assert torch.equal(trace.detections[name],
                           sample.pred_instances[name])
    assert len(trace) > 0
    own = trace.classes.probabilities[trace.classes.rows].gather(
        1, trace.detections.labels[:, None])[:, 0]
    torch.testing.assert_close(own, trace.outputs[:, 0])
    (found, ) = trace.input.candidates(trace.input.image[None])
    assert found.probabilities.shape == (len(found), 80)
    assert found.bboxes.amax() > 64  # beyond the image's own 60 x 50 pixels
    candidates = DetectorAdapter(model).trace_candidates(data)
    kept = candidates.with_fate(Fate.KEPT)
    assert len(kept) == len(trace)
    assert torch.equal(
        candidates.trace.detections.scores[candidates.filtering.detections],
        sample.pred_instances.scores)

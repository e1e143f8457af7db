"""A small random tracker of each kind, and a video for it.

What :func:`random_tracker` gives is shared by all tests of a process: it is
changed in copies only.
"""
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from families import narrow
from mmdet.models.trackers import ByteTracker
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hub import get_config
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_diffmap.io.configs import inner_dicts
from mmdet_diffmap.lab.zoo import small
from mmdet_diffmap.tracing.detector import unwrapped

HALF = 'crowdhuman-mot17halftrain_test-mot17halfval'
CONFIGS = {
    'bytetrack': f'bytetrack/bytetrack_yolox_x_8xb4-80e_{HALF}.py',
    'ocsort': f'ocsort/ocsort_yolox_x_8xb4-amp-80e_{HALF}.py',
    'sort': 'sort/sort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain'
            '_test-mot17halfval.py',
    'deepsort': 'deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain'
                '_test-mot17halfval.py',
    'strongsort': f'strongsort/strongsort_yolox_x_8xb4-80e_{HALF}.py',
    'qdtrack': 'qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain'
               '_test-mot17halfval.py',
    'masktrack_rcnn': 'masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-'
                      '12e_youtubevis2019.py',
}
TRACKERS = tuple(CONFIGS)
SIZE = (90, 130)  # height and width of the frames
INPUT_SCALE = (144, 110)
OBJECTS = 4


@MODELS.register_module()
class SmallReID(BaseModule):
    """A network of one's own that compares persons: two layers, a mean, and a
    projection."""

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, 8, 2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(12, 6)
        self.head.out_channels = 6

    def forward(self, crops: Tensor, mode: str) -> Tensor:
        assert mode == 'tensor'
        return self.head(self.layers(crops).mean(dim=(2, 3)))


def small_config(name: str) -> Config:
    """Return the host's own config with fewer layers, channels and
    detections, in which each detection passes."""
    cfg = get_config(f'mmdet::{CONFIGS[name]}')
    model: Any = cfg.model
    small.leave_out_weights(model)
    detector = model.detector
    detector.backbone.init_cfg = None
    if detector.backbone.type == 'ResNet':
        detector.backbone.update(depth=18, norm_cfg=dict(type='BN'),
                                 style='pytorch')
        detector.neck.in_channels = [64, 128, 256, 512]
        narrow(detector)
        detector.test_cfg.rpn.update(nms_pre=60, max_per_img=30)
        detector.test_cfg.rcnn.update(score_thr=0, max_per_img=OBJECTS)
        detector.roi_head.bbox_head.num_classes = 2
    else:
        detector.backbone.update(deepen_factor=0.33, widen_factor=0.25)
        detector.neck.update(in_channels=[64, 128, 256], out_channels=64,
                             num_csp_blocks=1)
        detector.bbox_head.update(in_channels=64, feat_channels=64,
                                  num_classes=2)
        detector.test_cfg.update(score_thr=0)
        detector.test_cfg.nms.max_num = OBJECTS
    if 'mask_head' in detector.get('roi_head', {}):
        detector.roi_head.mask_head.update(num_classes=2, in_channels=96,
                                           conv_out_channels=16, num_convs=1)
    if 'track_head' in model:
        model.track_head.roi_extractor.out_channels = 96
        head = model.track_head.embed_head
        head.update(in_channels=96, fc_out_channels=32)
        if 'embed_channels' in head:
            head.update(num_convs=1, conv_out_channels=32, embed_channels=16)
    if model.get('reid'):
        model.reid = dict(type='SmallReID')
        model.tracker.reid.img_scale = (64, 32)
    if 'postprocess_model' in model:
        model.postprocess_model.checkpoint = ''
    for threshold in ('obj_score_thr', 'init_track_thr', 'init_score_thr',
                      'match_score_thr'):
        if threshold in model.tracker:
            model.tracker[threshold] = 0.
    if 'obj_score_thrs' in model.tracker:
        model.tracker.obj_score_thrs = dict(high=1e-5, low=0.)
    if 'weight_iou_with_det_scores' in model.tracker:
        model.tracker.weight_iou_with_det_scores = False
    for transform in inner_dicts(cfg.test_dataloader):
        if transform.get('keep_ratio'):
            transform['scale'] = INPUT_SCALE
    return cfg


@lru_cache
def random_tracker(name: str) -> Any:
    """Return a tracker with random weights, the same at every call."""
    return build(small_config(name))


def build(cfg: Config) -> Any:
    """Build the tracker of a config with random weights."""
    tracker = small.random_model(cfg, 1)
    tracker.dataset_meta = dict(classes=['person', 'dog'])
    detector = unwrapped(tracker)
    small.calibrate(detector, small.image_batch(detector, frames()))
    return tracker


@lru_cache
def frames(count: int = 3) -> tuple[np.ndarray, ...]:
    """Return the frames of a video: a picture twice, and then with a little
    noise, since random weights find nothing again where much has changed."""
    rng = np.random.default_rng(0)
    picture = small.random_image(SIZE, seed=3)
    return tuple((picture + rng.integers(0, 1 + (t > 1), picture.shape)).clip(
        0, 255).astype(np.uint8) for t in range(count))


def host_tracks(tracker: Any, video: tuple[np.ndarray, ...],
                folder: Any) -> list[InstanceData]:
    """Return what mmdet's own pipeline, preprocessor and tracker make of each
    frame, read from files."""
    pipeline = Compose(tracker.cfg.test_dataloader.dataset.pipeline)
    loading = pipeline.transforms[0].transforms.transforms
    loading[:] = [each for each in loading
                  if 'Annotations' not in type(each).__name__]
    found = []
    for number, frame in enumerate(video):
        path = folder / f'{number}.png'
        cv2.imwrite(str(path), frame)
        packed = pipeline(dict(
            img_path=[str(path)], img_id=[number], frame_id=[number],
            ori_video_length=[len(video)]))
        data = tracker.data_preprocessor(dict(
            inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
        with torch.no_grad():
            (result, ) = tracker.predict(**data)
        tracks = result[0].pred_track_instances
        found.append(tracks if 'instances_id' in tracks
                     else of_rows(tracks.bboxes))
    return found


def of_rows(rows: np.ndarray) -> InstanceData:
    """Return what StrongSORT's rows say: a frame, the object, its corner,
    width, height and score."""
    _, numbers, x, y, width, height, scores = torch.tensor(rows).T
    return InstanceData(
        bboxes=torch.stack([x, y, x + width, y + height], dim=1).float(),
        scores=scores.float(), instances_id=numbers.long())


class Coasting(ByteTracker):
    """A tracker that also tells where lost objects may be."""

    def track(self, data_sample, **kwargs):
        found = super().track(data_sample, **kwargs)
        lost = found[:1]
        lost.bboxes = lost.bboxes + 1
        lost.instances_id = lost.instances_id + 100
        return InstanceData.cat([lost, found])

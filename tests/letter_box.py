"""Modules of a user's own, in the manner of YOLO: an image in the middle of a
letter box, and a head around a module of its own that post-processes in its
own way."""
import cv2
import torch
from mmcv.transforms import BaseTransform
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import filter_scores_and_topk, multi_apply
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import nn

from mmdet_diffmap.lab.zoo.small import random_detector

STRIDES = 8, 16
CHANNELS = 12
CLASSES = 5
BINS = 4  # of the distance to a side


@TRANSFORMS.register_module()
class LetterBox(BaseTransform):
    """Resizes an image to fit into a box, and puts it into the middle.

    Args:
        width, height (int): Of the box.
        halves (bool): Whether half of all padding is noted, and not what lies
            above and left of the image.
    """

    def __init__(self, width, height, halves=False):
        self.size = width, height
        self.halves = halves

    def transform(self, results):
        height, width = results['img'].shape[:2]
        ratio = min(self.size[0] / width, self.size[1] / height)
        inner = round(width * ratio), round(height * ratio)
        image = cv2.resize(results['img'], inner)
        rest = self.size[0] - inner[0], self.size[1] - inner[1]
        left, top = rest[0] // 2, rest[1] // 2
        padding = top, rest[1] - top, left, rest[0] - left
        results['img'] = cv2.copyMakeBorder(
            image, *padding, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = inner[0] / width, inner[1] / height
        results['pad_param'] = (rest[1] / 2, rest[1] / 2, rest[0] / 2,
                                rest[0] / 2) if self.halves else padding
        return results


@MODELS.register_module()
class Strides(BaseModule):
    """A backbone with a map for each stride."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.first = nn.Conv2d(3, CHANNELS, 8, stride=8)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 2, stride=2)

    def forward(self, x):
        first = self.first(x).tanh()
        return first, self.second(first).tanh()


@MODELS.register_module()
class LevelsModule(BaseModule):
    """What the head calls: layers of its own for each level, and distances as
    means over bins, which no empty level is reshaped for."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.towers = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in STRIDES)
        self.ends = nn.ModuleList(
            nn.Conv2d(CHANNELS, CLASSES + 1 + 4 * BINS, 1) for _ in STRIDES)
        self.register_buffer('bins', torch.arange(BINS).float())

    def forward(self, levels):
        return multi_apply(self.forward_single, levels, self.towers,
                           self.ends)

    def forward_single(self, x, tower, end):
        height, width = x.shape[2:]
        classes, objectness, distances = end(tower(x).relu()).split(
            [CLASSES, 1, 4 * BINS], dim=1)
        distances = distances.reshape([-1, 4, BINS, height * width]).softmax(
            dim=2)
        distances = torch.einsum('ndbp,b->ndp', distances, self.bins)
        return classes, distances.reshape(-1, 4, height, width), objectness


@MODELS.register_module()
class LetterBoxHead(BaseDenseHead):
    """Takes boxes back to the image, without padding, before it suppresses
    them, multiplies scores in place, and clips boxes to the image whether they
    were taken back to it or not."""

    def __init__(self, head_module, train_cfg=None, test_cfg=None,
                 init_cfg=None):
        super().__init__(init_cfg)
        self.head_module = MODELS.build(head_module)
        self.num_classes = CLASSES
        self.test_cfg = test_cfg
        self.loss_cls = MODELS.build(
            dict(type='CrossEntropyLoss', use_sigmoid=True))

    def forward(self, levels):
        return self.head_module(levels)

    def predict_by_feat(self, classes, distances, objectness,
                        batch_img_metas=None, cfg=None, rescale=True,
                        with_nms=True):
        cfg = self.test_cfg if cfg is None else cfg
        places, strides = [], []
        for level, stride in zip(classes, STRIDES):
            rows, columns = torch.meshgrid(
                *(torch.arange(length).to(level) for length in
                  level.shape[2:]), indexing='ij')
            places.append((torch.stack([columns, rows], dim=-1).flatten(
                0, 1) + .5) * stride)
            strides.append(level.new_full((len(places[-1]), 1), stride))
        places, strides = torch.cat(places), torch.cat(strides)
        classes, distances, objectness = (
            torch.cat([level.flatten(2) for level in levels], dim=2).mT
            for levels in (classes, distances, objectness))
        distances = distances * strides
        boxes = torch.cat([places - distances[..., :2],
                           places + distances[..., 2:]], dim=-1)
        results = []
        for box, score, there, meta in zip(
                boxes, classes.sigmoid(), objectness.sigmoid(),
                batch_img_metas):
            score *= there
            scores, labels, chosen, _ = filter_scores_and_topk(
                score, cfg.score_thr, cfg.nms_pre)
            box = box[chosen]
            if rescale:
                top, _, left, _ = meta.get('pad_param', (0, 0, 0, 0))
                box -= box.new_tensor([left, top] * 2)
                box /= box.new_tensor(meta['scale_factor'] * 2)
            found = self._bbox_post_process(
                results=InstanceData(bboxes=box, scores=scores,
                                     labels=labels),
                cfg=cfg, rescale=False, with_nms=with_nms, img_meta=meta)
            height, width = meta['ori_shape']
            found.bboxes[:, 0::2].clamp_(0, width)
            found.bboxes[:, 1::2].clamp_(0, height)
            results.append(found)
        return results

    def loss_by_feat(self, *args, **kwargs):
        raise AssertionError('explaining needs no loss')


def letter_box_config(width=192, height=256, halves=False):
    """The config of a detector with such a pipeline and head."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LetterBox', width=width, height=height, halves=halves),
        dict(type='PackDetInputs', meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
            'pad_param')),
    ]
    return Config(dict(
        model=dict(
            type='SingleStageDetector',
            data_preprocessor=dict(
                type='DetDataPreprocessor', mean=[0.] * 3, std=[255.] * 3,
                bgr_to_rgb=True, pad_size_divisor=32),
            backbone=dict(type='Strides'),
            bbox_head=dict(type='LetterBoxHead',
                           head_module=dict(type='LevelsModule')),
            test_cfg=dict(score_thr=0.01, nms_pre=300, max_per_img=12,
                          nms=dict(type='nms', iou_threshold=.5))),
        test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        test_pipeline=pipeline))


def letter_box_detector(**options):
    """A detector with random weights."""
    model = random_detector(letter_box_config(**options), spread=3)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and 'head' not in name:
            parameter.data *= 6  # features that differ from place to place
    model.dataset_meta = dict(classes=[f'class {i}' for i in range(CLASSES)])
    return model

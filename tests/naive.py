"""Heat maps and detections as plainly as they can be computed.

Nothing of the package is used here: every detection and output costs one
backward pass through the whole, uncut network, and maps are resized with
``interpolate``.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor, nn


def preprocess(model: nn.Module, data: dict) -> tuple[Tensor, list]:
    data = model.data_preprocessor(copy.deepcopy(data), False)
    return data['inputs'], data['data_samples']


def forward(model: nn.Module, data: dict, layer: str
            ) -> tuple[list[Tensor], InstanceData, dict, tuple]:
    """Return the layer's maps (leaves), detections with a graph to them, meta
    information and the size of the padded input, of a batch of one image."""
    with torch.no_grad():
        inputs, samples = preprocess(model, data)
        leaves = model.backbone(inputs)
        if layer == 'neck':
            leaves = model.neck(leaves)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    features = leaves if layer == 'neck' else model.neck(leaves)
    metas = [sample.metainfo for sample in samples]
    if hasattr(model, 'roi_head'):
        results = two_stage(model, features, samples, metas)
    elif hasattr(model, 'encoder'):
        head_inputs = model.forward_transformer(tuple(features), samples)
        outs = model.bbox_head(head_inputs['hidden_states'][-1:])
        results = model.bbox_head.predict_by_feat(
            *outs, batch_img_metas=metas, rescale=True)[0]
    else:
        results = one_stage(model, features, metas)
    return leaves, results, metas[0], tuple(inputs.shape[-2:])


def two_stage(model, features, samples, metas):
    with torch.no_grad():
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        rois = torch.cat([proposals[0].bboxes.new_zeros(
            (len(proposals[0]), 1)), proposals[0].bboxes], dim=1)
    head = model.roi_head
    pooled = head.bbox_roi_extractor(
        features[:head.bbox_roi_extractor.num_inputs], rois)
    cls_score, bbox_pred = head.bbox_head(pooled)
    return head.bbox_head._predict_by_feat_single(
        rois, cls_score, bbox_pred, metas[0], rescale=True,
        rcnn_test_cfg=head.test_cfg)


def one_stage(model, features, metas):
    head = model.bbox_head
    outs = head(features)
    if type(head).__name__ == 'YOLOXHead':
        return head.predict_by_feat(
            *outs, batch_img_metas=metas, rescale=True)[0]
    outs = [[level[0] for level in maps] for maps in outs]  # one image
    if len(outs) == 2:
        outs.append([None] * len(outs[0]))
    priors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in outs[0]], device=outs[0][0].device)
    return head._predict_by_feat_single(
        *outs, priors, metas[0], head.test_cfg, rescale=True)


def logits_of(model, data):
    """The neck's maps (leaves), and the logits (R, C) of all that the head
    could choose, with a graph."""
    with torch.no_grad():
        inputs, samples = preprocess(model, data)
        leaves = model.extract_feat(inputs)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    if hasattr(model, 'roi_head'):
        with torch.no_grad():
            proposals = model.rpn_head.predict(leaves, samples, rescale=False)
            boxes = proposals[0].bboxes
        rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
        head = model.roi_head
        pooled = head.bbox_roi_extractor(
            leaves[:head.bbox_roi_extractor.num_inputs], rois)
        return leaves, head.bbox_head(pooled)[0]
    if hasattr(model, 'encoder'):
        inputs = model.forward_transformer(tuple(leaves), samples)
        return leaves, model.bbox_head(inputs['hidden_states'][-1:])[0][-1][0]
    classes = model.bbox_head.num_classes
    return leaves, torch.cat([
        level[0].permute(1, 2, 0).reshape(-1, classes)
        for level in model.bbox_head(leaves)[0]])


@dataclass(frozen=True)
class Gradients:
    """The gradients of an image's first detections; what one method or
    another makes of them are its heat maps.

    Args:
        results (InstanceData): The detections, with a graph.
        features (list[Tensor]): The layer's maps, each (1, C, h, w).
        gradients (list): For each detection and output, ``∂Y/∂A`` of each
            level, shape (C, h, w), or None where it does not depend on it.
        meta (dict): Meta information of the image.
        input_shape (tuple): Height and width of the padded input.
    """
    results: InstanceData
    features: list[Tensor]
    gradients: list[list[list[Tensor | None]]]
    meta: dict
    input_shape: tuple

    def heatmaps(self, level_map: Callable[[Tensor, Tensor], Tensor]
                 ) -> Tensor:
        """Make the heat maps (N, H, W) of a method that makes a map (h, w) of
        a gradient and a feature map (C, h, w)."""
        return torch.stack([self.heatmap(outputs, level_map)
                            for outputs in self.gradients])

    def heatmap(self, outputs: Sequence[Sequence[Tensor | None]],
                level_map: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        features = [feature.detach()[0] for feature in self.features]
        joined = [torch.zeros_like(feature[0]) for feature in features]
        for gradients in outputs:
            for level, gradient in enumerate(gradients):
                if gradient is not None:
                    product = level_map(gradient, features[level]).relu()
                    joined[level] = torch.maximum(joined[level], product)
        maps = [to_image(grid, stride_of(self.input_shape, feature), self.meta)
                for grid, feature in zip(joined, features)]
        heatmap = torch.stack(maps).amax(dim=0)
        span = heatmap.max() - heatmap.min()
        return (heatmap - heatmap.min()) / (span if span else 1)


def gradients_of(model: nn.Module, data: dict, count: int,
                 outputs: int = 5, layer: str = 'neck') -> Gradients:
    """Take the gradients of the first outputs (score, x1, y1, x2, y2) of the
    first detections."""
    features, results, meta, input_shape = forward(model, data, layer)
    results = results[:count]
    scale = results.bboxes.new_tensor(meta['scale_factor'] * 2)
    gradients = [[
        [None if gradient is None else gradient[0]
         for gradient in torch.autograd.grad(
             output, features, retain_graph=True, allow_unused=True)]
        for output in (score, *(box * scale))[:outputs]
    ] for score, box in zip(results.scores, results.bboxes)]
    return Gradients(results, features, gradients, meta, input_shape)


def odam(model: nn.Module, data: dict, count: int,
         layer: str = 'neck') -> tuple[InstanceData, Tensor]:
    """Return the first detections and their ODAM heat maps (count, H, W)."""
    gradients = gradients_of(model, data, count, layer=layer)
    return gradients.results, gradients.heatmaps(
        lambda gradient, feature: (gradient * feature).sum(dim=0))


def stride_of(input_shape: tuple, feature: Tensor) -> int:
    """Return the stride of a feature pyramid's level: 8, 16, 32, 64 or
    128."""
    for stride in (4, 8, 16, 32, 64, 128):
        if tuple(-(-size // stride) for size in input_shape) == tuple(
                feature.shape[-2:]):
            return stride
    raise AssertionError(f'no stride for {input_shape}, {feature.shape}')


def to_image(grid: Tensor, stride: int, meta: dict) -> Tensor:
    """Resize to the padded input, crop the padding, resize to the image."""
    height, width = meta['ori_shape']
    scale_w, scale_h = meta['scale_factor']
    padded = F.interpolate(
        grid[None, None], scale_factor=stride, mode='bilinear')
    content = padded[..., :round(height * scale_h), :round(width * scale_w)]
    return F.interpolate(content, size=(height, width), mode='bilinear')[0, 0]

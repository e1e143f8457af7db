# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The mask branch of two-stage detectors."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models.detectors import BaseDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.structures import InstanceData
from torch import nn

from ..gradients import RoIStage
from ..swapping import swapped


@contextmanager
def without_masks(model: nn.Module) -> Iterator[None]:
    """Let a two-stage detector predict boxes alone in this context.

    Masks change neither boxes nor scores, and take longer than all the rest.
    What the mask branch does about boxes is done: it takes them back to the
    size of the original image.
    """
    roi_head: Any = getattr(model, 'roi_head', None)
    if not getattr(roi_head, 'with_mask', False):
        yield
        return
    arguments = signature(roi_head.predict_mask)
    if not {'results_list', 'batch_img_metas'} <= set(arguments.parameters):
        yield  # a head of one's own, that does it another way
        return

    def rescaled(*args: Any, **kwargs: Any) -> list[InstanceData]:
        given = arguments.bind(*args, **kwargs).arguments
        for results, meta in zip(given['results_list'],
                                 given['batch_img_metas']):
            if given.get('rescale'):
                results.bboxes = results.bboxes / results.bboxes.new_tensor(
                    meta['scale_factor']).repeat(1, 2)
        return given['results_list']

    with swapped(roi_head, 'predict_mask', rescaled):
        yield


def mask_stage(model: BaseDetector) -> RoIStage | None:
    """Return the mask branch as a stage that runs on the final boxes; None
    where there is none, or masks are made in another way as well."""
    roi_head = model.roi_head
    kind = type(roi_head)
    if not (isinstance(roi_head, StandardRoIHead) and roi_head.with_mask
            and kind._mask_forward is StandardRoIHead._mask_forward
            and kind.predict_mask is StandardRoIHead.predict_mask):
        return None
    head, extractor = roi_head.mask_head, roi_head.mask_roi_extractor
    if not (isinstance(head, FCNMaskHead) and pools_simply(extractor)
            and type(head).predict_by_feat is FCNMaskHead.predict_by_feat
            and extractor.num_inputs ==
            roi_head.bbox_roi_extractor.num_inputs):
        return None
    shared_head = getattr(roi_head, 'shared_head', None) or nn.Identity()
    return RoIStage.of_head(extractor, shared_head, head)


def pools_simply(extractor: nn.Module) -> bool:
    """Whether each RoI is pooled from one level by RoIAlign that takes
    means."""
    return isinstance(extractor, SingleRoIExtractor) and \
        type(extractor).forward is SingleRoIExtractor.forward and \
        all(isinstance(layer, RoIAlign) and layer.pool_mode == 'avg'
            for layer in extractor.roi_layers)

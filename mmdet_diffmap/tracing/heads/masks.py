# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The mask branch of two-stage detectors: left out, run, or run fast."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import Signature, signature
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.detectors import BaseDetector, TwoStagePanopticSegmentor
from mmdet.models.roi_heads import MaskScoringRoIHead, StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..gradients import RoIStage
from ..swapping import swapped


@contextmanager
def without_masks(model: nn.Module) -> Iterator[None]:
    """Let a two-stage detector predict boxes alone in this context, where its
    results do not depend on masks.

    Masks take longer than all the rest. What the mask branch does about boxes
    is done: it takes them back to the size of the original image.
    """
    roi_head: Any = getattr(model, 'roi_head', None)
    arguments = mask_arguments(model)
    if arguments is None or needs_masks(model):
        yield
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


@contextmanager
def constant_boxes(model: nn.Module) -> Iterator[None]:
    """Let masks not depend on the boxes in which a two-stage detector looks
    for them, in this context."""
    roi_head: Any = getattr(model, 'roi_head', None)
    arguments = mask_arguments(model)
    if arguments is None:
        yield
        return
    predict_mask = roi_head.predict_mask

    def predict(*args: Any, **kwargs: Any) -> Any:
        for results in arguments.bind(*args, **kwargs).arguments[
                'results_list']:
            for name in 'bboxes', 'proposals':
                if name in results:
                    with torch.no_grad():  # here detach does nothing
                        results[name] = results[name].clone()
        return predict_mask(*args, **kwargs)

    with swapped(roi_head, 'predict_mask', predict):
        yield


def mask_arguments(model: nn.Module) -> Signature | None:
    """Return the arguments of a two-stage detector's mask branch; None if it
    has none, or one of one's own that takes something else."""
    roi_head: Any = getattr(model, 'roi_head', None)
    if not getattr(roi_head, 'with_mask', False):
        return None
    arguments = signature(roi_head.predict_mask)
    return arguments if {'results_list', 'batch_img_metas'} <= set(
        arguments.parameters) else None


def needs_masks(model: nn.Module) -> bool:
    """Whether a two-stage detector's results depend on its masks: scores of
    Mask Scoring R-CNN are multiplied by the masks' quality, and a panoptic
    detector gives segments."""
    return isinstance(model, TwoStagePanopticSegmentor) or isinstance(
        getattr(model, 'roi_head', None), MaskScoringRoIHead)


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
            and type(head).forward is FCNMaskHead.forward
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


def extractor_arguments(extractor: nn.Module, args: tuple[Any, ...],
                        kwargs: dict[str, Any]
                        ) -> tuple[Sequence[Tensor], Tensor, float | None]:
    """Return the levels, the RoIs and their scale (None: as they are) with
    which an extractor was called that :func:`pools_simply`."""
    given = signature(extractor.forward).bind(*args, **kwargs)
    given.apply_defaults()
    levels, rois, scale = given.args
    return levels, rois, scale

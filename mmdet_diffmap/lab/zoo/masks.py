# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What the gradients of the output ``mask`` are compared with.

mmdet's own methods run from their source, in which a line or two are changed:
the comparison with a threshold is left out, or what goes into it is noted. So
the reference is the host's whole prediction with its own numbers, and knows
nothing of how the package finds them.
"""
from __future__ import annotations

import inspect
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.models.utils import select_single_mlvl
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...tracing.detector import DetectorAdapter
from ...tracing.heads.attached import CopiedTensors
from ...tracing.modes import evaluation_mode
from ...tracing.nested import map_tensors
from ...tracing.swapping import swapped
from ...tracing.trace import MASK, whole_gradients

#: Methods of mmdet, by their names, and what is changed in their source:
#: (there, in its place). ``noted`` is a dictionary of lists.
CHANGES: dict[str, list[tuple[str, str]]] = {
    'CondInstMaskHead._predict_by_feat_single': [(' > cfg.mask_thr', '')],
    'YOLACTProtonet._predict_by_feat_single': [(' > cfg.mask_thr', '')],
    'RTMDetInsHead._bbox_mask_post_process': [
        ('masks = masks > cfg.mask_thr_binary', 'pass')],
    **{f'{kind}._predict_by_feat_single': [
        ('results.masks = masks', 'results.masks = mask_preds')]
       for kind in ('SOLOHead', 'DecoupledSOLOHead', 'SOLOV2Head')},
    'MaskFormerFusionHead.instance_postprocess': [
        ('results.masks = mask_pred_binary', 'results.masks = mask_pred'),
        ('results = InstanceData()',
         'noted["are logits"] = [True]; results = InstanceData()')],
    'MaskFormerFusionHead.panoptic_postprocess': [
        ('mask_pred = mask_pred.sigmoid()',
         'logits = mask_pred; mask_pred = mask_pred.sigmoid()'),
        ('if not isthing:',
         'noted["parts"].append((pred_class + isthing * instance_id * '
         'INSTANCE_OFFSET, logits[keep][k][mask]))\n'
         '                if not isthing:')],
    # cells of a grid, before it is pasted into a box; a probability may be 1
    # but for rounding, so the logit is not computed from it
    'FCNMaskHead._predict_by_feat_single': [
        ('mask_preds = mask_preds.sigmoid()',
         'logits, mask_preds = mask_preds, mask_preds.sigmoid()'),
        ('mask_preds = bboxes.new_tensor(mask_preds)',
         'logits = torch.logit(mask_preds)'),
        ('mask_preds = mask_preds[range(N), labels][:, None]',
         'mask_preds, logits = (each[range(N), labels][:, None]\n'
         '                              for each in (mask_preds, logits))'),
        ('for inds in chunks:',
         'noted["grids"].append((mask_preds[:, 0], logits[:, 0]))\n'
         '    for inds in chunks if noted["paste"] else ():')],
    # where the host detaches what it averages
    **{f'{kind}.predict_mask': [('.sigmoid().detach()', '.sigmoid()')]
       for kind in ('CascadeRoIHead', 'HybridTaskCascadeRoIHead')},
    # boxes are constants
    'PointRendRoIHead.predict_mask': [
        ('res.bboxes for res', 'res.bboxes.detach() for res')],
    'HeuristicFusionHead._lay_masks': [
        ('left_labels.append(_cls)',
         'left_labels.append(_cls); noted["rows"].append(int(order[idx]))')],
    'HeuristicFusionHead._predict_single': [
        ('seg_results = seg_preds.argmax',
         'noted["stuff"].append(seg_preds); seg_results = seg_preds.argmax'),
        ('pan_results[_mask] = segment_id',
         'pan_results[_mask] = segment_id; '
         'noted["things"].append((int(segment_id), idx))')],
}


def mask_difference(adapter: DetectorAdapter, data: dict[str, Any],
                    chosen: Sequence[int]) -> tuple[float, str]:
    """Return the largest difference of the gradients of the output ``mask``
    to those of the reference, as a share of the largest element of each.

    Masks of random weights may have no pixel, and then no gradient: more
    detections than those chosen are compared until as many of them have one.

    Args:
        adapter (DetectorAdapter): The detector.
        data (dict): A batch of one image.
        chosen (Sequence[int]): Which detections come first.

    Returns:
        tuple: The difference, NaN where there is none; and why there is none
        although there are masks.

    Raises:
        ValueError: If a gradient is not finite.
    """
    trace = adapter.trace(data)
    if trace.masks is None:
        return math.nan, ''
    naive = naive_masks(adapter, data, trace.detections)
    if naive is None:
        return math.nan, 'no reference for masks'
    values, leaves = naive
    rows: list[int] = []
    expected: list[list[Tensor | None]] = []
    with_gradient = 0
    # 0 is the value of an empty mask
    for row in [*chosen, *(row for row in spread(len(values))
                           if row not in chosen and values[row] != 0)]:
        rows.append(row)
        expected.append(naive_gradients(values[row], leaves))
        with_gradient += largest(expected[-1]) > 0
        if with_gradient == len(chosen):
            break
    ours = whole_gradients(trace.select(rows).gradients([MASK]))
    worst = 0.
    for detection, levels in enumerate(expected):
        given = ours.get((detection, MASK), {})
        for level, gradient in enumerate(levels):
            off = given.get(level, torch.zeros(())) - (
                torch.zeros(()) if gradient is None else gradient[0])
            worst = max(worst, largest([off]) / (largest(levels) or 1.))
    if not with_gradient and not worst:
        return math.nan, 'no mask has a pixel'
    return worst, ''


def spread(count: int) -> list[int]:
    """List the numbers below ``count``: the first, the last, the one in the
    middle, and then the others.

    >>> spread(5)
    [0, 4, 2, 1, 3]
    """
    return list(dict.fromkeys(
        [*range(count)[:1], *range(count)[-1:], *range(count)[
            count // 2:count // 2 + 1], *range(count)]))


def largest(gradients: Iterable[Tensor | None]) -> float:
    """Return the largest element of gradients; 0 of none.

    Raises:
        ValueError: If one is not finite, with which nothing can be compared.
    """
    value = 0.
    for gradient in gradients:
        if gradient is not None:
            if not gradient.isfinite().all():
                raise ValueError('a gradient is not finite')
            value = max(value, float(gradient.abs().max()))
    return value


def naive_gradients(value: Tensor,
                    leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """Take the gradients of a mask by a backward pass through the whole
    detector.

    Args:
        value (Tensor): Of :func:`naive_masks`, as the leaves.
        leaves (Sequence[Tensor]): The target layer's maps.

    Returns:
        list: By level, (1, C, H, W) or None where nothing depends on it.
    """
    if not value.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(value, leaves, retain_graph=True,
                                    allow_unused=True))


def naive_masks(adapter: DetectorAdapter, data: dict[str, Any],
                detections: InstanceData
                ) -> tuple[list[Tensor], list[Tensor]] | None:
    """Compute the mean logits in the masks of all detections.

    Args:
        adapter (DetectorAdapter): The detector, with a target layer that is a
            module.
        data (dict): A batch of one image.
        detections (InstanceData): The detections, with their masks if these
            are no pasted grids.

    Returns:
        tuple: The mean logit of each, 0 where a mask is empty, and the target
        layer's maps, of which they are made; None if there is no reference
        for the detector.
    """
    leaves: list[Tensor] = []

    def cut(module: nn.Module, args: Any, output: Any) -> Any:
        torch.set_grad_enabled(True)
        leaves.clear()
        leaves.extend(map_tensors(
            lambda tensor: tensor.detach().requires_grad_(), list(output)))
        return type(output)(leaf.clone() for leaf in leaves)

    assert adapter.target is not None
    noted: dict[str, list[Any]] = {
        name: [] for name in ('grids', 'parts', 'rows', 'stuff', 'things')}
    # mmdet cannot paste into boxes outside of the image; segments need it
    noted['paste'] = [True] * hasattr(adapter.model, 'panoptic_fusion_head')
    hook = adapter.target.module.register_forward_hook(cut)
    try:
        with torch.no_grad(), evaluation_mode(adapter.model), \
                CopiedTensors(), \
                changed_sources(adapter.model, noted) as changed:
            if not changed:
                return None
            inputs, sample = adapter.preprocess(data, 0)
            (sample, ) = adapter.model.predict(inputs, [sample])
    finally:
        hook.remove()
    with torch.enable_grad():
        return naive_values(adapter, sample, noted, detections), leaves


@contextmanager
def changed_sources(model: nn.Module,
                    noted: dict[str, list[Any]]) -> Iterator[list[str]]:
    """Let a detector's modules run with changed sources in this context.

    Yields:
        list[str]: The methods that are changed.
    """
    changed = []
    with ExitStack() as stack:
        for name, user in list(sys.modules.items()):
            if name != __name__ and getattr(user, '__dict__', {}).get(
                    'select_single_mlvl') is select_single_mlvl:
                stack.enter_context(swapped(
                    user, 'select_single_mlvl', with_graph))
        for module in [*model.modules()]:
            for name in {key.partition('.')[2] for key in CHANGES}:
                function = getattr(type(module), name, None)
                changes = CHANGES.get(getattr(function, '__qualname__', ''))
                if function is not None and changes is not None:
                    stack.enter_context(swapped(module, name, MethodType(
                        from_source(function, changes, noted), module)))
                    changed.append(function.__qualname__)
        yield changed


def with_graph(maps: Sequence[Tensor], image: int,
               detach: bool = True) -> list[Tensor]:
    """Pick an image's maps as mmdet does, and detach nothing."""
    return select_single_mlvl(maps, image, detach=False)


def from_source(function: Callable, changes: Sequence[tuple[str, str]],
                noted: dict[str, list[Any]]) -> Callable:
    """Return a function with another source."""
    source = textwrap.dedent(inspect.getsource(function))
    for there, in_its_place in changes:
        if there not in source:
            raise ValueError(f'{function.__qualname__} has no {there!r}')
        source = source.replace(there, in_its_place)
    names = dict(function.__globals__, noted=noted)
    exec(compile(source, inspect.getfile(function), 'exec'), names)
    changed: Callable = names[function.__name__]
    return changed


def naive_values(adapter: DetectorAdapter, sample: Any,
                 noted: dict[str, list[Any]],
                 detections: InstanceData) -> list[Tensor]:
    """Compute the mean logit in the mask of each detection."""
    if noted['grids']:
        threshold = adapter.model.roi_head.test_cfg.mask_thr_binary
        grids = [mean_or_zero(logits[grid >= threshold])
                 for image in noted['grids'] for grid, logits in zip(*image)]
        if not noted['stuff']:
            return grids
    if 'pred_instances' in sample:
        real = sample.pred_instances.masks
        return [mean_or_zero(each[mask] if noted.get('are logits') else
                             torch.logit(each[mask]))
                for each, mask in zip(real, detections.masks)]
    numbers = sample.pred_panoptic_seg.sem_seg[0]
    values = []
    for mask in detections.masks:
        (segment, ) = numbers[mask].unique().tolist()
        if noted['parts']:
            values.append(torch.cat([logits for number, logits in
                                     noted['parts'] if number == segment]
                                    ).mean())
        elif segment >= INSTANCE_OFFSET:
            index = dict(noted['things'])[segment]
            values.append(grids[noted['rows'][index]])
        else:
            channel = segment - adapter.model.num_things_classes
            values.append(noted['stuff'][0][channel][mask].mean())
    return values


def mean_or_zero(values: Tensor) -> Tensor:
    """Return the mean of values; 0 of none."""
    return values.mean() if len(values) else values.new_zeros(())

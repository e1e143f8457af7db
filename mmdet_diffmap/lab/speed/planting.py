# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Detections at given places, from any detector, with any weights."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from torch import Tensor

from ...tracing.heads import cut_heads
from ...tracing.nested import flat_tensors, map_tensors

SIGMOID = 8.0  # logit of a planted detection's class where it has a sigmoid
SOFTMAX = 12.0  # the same where classes share a softmax
STEP = 0.01  # by which each planted detection is below the one before
WIDTH = 8  # strides that an object of a level is wide


def coco_boxes(path: str | os.PathLike, seed: int = 0) -> np.ndarray:
    """Read the boxes of COCO annotations in random order, shape (N, 4), last
    dim (x1, y1, x2, y2), each as a share of its image's width and height."""
    with open(path) as file:
        data = json.load(file)
    sizes = {image['id']: (image['width'], image['height'])
             for image in data['images']}
    boxes = []
    for annotation in data['annotations']:
        width, height = sizes[annotation['image_id']]
        x, y, w, h = annotation['bbox']
        if not annotation.get('iscrowd') and w >= 1 and h >= 1:
            boxes.append([x / width, y / height, (x + w) / width,
                          (y + h) / height])
    return np.random.default_rng(seed).permutation(np.array(boxes))


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    """Draw boxes anywhere, their sides from 3 % to 90 % of the image's, small
    ones as often as large ones; as :func:`coco_boxes` gives them.

    >>> random_boxes(5).shape
    (5, 4)
    """
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(math.log(0.03), math.log(0.9), (count, 2)))
    corners = rng.uniform(0, 1 - sides)
    return np.concatenate([corners, corners + sides], axis=1)


@contextmanager
def planted(model: BaseDetector, boxes: np.ndarray,
            input_shape: tuple[int, int]) -> Iterator[None]:
    """Let a detector find an object for each box, in this context.

    Constants are added to the class scores of one location, query or proposal
    for each box, at the box's centre and on the level of its size, so that
    mmdet's own post-processing selects it. Gradients are as they would be.
    The boxes that the detector then reports are its own.

    Args:
        model (BaseDetector): The detector.
        boxes (np.ndarray): See :func:`coco_boxes`.
        input_shape (tuple): Height and width of the input.

    Raises:
        TypeError: If the detector's head is not known.
    """
    height, width = input_shape
    pixels = boxes * [width, height, width, height]
    head = cut_heads(model)[-1]

    def hook(module: Any, args: Any, output: Any) -> Any:
        raw = flat_tensors(output)
        if all(tensor.dim() == 4 and len(tensor) == 1 and
               min(tensor.shape[2:]) > 0 for tensor in raw) and len(raw) > 2:
            changed = iter(plant_in_levels(raw, pixels, input_shape, module))
        else:
            changed = iter([plant_in_rows(raw[0], len(pixels)), *raw[1:]])
        return map_tensors(lambda tensor: next(changed), output)

    with ExitStack() as stack:
        stack.callback(head.register_forward_hook(hook).remove)
        if hasattr(model, 'rpn_head') and hasattr(model, 'roi_head'):
            stack.enter_context(proposed(model.rpn_head, pixels))
        yield


def plant_in_levels(raw: list[Tensor], pixels: np.ndarray,
                    input_shape: tuple[int, int], head: Any) -> list[Tensor]:
    """Raise class scores, and what weights them, in the maps of all levels:
    class maps come first, maps of one value for each place (centerness,
    objectness) last."""
    levels = 1  # the class maps get smaller, and the next output begins large
    while raw[levels].shape[1] == raw[0].shape[1] and \
            raw[levels].shape[2:].numel() <= raw[levels - 1].shape[2:].numel():
        levels += 1
    outputs = [raw[start:start + levels]
               for start in range(0, len(raw), levels)]
    strides = [input_shape[0] / level.shape[2] for level in outputs[0]]
    classes = head.cls_out_channels
    for number, (x1, y1, x2, y2) in enumerate(pixels):
        side = math.sqrt((x2 - x1) * (y2 - y1)) / WIDTH
        level = min(range(levels),
                    key=lambda i: abs(math.log(strides[i] / side)))
        size = outputs[0][level].shape[2:]
        row, column = (
            min(int(middle * cells / length), cells - 1)
            for middle, cells, length in zip(
                ((y1 + y2) / 2, (x1 + x2) / 2), size, input_shape))
        anchor = outputs[0][level].shape[1] // classes // 2
        for maps in outputs:
            if maps is outputs[1]:
                continue  # boxes
            channel = anchor
            if maps is outputs[0]:
                channel = anchor * classes + number % classes
            maps[level] = raise_to(maps[level], (0, channel, row, column),
                                 SIGMOID - number * STEP)
    return [level for maps in outputs for level in maps]


def plant_in_rows(scores: Tensor, count: int) -> Tensor:
    """Raise class scores (..., K, classes + 1) of proposals or queries.

    Raises:
        ValueError: If there are fewer than ``count`` of them.
    """
    if count > scores.shape[-2]:
        raise ValueError(f'{count} objects do not fit into '
                         f'{scores.shape[-2]} queries or proposals')
    for number in range(count):
        place = (*[0] * (scores.dim() - 2), number,
                 number % (scores.shape[-1] - 1))
        scores = raise_to(scores, place, SOFTMAX - number * STEP)
    return scores


def raise_to(raw: Tensor, place: tuple[int, ...], value: float) -> Tensor:
    """Add a constant to ``raw`` so that it is ``value`` at ``place``.

    >>> raise_to(torch.tensor([1., 2.]), (0, ), 8.)
    tensor([8., 2.])
    """
    constant = torch.zeros_like(raw)
    constant[place] = value - raw[place].detach()
    return raw + constant


@contextmanager
def proposed(rpn_head: Any, pixels: np.ndarray) -> Iterator[None]:
    """Let the first proposals be given boxes."""
    predict = rpn_head.predict

    def replaced(*args: Any, **kwargs: Any) -> Any:
        (proposals, ) = predict(*args, **kwargs)
        boxes = proposals.bboxes.clone()
        count = min(len(pixels), len(boxes))
        boxes[:count] = boxes.new_tensor(pixels[:count])
        proposals.bboxes = boxes
        return [proposals]

    rpn_head.predict = replaced
    try:
        yield
    finally:
        del rpn_head.predict

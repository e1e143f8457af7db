# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Taking away what a detector has learned, part by part, from the head down
(Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)."""
from __future__ import annotations

from contextlib import ExitStack

import torch
from mmdet.models.detectors import BaseDetector
from torch import nn

from ...apis.image_pipeline import image_pipeline
from ...tracing.detector import DetectorAdapter


def parts_from_the_head(model: BaseDetector, image: str) -> list[str]:
    """Find the parts of a detector that have weights, in the reverse order of
    their last calls.

    A part is a child of a child of the detector, such as ``backbone.layer4``,
    ``neck.fpn_convs`` or ``bbox_head.conv_cls``; for the box head of a
    two-stage detector, a child of that; and where it is a list of ``layers``,
    one of them. What has weights and is never called comes last.

    Args:
        model (BaseDetector): The detector.
        image (str): The path of an image for one run.

    Returns:
        list[str]: The paths of the modules.
    """
    owners = {
        name: part_of(name) for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }
    called: list[str] = []
    with ExitStack() as stack:
        for name in owners:
            stack.callback(
                model.get_submodule(name).register_forward_hook(
                    lambda module, args, output, name=name: called.append(
                        owners[name])).remove)
        DetectorAdapter(model, None).trace(image_pipeline(model)(image).batch)
    last_first = list(dict.fromkeys(reversed(called)))
    return last_first + [part for part in dict.fromkeys(owners.values())
                         if part not in last_first]


def part_of(name: str) -> str:
    """Return the part to which a module belongs, by their paths.

    >>> part_of('backbone.layer4.1.conv2')
    'backbone.layer4'
    """
    path = name.split('.')
    depth = 3 if path[0] == 'roi_head' else 2
    if len(path) > depth and path[depth - 1] == 'layers':
        depth += 1
    return '.'.join(path[:depth])


def randomize(module: nn.Module, generator: torch.Generator) -> None:
    """Replace each parameter, in place, by normal noise of its mean and
    standard deviation; single numbers and the running statistics of BatchNorm
    stay, so that the activations keep their order of magnitude.

    Args:
        module (nn.Module): The module.
        generator (torch.Generator): Of the CPU, so that all devices get the
            same.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise.to(parameter) * parameter.std()
                                + parameter.mean())

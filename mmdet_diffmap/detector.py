# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detector adapter: the only place that knows mmdet's internals."""
import copy
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.model import is_model_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .gradients import DenseGradients
from .image_frame import ImageFrame
from .nested import map_tensors
from .target_layer import TargetLayer
from .trace import Trace, recording


class DetectorAdapter:
    """Runs a detector so that its detections can be explained.

    mmdet's own ``predict`` runs unchanged, with two hooks for the time of the
    call: one makes the target layer's maps ``A`` leaves of the graph, one cuts
    the graph at the head's raw maps. Nothing of the model changes.

    Args:
        model (BaseDetector): The detector; a wrapped one (DDP) will do.
        target_layer (str): The module whose maps are explained, as a path
            from the model: ``neck``, ``backbone.layer4``; ``neck[0]`` is the
            first of several maps.
    """

    def __init__(self, model: nn.Module, target_layer: str = 'neck') -> None:
        if is_model_wrapper(model):
            model = model.get_submodule('module')
        if not isinstance(model, BaseDetector):
            raise TypeError('model must be a detector of mmdet, not '
                            f'{type(model).__name__}')
        self.model = model
        self.head = find_head(model)
        self.target = TargetLayer(model, target_layer)

    def trace(self, data: dict, index: int = 0) -> Trace:
        """Detect the objects of one image.

        Args:
            data (dict): A batch as the test loop gets it: ``inputs``, a list
                of (3, H, W) images or one (B, 3, H, W) tensor, and
                ``data_samples``. It is left as it is.
            index (int): Which image of the batch. The others are only there
                for the padding.

        Returns:
            Trace: All final detections, in mmdet's order.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())  # until the target layer
            stack.enter_context(evaluation_mode(self.model))
            inputs, sample = self._preprocess(data, index)
            features = stack.enter_context(self.target.capture())
            raw, cut = stack.enter_context(cut_graph(self.head))
            stack.enter_context(attached_selection(self.head))
            (sample, ) = self.model.predict(inputs, [sample])
            predictions = sample.pred_instances
            height, width = inputs.shape[-2:]
            frame = ImageFrame.of_sample(sample, (height, width))
            with recording():
                outputs = differentiable_outputs(predictions, frame)
        self.target.check(features, [outputs, *raw])
        if len(outputs) and not outputs.requires_grad:
            raise RuntimeError(
                f'the predictions of {type(self.head).__name__} carry no '
                'gradient: its post-processing detaches them')
        return Trace(
            detections=InstanceData(
                bboxes=predictions.bboxes.detach(),
                scores=predictions.scores.detach(),
                labels=predictions.labels),
            outputs=outputs,
            features=[feature.detach()[0] for feature in features],
            frame=frame,
            source=DenseGradients(features, raw, cut))

    def _preprocess(self, data: dict,
                    index: int) -> tuple[Tensor, DetDataSample]:
        """The normalised input (1, 3, H, W) and a data sample of one image,
        padded as in its batch."""
        count = len(data['data_samples'])
        if not 0 <= index < count:
            raise ValueError(f'index {index} is none of a batch of {count}')
        data = dict(data, data_samples=copy.deepcopy(data['data_samples']))
        data = self.model.data_preprocessor(data, False)
        # a clone of an inference tensor can take part in a graph
        return (data['inputs'][index:index + 1].clone(),
                data['data_samples'][index])


def find_head(model: BaseDetector) -> nn.Module:
    """The module whose outputs become the final detections: the box head of a
    two-stage detector, the only head of another.

    Raises:
        TypeError: If the detector has no such module.
    """
    head = getattr(getattr(model, 'roi_head', model), 'bbox_head', None)
    if not isinstance(head, nn.Module) or isinstance(head, nn.ModuleList):
        raise TypeError(
            f'{type(model).__name__} has no single box head (bbox_head or '
            'roi_head.bbox_head); supported are one-stage, two-stage and '
            'DETR detectors')
    return head


def differentiable_outputs(predictions: InstanceData,
                           frame: ImageFrame) -> Tensor:
    """Score and box (x1, y1, x2, y2) in input pixels, shape (N, 5)."""
    return torch.cat([
        predictions.scores[:, None],
        frame.to_input(predictions.bboxes),
    ], dim=1)


@contextmanager
def cut_graph(
        head: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Cut the graph at a head's outputs for the time of the context.

    Yields:
        tuple: Two lists that fill as the head runs: its raw maps, and the
        leaves that take their place in what follows.
    """
    raw: list[Tensor] = []
    cut: list[Tensor] = []

    def replace(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        leaf = tensor.detach().requires_grad_()
        raw.append(tensor)
        cut.append(leaf)
        return leaf.clone()  # a leaf may not be changed in place

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return map_tensors(replace, output)

    handle = head.register_forward_hook(hook)
    try:
        yield raw, cut
    finally:
        handle.remove()


@contextmanager
def attached_selection(head: nn.Module) -> Iterator[None]:
    """Let gradients through mmdet's ``select_single_mlvl``.

    Dense heads pick an image's maps out of the batch with this function, and
    tell it to detach them.
    """
    name = 'select_single_mlvl'
    modules = {sys.modules[base.__module__] for base in type(head).__mro__}
    originals = {m: vars(m)[name] for m in modules if name in vars(m)}

    def attached(select: Any) -> Any:
        return lambda maps, index, detach=True: select(
            maps, index, detach=False)

    try:
        for module, select in originals.items():
            setattr(module, name, attached(select))
        yield
    finally:
        for module, select in originals.items():
            setattr(module, name, select)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; each module gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # backbones freeze parameters in eval()
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explaining the detections of an image."""
import copy
import os
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import psutil
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose, pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..detector import DetectorAdapter
from ..explainers import (
    DifferenceMap,
    Explainer,
    ExplainerLike,
    build_explainer,
)
from ..explanation import Explanation
from ..trace import Trace
from .images import check_array, read_image


def explain(model: nn.Module,
            image: str | os.PathLike | np.ndarray,
            explainer: ExplainerLike = 'ODAM',
            score_thr: float = 0.3,
            max_objects: int | None = None) -> DetDataSample:
    """Explain every object that a detector finds in an image.

    Args:
        model (nn.Module): A detector from :func:`load_detector` or mmdet's
            ``init_detector``.
        image (str | PathLike | np.ndarray): Path or URL of the image, or the
            image itself, uint8 BGR of shape (H, W, 3).
        explainer (Explainer | dict | str): The method; see
            :func:`~mmdet_diffmap.explainers.build_explainer`.
        score_thr (float): Only detections with a larger score are explained,
            and only they are "the others" of a difference map.
        max_objects (int, optional): At most so many of them, the best ones.

    Returns:
        DetDataSample: The detections in ``pred_instances``, in pixels of the
        original image: ``bboxes`` (N, 4), ``scores`` (N, ), ``labels`` (N, ),
        ``heatmaps`` (N, H, W) in [0, 1] and ``difference_maps`` (N, H, W),
        signed in [-1, 1]. With a :class:`DifferenceMap` as the explainer, the
        heat maps are those of its own explainer, and its option ``positive``
        holds.

    Raises:
        OSError: If the image cannot be read.
        ValueError: If an argument makes no sense.
        MemoryError: If the maps do not fit in memory.
    """
    if isinstance(image, np.ndarray):
        check_array(image)
    else:
        image = os.fspath(image)
        read_image(image)  # says what is wrong with it before the pipeline
    return explain_batch(model, single_batch(model, image), 0, explainer,
                         score_thr, max_objects)


def explain_batch(model: nn.Module,
                  data: dict,
                  index: int,
                  explainer: ExplainerLike = 'ODAM',
                  score_thr: float = 0.3,
                  max_objects: int | None = None) -> DetDataSample:
    """Explain one image of a batch as the test loop gets it.

    Args:
        model (nn.Module): The detector.
        data (dict): The batch; it is left as it is.
        index (int): Which image of it.
        explainer, score_thr, max_objects: See :func:`explain`.

    Returns:
        DetDataSample: See :func:`explain`.
    """
    (sample, ) = explain_each(model, data, index, [explainer], score_thr,
                              max_objects)
    return sample


def explain_each(model: nn.Module,
                 data: dict,
                 index: int,
                 explainers: Sequence[ExplainerLike],
                 score_thr: float = 0.3,
                 max_objects: int | None = None) -> Iterator[DetDataSample]:
    """Explain one image of a batch by several methods.

    One run of the detector serves several methods; see :func:`traces`.

    Args:
        explainers (Sequence): The methods; see :func:`explain`.
        model, data, index, score_thr, max_objects: See :func:`explain_batch`.

    Yields:
        DetDataSample: One for each method; see :func:`explain`.
    """
    for explanation in explanations(model, data, index, explainers, score_thr,
                                    max_objects):
        yield explanation.sample


def explanations(model: nn.Module,
                 data: dict,
                 index: int,
                 explainers: Sequence[ExplainerLike],
                 score_thr: float = 0.3,
                 max_objects: int | None = None,
                 by_output: bool = False) -> Iterator[Explanation]:
    """As :func:`explain_each`, with what the maps are made of.

    Args:
        by_output (bool): Whether to keep the maps on the detector's grids, of
            each output.
    """
    differences = [as_difference(explainer) for explainer in explainers]

    def select(trace: Trace) -> Trace:
        return select_objects(trace, score_thr, max_objects)

    for difference, trace in zip(
            differences, traces(model, data, index, differences, select)):
        method = difference.explainer
        check_memory(trace, method)
        heatmaps, grids = method.by_output(trace) if by_output else \
            (method(trace), {})
        sample = DetDataSample(metainfo=data['data_samples'][index].metainfo)
        sample.pred_instances = InstanceData(
            **trace.detections,
            heatmaps=heatmaps,
            difference_maps=difference.compare(heatmaps))
        yield Explanation(sample, trace.frame, grids)


def traces(model: nn.Module, data: dict, index: int,
           explainers: Sequence[Explainer],
           select: Callable[[Trace], Trace]) -> Iterator[Trace]:
    """The trace of one image of a batch for each of several explainers.

    One run of the detector serves all that follow each other and have the
    same target layer and statistics, or need no gradients.

    Args:
        model (nn.Module): The detector.
        data (dict): The batch.
        index (int): Which image of it.
        explainers (Sequence[Explainer]): The methods.
        select (Callable): Chooses the objects of a new trace.
    """
    settings = [(one.target_layer, one.statistics) for one in explainers]
    with_gradients = [one for one in settings if one[0] is not None]
    current, trace = None, None
    for setting in settings:
        if setting[0] is None:  # any run will do
            setting = current or (with_gradients or settings)[0]
        if trace is None or setting != current:
            current, trace = setting, None  # frees the last graph first
            trace = select(
                DetectorAdapter(model, *setting).trace(data, index))
        yield trace


def make_heatmaps(explainer: Explainer, trace: Trace) -> Tensor:
    """The explainer's maps (N, H, W).

    Raises:
        MemoryError: If they do not fit in memory.
    """
    check_memory(trace, explainer)
    return explainer(trace)


def as_difference(explainer: ExplainerLike) -> DifferenceMap:
    """The explainer, or the difference map of its heat maps."""
    explainer = build_explainer(explainer)
    return explainer if isinstance(explainer, DifferenceMap) else \
        DifferenceMap(explainer)


def select_objects(trace: Trace, score_thr: float,
                   max_objects: int | None) -> Trace:
    """The detections with a score above ``score_thr``, at most
    ``max_objects`` of them, best first."""
    if max_objects is not None and max_objects < 0:
        raise ValueError(
            f'max_objects must not be negative, but is {max_objects}')
    scores = trace.detections.scores
    order = torch.sort(scores, descending=True, stable=True).indices
    return trace.select(order[scores[order] > score_thr][:max_objects])


def single_batch(model: nn.Module, image: str | np.ndarray) -> dict:
    """A batch of one image, as the model's own test pipeline makes it.

    Args:
        model (nn.Module): A detector with its ``cfg``.
        image (str | np.ndarray): Path or URL, or uint8 BGR (H, W, 3).

    Raises:
        ValueError: If there is no pipeline, or it cannot take the image.
    """
    if not hasattr(model, 'cfg'):
        raise ValueError('the model does not know its test pipeline: set '
                         'model.cfg to its config')
    pipeline = [
        transform
        for transform in copy.deepcopy(get_test_pipeline_cfg(model.cfg))
        if not type_name(transform).endswith('Annotations')
    ]
    if isinstance(image, str):
        source = dict(img_path=image, img_id=0)
    else:
        source = dict(img=image, img_id=0)
        pipeline[0]['type'] = 'mmdet.LoadImageFromNDArray'
    try:
        return pseudo_collate([Compose(pipeline)(source)])
    except cv2.error as error:  # no pixel left of a side, for example
        raise ValueError('the config\'s test pipeline cannot resize this '
                         f'image: {error.err}') from error


def type_name(transform: dict) -> str:
    """The type of a transform's config, which is a name or a class."""
    kind = transform['type']
    return kind if isinstance(kind, str) else kind.__name__


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take."""
    if device.type != 'cuda':
        return psutil.virtual_memory().available
    kept = torch.cuda.memory_reserved(device) - \
        torch.cuda.memory_allocated(device)  # by torch, for the next ones
    return torch.cuda.mem_get_info(device)[0] + kept


def check_memory(trace: Trace, explainer: Explainer) -> None:
    """Raise a MemoryError if two sets of maps, and what the method needs to
    make them, are more than there is room for."""
    device = trace.outputs.device
    free = free_memory(device)
    height, width = trace.frame.image_shape
    spare = 4  # maps at work beside the finished ones
    bytes_per_value = 2 if explainer.half else 4
    needed = (2 * len(trace) + spare) * height * width * bytes_per_value + \
        explainer.working_memory(trace)
    if needed > free:
        raise MemoryError(
            f'the maps of {len(trace)} objects at {width}x{height} pixels '
            f'take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: '
            'lower max_objects, or make the image smaller')

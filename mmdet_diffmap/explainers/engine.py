# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""From a detector and a batch to the maps of an image: the one way that the
functions of ``apis``, the hook, the benchmark and all checks take."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import psutil
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from ..maps.image_frame import ImageFrame
from ..tracing.class_scores import check_classes
from ..tracing.detector import DetectorAdapter, unwrapped
from ..tracing.named_outputs import classes_of
from ..tracing.trace import Trace
from ..tracing.turns import one_at_a_time
from .difference_map import DifferenceMap
from .explainer import Explainer, ExplainerLike, Maps, build_explainer
from .words import words_of_methods


@dataclass(frozen=True)
class Selection:
    """Which detections of an image are its objects: the best ones.

    Called with a trace, it gives the trace of those.

    Args:
        score_thr (float): Only detections with a larger score.
        max_objects (int, optional): At most so many of them, best first.

    Raises:
        ValueError: If the threshold is not in [0, 1], or the number is
            negative.
    """
    score_thr: float = 0.3
    max_objects: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.score_thr <= 1:  # nor is NaN
            raise ValueError('score_thr must be in [0, 1], not '
                             f'{self.score_thr}')
        if self.max_objects is not None and self.max_objects < 0:
            raise ValueError('max_objects must not be negative, but is '
                             f'{self.max_objects}')

    def __call__(self, trace: Trace) -> Trace:
        scores = trace.detections.scores
        order = torch.sort(scores, descending=True, stable=True).indices
        return trace.select(
            order[scores[order] > self.score_thr][:self.max_objects])


@dataclass(frozen=True)
class PhraseSelection(Selection):
    """Chooses one object of an image, once for each phrase of the text that a
    detector was asked with, or for each of some classes: what differs between
    their maps is what speaks for one phrase and not for the others.

    Args:
        object_index (int): Which object of those that the
            :class:`Selection` has.
        names (tuple[str], optional): The phrases, or classes. Defaults to all
            phrases of the text.
    """
    object_index: int = 0
    names: tuple[str, ...] | None = None

    def __call__(self, trace: Trace) -> Trace:
        objects = super().__call__(trace)
        if not 0 <= self.object_index < len(objects):
            raise ValueError(f'there is no object {self.object_index}: the '
                             f'detector finds {len(objects)}, counted from 0')
        names = self.names
        if not names:
            if trace.prompt is None:
                raise ValueError('the detector is asked with no text, which '
                                 'would have phrases: name classes')
            return objects.of_classes(self.object_index)
        classes = classes_of(objects)
        return objects.of_classes(self.object_index,
                                  [classes.label(name) for name in names])


#: What is explained unless a caller says otherwise.
DEFAULT_SELECTION = Selection()


@dataclass(frozen=True)
class Explanation:
    """What a method says about the objects of an image.

    Args:
        sample (DetDataSample): The detections with their maps; see
            :func:`~mmdet_diffmap.explain`.
        frame (ImageFrame): Where the image lies in the network's input.
        maps (Maps): The maps, and what they are made of.
    """
    sample: DetDataSample
    frame: ImageFrame
    maps: Maps


def explain_image(model: nn.Module,
                  data: dict,
                  index: int,
                  explainers: Sequence[ExplainerLike],
                  selection: Callable[[Trace], Trace],
                  by_output: bool = False) -> Iterator[Explanation]:
    """Explain the objects of one image of a batch by several methods.

    Args:
        model (nn.Module): The detector; see :func:`check_explainable`.
        data (dict): A batch as the test loop gets it; it is left as it is.
        index (int): Which image of it.
        explainers (Sequence): The methods; see
            :func:`~mmdet_diffmap.explainers.build_explainer`. Of a difference
            map, its own options hold; of any other, difference maps are
            signed.
        selection (Callable): Chooses which detections are explained; a
            :class:`Selection`, for example.
        by_output (bool): Whether to keep the maps on the detector's grids, of
            each output.

    Yields:
        Explanation: One for each method, in their order.

    Raises:
        MemoryError: If the maps do not fit in memory.
    """
    methods = [as_difference(explainer) for explainer in explainers]
    check_explainable(model, methods)
    words = words_of_methods(model, data, index, methods, selection)
    for method, of_words, trace in zip(
            methods, words,
            trace_image(model, data, index, methods, selection)):
        maps = make_maps(method.explainer, trace, by_output)
        sample = DetDataSample(metainfo=data['data_samples'][index].metainfo)
        sample.pred_instances = InstanceData(
            **trace.detections,
            heatmaps=maps.heatmaps,
            difference_maps=method.compare(maps.heatmaps))
        if maps.evidence is not None:
            sample.pred_instances.evidence_maps = maps.evidence.maps
            sample.pred_instances.meanings = list(maps.meanings)
        if trace.prompt is not None and trace.prompt.phrases:
            sample.set_metainfo(dict(phrases=list(trace.prompt.phrases)))
            sample.pred_instances.label_names = [  # as the host does
                trace.prompt.phrases[label]
                for label in trace.detections.labels.tolist()]
        if of_words is not None:
            sample.pred_instances.words = of_words
        yield Explanation(sample, trace.frame, maps)


def trace_image(model: nn.Module, data: dict, index: int,
                explainers: Sequence[Explainer],
                select: Callable[[Trace], Trace]) -> Iterator[Trace]:
    """Run the detector on one image of a batch for each of several methods.

    One run serves all methods that follow each other and have the same target
    layer and statistics, or need no gradients.

    Args:
        model (nn.Module): The detector.
        data (dict): The batch.
        index (int): Which image of it.
        explainers (Sequence[Explainer]): The methods.
        select (Callable): Chooses the objects of a new trace; a
            :class:`Selection`, for example.

    Yields:
        Trace: One for each method, in their order.
    """
    check_explainable(model, explainers)
    settings = [(explainer.target_layer, explainer.statistics)
                for explainer in explainers]
    with_gradients = [setting for setting in settings
                      if setting[0] is not None]
    current, trace = None, None
    for setting in settings:
        if setting[0] is None:  # any run will do
            setting = current or (with_gradients or settings)[0]
        if trace is None or setting != current:
            current, trace = setting, None  # frees the last graph first
            trace = select(
                DetectorAdapter(model, *setting).trace(data, index))
        yield trace


def make_maps(explainer: Explainer,
              trace: Trace,
              by_output: bool = False) -> Maps:
    """Make the maps of a method; and, with ``by_output``, keep what they are
    made of, see :meth:`Explainer.maps`.

    Raises:
        MemoryError: If they do not fit in memory.
    """
    check_memory(trace, explainer)
    with one_at_a_time():
        # a class of one's own may do something else with what is called
        return explainer.maps(trace, by_output) \
            if by_output or explainer.evidence == 'both' \
            else Maps(explainer(trace))


def as_difference(explainer: ExplainerLike) -> DifferenceMap:
    """Build a method, and wrap one that makes heat maps in a difference
    map."""
    built = build_explainer(explainer)
    return built if isinstance(built, DifferenceMap) else DifferenceMap(built)


#: The versions of the weights that were looked at; see :func:`check_weights`.
_checked: WeakKeyDictionary[nn.Module, tuple] = WeakKeyDictionary()


def check_explainable(model: nn.Module,
                      explainers: Sequence[Explainer]) -> None:
    """Raise an error unless a detector can be explained by all of some
    methods.

    Args:
        model (nn.Module): A detector of mmdet, also wrapped by
            ``DataParallel`` and its kin or by ``torch.compile``.
        explainers (Sequence[Explainer]): The methods.

    Raises:
        TypeError: If the model is no detector of mmdet.
        ValueError: If it has no such target layer, or its weights cannot be
            used, see :func:`check_weights`, or an output names a class
            that it does not have.
    """
    for explainer in explainers:
        adapter = DetectorAdapter(model, explainer.target_layer,
                                  explainer.statistics)
        if adapter.class_names:
            check_classes(explainer.outputs, adapter.class_names)
    check_weights(unwrapped(model))


def check_weights(model: nn.Module) -> None:
    """Raise a ValueError for weights that are not finite, not in single
    precision, or were loaded where gradients cannot be taken. They are looked
    at once, and again when they have changed."""
    weights = [*model.parameters(), *model.buffers()]
    for name, weight in model.named_parameters():
        if weight.is_inference():
            raise ValueError(
                f'the weights {name} were loaded inside of '
                'torch.inference_mode(), which gradients cannot pass: load '
                'the detector outside of it')
        if weight.is_floating_point() and weight.dtype != torch.float32:
            kind = str(weight.dtype).removeprefix('torch.')
            raise ValueError(
                f'the weights {name} are {kind}, and detectors are explained '
                'in single precision: call model.float() first')
    versions = tuple((weight.data_ptr(), 0 if weight.is_inference() else
                      weight._version) for weight in weights)
    if _checked.get(model) == versions:
        return
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f'the weights {name} hold values that are not '
                             'finite')
    _checked[model] = versions


def free_memory(device: torch.device) -> int:
    """Return the number of bytes that new tensors can take."""
    if device.type != 'cuda':
        return psutil.virtual_memory().available
    kept = torch.cuda.memory_reserved(device) - \
        torch.cuda.memory_allocated(device)  # by torch, for the next ones
    return torch.cuda.mem_get_info(device)[0] + kept


def check_memory(trace: Trace, explainer: Explainer) -> None:
    """Raise a MemoryError if two sets of maps, and what the method needs to
    make them, are more than there is room for."""
    free = free_memory(trace.outputs.device)
    spare = 4  # maps at work beside the finished ones
    bytes_per_value = 2 if explainer.half else 4
    maps = 2 * len(trace) + spare
    height, width = trace.frame.image_shape
    needed = maps * height * width * bytes_per_value + \
        explainer.working_memory(trace)
    if needed > free:
        raise MemoryError(
            f'the maps of {len(trace)} objects at {width}x{height} pixels '
            f'take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: '
            'explain fewer objects (max_objects), or make the image smaller')

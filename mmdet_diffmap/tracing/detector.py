# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detector adapter: the only place that knows mmdet's internals."""
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector, SemiBaseDetector
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import is_model_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..maps.image_frame import ImageFrame
from .candidates import Candidates, recorded_candidates
from .heads import (
    HeadRun,
    RunsTwiceError,
    WholeRun,
    box_head,
    head_run,
    proposer_of,
    without_masks,
)
from .lost_gradients import LossFinder
from .modes import evaluation_mode, frozen
from .nested import flat_tensors
from .target_layer import TargetLayer
from .trace import NetworkInput, OutputGradient, Trace, recording
from .turns import one_at_a_time


class DetectorAdapter:
    """Runs a detector so that its detections can be explained.

    mmdet's own ``predict`` runs unchanged, with hooks for the time of the
    call: they make the target layer's maps ``A`` leaves of the graph, and cut
    the graph at the head's raw maps. Nothing of the model changes.

    Args:
        model (nn.Module): The detector, wrapped or not; see
            :func:`unwrapped`. Of a semi-supervised one, that which predicts
            is explained.
        target_layer (str, optional): The module whose maps are explained, as
            a path from the model: ``neck``, ``backbone.layer4``; ``neck[0]``
            is the first of several maps. See :class:`TargetLayer`. None if no
            gradients are wanted: any detector that gives boxes can be run
            then.
        statistics (str): ``exact`` or ``frozen``, see
            :class:`~mmdet_diffmap.explainers.GradientExplainer`.
    """

    def __init__(self,
                 model: nn.Module,
                 target_layer: str | None = 'neck',
                 statistics: str = 'exact') -> None:
        model = unwrapped(model)
        if not isinstance(model, BaseDetector):
            raise TypeError('model must be a detector of mmdet, not '
                            f'{type(model).__name__}')
        if isinstance(model, SemiBaseDetector):
            model = predicting_part(model)
        self.model: Any = model
        self.statistics = statistics
        self.target: TargetLayer | None = None
        if target_layer is not None:
            self.target = TargetLayer(model, target_layer)

    def trace(self,
              data: dict,
              index: int = 0,
              run: HeadRun | None = None) -> Trace:
        """Detect the objects of one image.

        Args:
            data (dict): A batch as the test loop gets it: ``inputs``, a list
                of (3, H, W) images or one (B, 3, H, W) tensor, and
                ``data_samples``. It is left as it is.
            index (int): Which image of the batch. The others are only there
                for the padding.
            run (HeadRun, optional): Another way to treat the head.

        Returns:
            Trace: All final detections, in mmdet's order.
        """
        if run is not None or self.target is None:
            return self._trace(data, index, run)
        run = head_run(self.model, self.statistics, self.target.module)
        try:
            return self._trace(data, index, run)
        except RunsTwiceError:
            return self._trace(data, index, WholeRun(self.model))

    def _trace(self, data: dict, index: int, run: HeadRun | None) -> Trace:
        with ExitStack() as stack:
            stack.enter_context(self._predicting())
            inputs, sample = self.preprocess(data, index)
            height, width = inputs.shape[-2:]
            frame = ImageFrame.of_metainfo(sample.metainfo, (height, width))
            black, white = self._black_and_white(data, index)
            network_input = NetworkInput(
                inputs[0], black, white,
                partial(self._candidates, sample.clone(), frame),
                partial(self._detections, sample.clone()))
            if self.target is None:
                (sample, ) = self.model.predict(inputs, [sample])
                return Trace(
                    plain_detections(sample.pred_instances),
                    differentiable_outputs(sample.pred_instances, frame), [],
                    frame, network_input, no_gradients)
            assert run is not None
            captured = stack.enter_context(self.target.capture())
            stack.enter_context(run.hooks())
            (sample, ) = self.model.predict(inputs, [sample])
            with recording():
                outputs = differentiable_outputs(sample.pred_instances, frame)
        results = [outputs, *run.reached]
        if not run.cut and not len(outputs):  # nothing came to the head
            results = captured.handed
        lost = partial(self._lost, data, index)
        self.target.check(captured.leaves, results,
                          lambda: lost('score') or lost('x1'))
        return Trace(
            plain_detections(sample.pred_instances), outputs,
            [feature.detach()[0] for feature in captured.leaves], frame,
            network_input, run.source(captured), lost,
            run.masks(captured))

    @contextmanager
    def _predicting(self) -> Iterator[None]:
        """What all predictions have in common: no gradients, unless someone
        turns them on inside, evaluation mode, boxes alone."""
        with one_at_a_time(), torch.inference_mode(False), torch.no_grad(), \
                evaluation_mode(self.model), without_masks(self.model):
            yield

    def _lost(self, data: dict, index: int, output: str) -> str:
        """See :class:`Trace`; the detector runs once more."""
        assert self.target is not None
        run = WholeRun(self.model)
        finder = LossFinder(self.model, proposer_of(self.model))
        with self._predicting(), frozen(self.model), \
                self.target.capture() as captured, run.hooks(), \
                finder.watching():
            inputs, sample = self.preprocess(data, index)
            (sample, ) = self.model.predict(inputs, [sample])
        found = sample.pred_instances
        value = found.scores if output == 'score' else \
            get_box_tensor(found.bboxes)
        reaches = value.requires_grad and any(
            one is not None and one.any() for one in torch.autograd.grad(
                value.sum(), captured.leaves, allow_unused=True))
        return '' if reaches else finder.place(value)

    def preprocess(self, data: dict,
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

    def _black_and_white(self, data: dict, index: int) -> Tensor:
        """A black and a white pixel as the network gets them, shape (2, 3, 1,
        1)."""
        black = torch.zeros_like(data['inputs'][index][:, :32, :32])
        metainfo = data['data_samples'][index].metainfo
        data = dict(
            inputs=[black, torch.full_like(black, 255)],
            data_samples=[DetDataSample(metainfo=metainfo) for _ in range(2)])
        data = self.model.data_preprocessor(data, False)
        return data['inputs'][:, :, :1, :1].clone()

    def _detections(self, sample: DetDataSample,
                    images: Tensor) -> list[InstanceData]:
        """The final detections of inputs (B, 3, H, W), which are changed
        copies of one image's, in pixels of the original image."""
        samples = [sample.clone() for _ in images]
        with self._predicting(), no_nan_from(box_head(self.model)):
            samples = self.model.predict(images, samples)
        return [plain_detections(one.pred_instances) for one in samples]

    def _candidates(self, sample: DetDataSample, frame: ImageFrame,
                    images: Tensor) -> list[Candidates]:
        """What the detector predicts for inputs (B, 3, H, W), which are
        changed copies of one image's, before its final filtering; the final
        detections where that is not known."""
        head = box_head(self.model)
        samples = [sample.clone() for _ in images]
        # some wrappers of detectors do without, and give boxes of the image
        rescales = not takes(self.model.predict, 'rescale')
        options = {} if rescales else dict(rescale=False)
        with self._predicting(), recorded_candidates(head) as known:
            samples = self.model.predict(images, samples, **options)
        if rescales or len(known) != len(samples):
            known = [None] * len(samples)
        return [
            found or final_candidates(one.pred_instances, frame, rescales)
            for found, one in zip(known, samples)
        ]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the detector inside of ``DataParallel`` and its kin (DDP, FSDP,
    mmengine's own), and of what ``torch.compile`` gives."""
    while True:
        if is_model_wrapper(model) or isinstance(model, nn.DataParallel):
            model = model.get_submodule('module')
        elif '_orig_mod' in dict(model.named_children()):  # compiled
            model = model.get_submodule('_orig_mod')
        else:
            return model


@contextmanager
def no_nan_from(head: nn.Module | None) -> Iterator[None]:
    """Make NaN in a head's raw maps an error in this context: mmdet's
    post-processing takes it for a low score.

    Raises:
        FloatingPointError: At the end, if there was any.
    """
    found: list[Tensor] = []

    def look(module: nn.Module, args: tuple, output: Any) -> None:
        found.extend(one.isnan().any() for one in flat_tensors(output))

    if head is None:
        yield
        return
    hook = head.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()
    if found and torch.stack(found).any():
        raise FloatingPointError(f'{type(head).__name__} gives NaN')


def predicting_part(model: Any) -> BaseDetector:
    """The teacher or the student, whichever a semi-supervised detector asks
    for its predictions."""
    settings = model.semi_test_cfg or {}
    return model.teacher if settings.get(
        'predict_on', 'teacher') == 'teacher' else model.student


def takes(function: Callable, name: str) -> bool:
    """Whether a function has an argument of that name, or any."""
    return any(one.name == name or one.kind is Parameter.VAR_KEYWORD
               for one in signature(function).parameters.values())


def no_gradients(outputs: Tensor,
                 columns: Sequence[int]) -> Iterator[OutputGradient]:
    """The gradients of a trace that was made without."""
    raise RuntimeError('the detector was run without gradients: give the '
                       'adapter a target layer')


def final_candidates(predictions: InstanceData, frame: ImageFrame,
                     of_image: bool) -> Candidates:
    """Final detections in place of candidates. mmdet gave their boxes at the
    input's scale without the border, or those of the original image."""
    bboxes = get_box_tensor(predictions.bboxes)
    if of_image:
        bboxes = frame.to_input(bboxes)
    else:
        top, left = frame.corner
        bboxes = bboxes + bboxes.new_tensor((left, top) * 2)
    return Candidates(bboxes, predictions.scores, predictions.labels)


def plain_detections(predictions: InstanceData) -> InstanceData:
    """Boxes, scores and labels of mmdet's predictions, without a graph."""
    return InstanceData(
        bboxes=predictions.bboxes.detach(),
        scores=predictions.scores.detach(),
        labels=predictions.labels)


def differentiable_outputs(predictions: InstanceData,
                           frame: ImageFrame) -> Tensor:
    """Score and box (x1, y1, x2, y2) in input pixels, shape (N, 5)."""
    return torch.cat([
        predictions.scores[:, None],
        frame.to_input(predictions.bboxes),
    ], dim=1)

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""One run of a detector, from a batch to a trace of its detections."""
from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector, SemiBaseDetector
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import is_model_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..maps.image_frame import ImageFrame
from .candidates import NUMBERS, recorded_candidates
from .changed_features import ChangedFeatures
from .changed_inputs import ChangedInputs
from .class_scores import ClassScores
from .filtering import (
    CandidateTrace,
    recorded_filtering,
    unknown_filtering,
)
from .heads import (
    HeadRun,
    RunsTwiceError,
    WholeRun,
    box_head,
    head_runs,
    mask_arguments,
    proposer_of,
)
from .lost_gradients import LossFinder
from .mask_run import MaskRun
from .modes import frozen
from .predicting import (
    has_own_boxes,
    plain_detections,
    predict,
    predicting,
)
from .prompts import (
    TextLayer,
    check_has_text,
    language_model_of,
    reading,
)
from .recording import recording
from .target_layer import CapturedLayer, TargetLayer
from .trace import (
    GradientSource,
    Masks,
    NetworkInput,
    Trace,
    no_gradients,
)
from .tracked_detector import detector_of, is_tracker
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
        # of a teacher or student alone, they are not known
        self.class_names = tuple(
            (getattr(model, 'dataset_meta', None) or {}).get('classes', ()))
        if isinstance(model, SemiBaseDetector):
            model = predicting_part(model)
        self.model: Any = model
        self.statistics = statistics
        self.target: TargetLayer | None = None
        if target_layer is not None:
            self.target = TargetLayer(model, target_layer)
        if language_model_of(model) is not None:
            self.class_names = ()  # the text says what is looked for

    @classmethod
    def of_text(cls, model: nn.Module) -> DetectorAdapter:
        """Return an adapter of a detector that takes a text, whose words are
        explained in the place of feature maps; see
        :class:`~mmdet_diffmap.tracing.prompts.TextLayer`."""
        adapter = cls(model, None)
        adapter.target = TextLayer(adapter.model)
        return adapter

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
        for run in head_runs(self.model, self.statistics, self.target.module):
            try:
                return self._trace(data, index, run)
            except RunsTwiceError:
                continue
        raise RuntimeError('no run in HEAD_RUNS takes '
                           f'{type(self.model).__name__}')

    def trace_candidates(self, data: dict, index: int = 0) -> CandidateTrace:
        """Detect the objects of one image, and keep all that the head
        proposed.

        Args:
            data (dict): A batch; see :meth:`trace`.
            index (int): Which image of it.

        Returns:
            CandidateTrace: All candidates before the score threshold,
            non-maximum suppression and the maximum number, and what became of
            each.

        Raises:
            UnknownFilteringError: If the detector filters in another way.
        """
        head = box_head(self.model)
        with one_at_a_time(), recorded_filtering(head) as filterings:
            trace = self.trace(data, index)
        if not filterings or len(filterings[-1].fates) != len(trace):
            raise unknown_filtering(head)
        return CandidateTrace(trace, filterings[-1])

    def _trace(self, data: dict, index: int, run: HeadRun | None) -> Trace:
        with ExitStack() as stack:
            recorder = stack.enter_context(predicting(self.model))
            inputs, sample = self.preprocess(data, index)
            check_has_text(self.model, sample)
            reader = stack.enter_context(reading(self.model))
            height, width = inputs.shape[-2:]
            frame = ImageFrame.of_metainfo(sample.metainfo, (height, width))
            changed = ChangedInputs(self.model, sample.clone(), frame)
            black, white = self._black_and_white(data, index)
            network_input = NetworkInput(inputs[0], black, white,
                                         changed.candidates,
                                         changed.detections)
            if self.target is None:
                predictions = self.predict(inputs, sample).pred_instances
                return Trace(
                    plain_detections(predictions),
                    differentiable_outputs(predictions, frame), [],
                    frame, network_input, no_gradients,
                    prompt=None if reader is None else reader.prompt())
            assert run is not None
            captured = stack.enter_context(self.target.capture(recorder))
            stack.enter_context(run.hooks(recorder))
            head = box_head(self.model)
            heard = stack.enter_context(recorded_candidates(head))
            predictions = self.predict(inputs, sample).pred_instances
            prompt = None if reader is None else reader.prompt()
            classes = ClassScores.of_candidates(
                head, None if not heard or (
                    # each part's phrases have probabilities of their own
                    prompt is not None and prompt.in_parts) else heard[-1],
                predictions.pop(NUMBERS, None),
                self.class_names if prompt is None else prompt.phrases)
            with recording():
                outputs = differentiable_outputs(predictions, frame)
        ends = [outputs, *run.ends]
        if not run.cut and not len(outputs):  # nothing came to the head
            ends = captured.handed
        own_boxes = has_own_boxes(predictions)
        lost = partial(self._lost, data, index, own_boxes)
        self.target.check(captured.leaves, ends,
                          lambda: lost('score') or lost('x1'))
        detections = plain_detections(predictions)
        return Trace(
            detections, outputs,
            [feature.detach()[0] for feature in captured.leaves], frame,
            network_input, self.source(run, captured), lost,
            self._masks(data, index, run.masks(captured), detections), classes,
            ChangedFeatures(changed, self.target, inputs[0]).candidates,
            own_boxes=own_boxes, prompt=prompt)

    def predict(self, inputs: Tensor, sample: DetDataSample) -> DetDataSample:
        """Let mmdet predict the objects of an image, see
        :meth:`preprocess`."""
        (sample.pred_instances, ) = predict(self.model, inputs, [sample])
        return sample

    def source(self, run: HeadRun, captured: CapturedLayer) -> GradientSource:
        """Return the gradients of a run that is over."""
        return run.source(captured)

    def _masks(self, data: dict, index: int,
               fast: Callable[[Tensor], GradientSource] | None,
               detections: InstanceData) -> Masks | None:
        """Return how the masks of detections are explained: the fast way of
        their head, or by another run of the detector."""
        if fast is not None:
            return Masks(detections.labels, fast)
        if 'masks' not in detections and mask_arguments(self.model) is None:
            return None
        assert self.target is not None
        run = MaskRun(self.model, self.target,
                      partial(self.preprocess, data, index), detections)
        return Masks(torch.arange(len(detections)), run.of)

    def _lost(self, data: dict, index: int, own_boxes: bool,
              output: str) -> str:
        """Say where an output's gradient is lost, see :class:`Trace`; the
        detector runs once more."""
        if output != 'score' and not own_boxes:
            return 'its boxes are drawn around its masks'
        assert self.target is not None
        run = WholeRun(self.model)
        finder = LossFinder(self.model, proposer_of(self.model))
        with predicting(self.model) as recorder, frozen(self.model), \
                self.target.capture(recorder) as captured, \
                run.hooks(recorder), finder.watching():
            inputs, sample = self.preprocess(data, index)
            (predictions, ) = predict(self.model, inputs, [sample])
        value = predictions.scores if output == 'score' else \
            get_box_tensor(predictions.bboxes)
        if value.requires_grad:
            with recording():
                gradients = torch.autograd.grad(
                    value.sum(), captured.leaves, allow_unused=True)
            if any(gradient is not None and gradient.any()
                   for gradient in gradients):
                return ''
        return finder.place(value)

    def preprocess(self, data: dict,
                   index: int) -> tuple[Tensor, DetDataSample]:
        """Normalise one image of a batch, padded as in its batch.

        Returns:
            tuple: The network's input (1, 3, H, W), and its data sample.

        Raises:
            ValueError: If there is no such image.
        """
        count = len(data['data_samples'])
        if not 0 <= index < count:
            raise ValueError(f'index {index} is none of a batch of {count}')
        data = dict(data, data_samples=copy.deepcopy(data['data_samples']))
        data = self.model.data_preprocessor(data, False)
        # a clone of an inference tensor can take part in a graph
        return (data['inputs'][index:index + 1].clone(),
                data['data_samples'][index])

    def _black_and_white(self, data: dict, index: int) -> Tensor:
        """Return a black and a white pixel as the network gets them, shape
        (2, 3, 1, 1)."""
        black = torch.zeros_like(data['inputs'][index][:, :32, :32])
        metainfo = data['data_samples'][index].metainfo
        data = dict(
            inputs=[black, torch.full_like(black, 255)],
            data_samples=[DetDataSample(metainfo=metainfo) for _ in range(2)])
        data = self.model.data_preprocessor(data, False)
        return data['inputs'][:, :, :1, :1].clone()


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the detector inside of ``DataParallel`` and its kin (DDP,
    mmengine's own wrappers), of what ``torch.compile`` gives, and of a
    tracker."""
    while True:
        if is_model_wrapper(model) or isinstance(model, nn.DataParallel):
            model = model.get_submodule('module')
        elif '_orig_mod' in dict(model.named_children()):  # compiled
            model = model.get_submodule('_orig_mod')
        elif is_tracker(model):
            model = detector_of(model)
        else:
            return model


def predicting_part(model: Any) -> BaseDetector:
    """Return the teacher or the student, whichever a semi-supervised detector
    asks for its predictions."""
    settings = model.semi_test_cfg or {}
    return model.teacher if settings.get(
        'predict_on', 'teacher') == 'teacher' else model.student


def differentiable_outputs(predictions: InstanceData,
                           frame: ImageFrame) -> Tensor:
    """Join score and box (x1, y1, x2, y2) in input pixels, shape (N, 5)."""
    return torch.cat([
        predictions.scores[:, None],
        frame.to_input(predictions.bboxes),
    ], dim=1)

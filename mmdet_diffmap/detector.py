# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detector adapter: the only place that knows mmdet's internals."""
import copy
from contextlib import ExitStack

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.model import is_model_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .evaluation import evaluation_mode
from .heads import HeadRun, head_run
from .image_frame import ImageFrame
from .target_layer import TargetLayer
from .trace import Trace, recording


class DetectorAdapter:
    """Runs a detector so that its detections can be explained.

    mmdet's own ``predict`` runs unchanged, with hooks for the time of the
    call: they make the target layer's maps ``A`` leaves of the graph, and cut
    the graph at the head's raw maps. Nothing of the model changes.

    Args:
        model (BaseDetector): The detector; a wrapped one (DDP) will do.
        target_layer (str): The module whose maps are explained, as a path
            from the model: ``neck``, ``backbone.layer4``; ``neck[0]`` is the
            first of several maps.
        statistics (str): ``exact`` or ``frozen``, see
            :class:`~mmdet_diffmap.explainers.Explainer`.
    """

    def __init__(self,
                 model: nn.Module,
                 target_layer: str = 'neck',
                 statistics: str = 'exact') -> None:
        if is_model_wrapper(model):
            model = model.get_submodule('module')
        if not isinstance(model, BaseDetector):
            raise TypeError('model must be a detector of mmdet, not '
                            f'{type(model).__name__}')
        self.model = model
        head_run(model, statistics)  # says at once if there is none
        self.statistics = statistics
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
        run = run or head_run(self.model, self.statistics,
                              self.target.module)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())  # until the target layer
            stack.enter_context(evaluation_mode(self.model))
            inputs, sample = self._preprocess(data, index)
            captured = stack.enter_context(self.target.capture())
            stack.enter_context(run.hooks())
            (sample, ) = self.model.predict(inputs, [sample])
            predictions = sample.pred_instances
            height, width = inputs.shape[-2:]
            frame = ImageFrame.of_sample(sample, (height, width))
            with recording():
                outputs = differentiable_outputs(predictions, frame)
        results = [outputs, *run.reached]
        if not run.cut and not len(outputs):  # nothing came to the head
            results = captured.handed
        self.target.check(captured.leaves, results)
        if len(outputs) and not outputs.requires_grad:
            raise RuntimeError(
                f'the predictions of {type(run.head).__name__} carry no '
                'gradient: its post-processing detaches them')
        return Trace(
            detections=InstanceData(
                bboxes=predictions.bboxes.detach(),
                scores=predictions.scores.detach(),
                labels=predictions.labels),
            outputs=outputs,
            features=[feature.detach()[0] for feature in captured.leaves],
            frame=frame,
            source=run.source(captured))

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


def differentiable_outputs(predictions: InstanceData,
                           frame: ImageFrame) -> Tensor:
    """Score and box (x1, y1, x2, y2) in input pixels, shape (N, 5)."""
    return torch.cat([
        predictions.scores[:, None],
        frame.to_input(predictions.bboxes),
    ], dim=1)

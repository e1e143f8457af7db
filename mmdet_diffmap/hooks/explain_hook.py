# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from ..apis.explain import explain_one
from ..apis.image_pipeline import DatasetPipelines, as_picture
from ..apis.loading import detector_name
from ..apis.result_writers import caption
from ..explainers import ExplainerLike, build_explainer
from ..explainers.engine import Selection
from ..explainers.explainer import method_name
from ..io.files import save_picture
from ..visualization import draw_explanations


@HOOKS.register_module()
class ExplainHook(Hook):
    """Explains images while the test loop runs, or a detector is validated.

    The pictures (see :func:`draw_explanations`) go to the runner's
    visualizer, and so to all its backends. In a test all have the name
    ``explanation``, and the step is the number of the image. In a validation
    each image has a name, ``explanation_IMG_ID_FILENAME``, and the step is the
    training iteration, so that a backend shows how its maps change.
    Detections, metrics and the model are left as they are.

    Args:
        explainer (Explainer | dict | str): The method; see
            :func:`build_explainer`.
        interval (int): Explain the images of every ``interval``-th batch.
        score_thr (float): See :func:`explain`.
        max_objects (int, optional): See :func:`explain`.
        out_dir (str, optional): Also write the pictures into this folder,
            inside ``work_dir/TIMESTAMP``, as ``IMG_ID_FILENAME.png``, in a
            validation ``IMG_ID_FILENAME_ITERATION.png``.
        validate (bool): Whether to explain in validations, too.
    """
    # before the hook that takes the time of an iteration, which would put
    # this hook's down to loading data
    priority = 'ABOVE_NORMAL'

    def __init__(self,
                 explainer: ExplainerLike = 'ODAM',
                 interval: int = 50,
                 score_thr: float = 0.3,
                 max_objects: int | None = None,
                 out_dir: str | None = None,
                 validate: bool = False) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, not {interval}')
        self.explainer = build_explainer(explainer)
        self.interval = interval
        self.selection = Selection(score_thr, max_objects)
        self.out_dir = out_dir
        self.validate = validate
        self.explained = 0
        self.train_loop: BaseLoop | None = None

    def before_train(self, runner: Runner) -> None:
        """Keep the loop that counts iterations; to ask a runner that does not
        train for it would build the training data set."""
        self.train_loop = runner.train_loop

    def before_val(self, runner: Runner) -> None:
        """Begin to count anew, and take the pipeline that gives pictures."""
        if self.validate:
            self._begin(runner.val_dataloader)

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: dict,
                       outputs: Sequence[DetDataSample]) -> None:
        """Explain the images of a validation's batch, if its turn has come.

        Args:
            runner (Runner): The runner of the validation loop.
            batch_idx (int): Index of the batch in the loop.
            data_batch (dict): The batch as the data loader gave it.
            outputs (Sequence[DetDataSample]): The predictions, not used.
        """
        if not self.validate or not self._has_turn(batch_idx):
            return
        step = 0 if self.train_loop is None else self.train_loop.iter
        for index, sample in enumerate(data_batch['data_samples']):
            name = image_name(sample)
            self._explain(runner, data_batch, index, f'explanation_{name}',
                          step, f'{name}_{step}')

    def after_val(self, runner: Runner) -> None:
        """Say how many images were explained, and why none was."""
        if self.validate:
            self._end(runner, 'validation')

    def before_test(self, runner: Runner) -> None:
        """Begin to count anew, and take the pipeline that gives pictures."""
        self._begin(runner.test_dataloader)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: dict,
                        outputs: Sequence[DetDataSample]) -> None:
        """Explain the batch's images, if its turn has come.

        Args:
            runner (Runner): The runner of the test loop.
            batch_idx (int): Index of the batch in the loop.
            data_batch (dict): The batch as the data loader gave it.
            outputs (Sequence[DetDataSample]): The predictions, not used.
        """
        if not self._has_turn(batch_idx):
            return
        first = batch_idx * runner.test_dataloader.batch_size
        for index, sample in enumerate(data_batch['data_samples']):
            self._explain(runner, data_batch, index, 'explanation',
                          first + index, image_name(sample))

    def after_test(self, runner: Runner) -> None:
        """Say how many images were explained, and why none was."""
        self._end(runner, 'test')

    def _begin(self, loader: DataLoader) -> None:
        dataset: Any = loader.dataset
        self.explained = 0
        # a batch does not tell which of several data sets an image is from
        self.pipeline = DatasetPipelines(dataset).at(0)
        self.class_names: Sequence[str] = dataset.metainfo['classes']

    def _has_turn(self, batch_idx: int) -> bool:
        """Whether this process explains the images of a batch; without a
        folder, pictures go to the visualizer, which draws in the main process
        alone."""
        return self.every_n_inner_iters(batch_idx, self.interval) and (
            self.out_dir is not None or is_main_process())

    def _end(self, runner: Runner, loop: str) -> None:
        runner.logger.info(
            f'ExplainHook: {self.explained} images explained '
            f'(interval={self.interval} batches)')
        if not self.explained:
            runner.logger.warning(
                f'ExplainHook: the {loop} has fewer batches than interval='
                f'{self.interval}; a smaller one explains some')

    def _explain(self, runner: Runner, data_batch: dict, index: int,
                 name: str, step: int, file: str) -> None:
        """Explain one image of a batch, and hand its picture on."""
        sample = explain_one(runner.model, data_batch, index, self.explainer,
                             self.selection)
        results = self.pipeline.load(sample.img_path)
        self.pipeline.check(results)
        picture = draw_explanations(
            as_picture(results['img'])[..., ::-1].copy(),
            sample.pred_instances, self.class_names,
            caption=caption(detector_name(runner.model),
                            method_name(type(self.explainer)),
                            sample.img_path, self.selection, self.explainer))
        runner.visualizer.add_image(name, picture, step=step)
        if self.out_dir is not None:
            folder = Path(runner.work_dir, runner.timestamp, self.out_dir)
            save_picture(picture, folder / f'{file}.png')
        self.explained += 1


def image_name(sample: DetDataSample) -> str:
    """Return what the files of an image are called; two folders may hold
    images of one name."""
    return f'{sample.img_id}_{Path(sample.img_path).stem}'

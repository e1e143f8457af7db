# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from collections.abc import Sequence
from pathlib import Path

from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..apis.explain import explain_one
from ..apis.image_pipeline import DatasetPipelines, as_picture
from ..explainers import ExplainerLike, build_explainer
from ..explainers.engine import Selection
from ..io.files import save_picture
from ..visualization import draw_explanations


@HOOKS.register_module()
class ExplainHook(Hook):
    """Explains images while the test loop runs.

    The pictures (see :func:`draw_explanations`) go to the runner's
    visualizer, and so to all its backends, under the name IMG_ID_FILENAME.
    Detections, metrics and the model are left as they are.

    Args:
        explainer (Explainer | dict | str): The method; see
            :func:`build_explainer`.
        interval (int): Explain the images of every ``interval``-th batch.
        score_thr (float): See :func:`explain`.
        max_objects (int, optional): See :func:`explain`.
        out_dir (str, optional): Also write the pictures into this folder,
            inside ``work_dir/TIMESTAMP``.
    """
    # before the hook that takes the time of an iteration, which would put
    # this hook's down to loading data
    priority = 'ABOVE_NORMAL'

    def __init__(self,
                 explainer: ExplainerLike = 'ODAM',
                 interval: int = 50,
                 score_thr: float = 0.3,
                 max_objects: int | None = None,
                 out_dir: str | None = None) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, not {interval}')
        self.explainer = build_explainer(explainer)
        self.interval = interval
        self.selection = Selection(score_thr, max_objects)
        self.out_dir = out_dir
        self.explained = 0

    def before_test(self, runner: Runner) -> None:
        """Begin to count anew, and take the pipeline that gives pictures."""
        self.explained = 0
        # a batch does not tell which of several data sets an image is from
        self.pipeline = DatasetPipelines(runner.test_dataloader.dataset).at(0)

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
        if not self.every_n_inner_iters(batch_idx, self.interval):
            return
        if self.out_dir is None and not is_main_process():
            return  # the visualizer draws in the main process only
        for index in range(len(data_batch['data_samples'])):
            self._explain(runner, batch_idx, data_batch, index)
            self.explained += 1

    def after_test(self, runner: Runner) -> None:
        """Say how many images were explained, and why none was."""
        runner.logger.info(
            f'ExplainHook: {self.explained} images explained '
            f'(interval={self.interval} batches)')
        if not self.explained:
            runner.logger.warning(
                'ExplainHook: the test has fewer batches than interval='
                f'{self.interval}; a smaller one explains some')

    def _explain(self, runner: Runner, batch_idx: int, data_batch: dict,
                 index: int) -> None:
        """Explain one image of a batch, and hand its picture on."""
        sample = explain_one(runner.model, data_batch, index, self.explainer,
                             self.selection)
        results = self.pipeline.load(sample.img_path)
        self.pipeline.check(results)
        picture = draw_explanations(
            as_picture(results['img'])[..., ::-1].copy(),
            sample.pred_instances,
            runner.test_dataloader.dataset.metainfo['classes'])
        # two folders may hold images of one name
        name = f'{sample.img_id}_{Path(sample.img_path).stem}'
        # not runner.iter, which builds the training data set to tell
        runner.visualizer.add_image(name, picture, step=batch_idx)
        if self.out_dir is not None:
            folder = Path(runner.work_dir, runner.timestamp, self.out_dir)
            save_picture(picture, folder / f'{name}.png')

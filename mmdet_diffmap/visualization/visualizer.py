# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only
from mmengine.registry import VISUALIZERS

from ..io.files import save_picture
from .figure import draw_explanations


@VISUALIZERS.register_module()
class DiffMapVisualizer(DetLocalVisualizer):
    """mmdet's visualizer, which draws explanations too.

    A data sample whose ``pred_instances`` have ``heatmaps`` and
    ``difference_maps``, as :func:`~mmdet_diffmap.explain` gives it, becomes
    the figure of :func:`draw_explanations`; any other is drawn by mmdet.
    Pictures go to all backends (local files, TensorBoard, …).
    """

    @master_only
    def add_datasample(self,
                       name: str,
                       image: np.ndarray,
                       data_sample: DetDataSample | None = None,
                       draw_gt: bool = True,
                       draw_pred: bool = True,
                       show: bool = False,
                       wait_time: float = 0,
                       out_file: str | None = None,
                       pred_score_thr: float = 0.3,
                       step: int = 0) -> None:
        """Draw a data sample, for all backends or into a file.

        Args:
            name (str): Of the picture in the backends.
            image (np.ndarray): RGB in 0-255, shape (H, W, 3).
            data_sample (DetDataSample, optional): With explanations.
            draw_gt (bool): Without meaning for explanations.
            draw_pred (bool): Whether to draw predictions, and so
                explanations.
            show (bool): Whether to open a window.
            wait_time (float): Seconds until it closes; 0 for any key.
            out_file (str, optional): File for the picture, in place of the
                backends.
            pred_score_thr (float): Only objects with a larger score are drawn.
            step (int): Number of the picture in the backends.
        """
        explained: Any = None if data_sample is None else \
            data_sample.get('pred_instances')
        if not draw_pred or explained is None or \
                'difference_maps' not in explained:
            super().add_datasample(name, image, data_sample, draw_gt,
                                   draw_pred, show, wait_time, out_file,
                                   pred_score_thr, step)
            return
        meta: Any = self.dataset_meta
        picture = draw_explanations(
            image.clip(0, 255).astype(np.uint8),
            explained[explained.scores > pred_score_thr],
            meta.get('classes') or ())
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            save_picture(picture, Path(out_file))

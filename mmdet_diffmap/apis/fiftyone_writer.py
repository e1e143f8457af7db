# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Explanations in FiftyOne's App."""
from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from ..explainers.engine import Explanation
from ..io.files import save_picture
from ..visualization import label_name, label_names
from .result_writers import ExplainedImage, ResultWriter, Run


class FiftyOneWriter(ResultWriter):
    """Writes images, detections and heat maps into a data set of FiftyOne.

    A sample gets ``detections``, and for object ``I`` a heat map
    ``METHOD_I``, whose picture is ``heatmaps/NAME_I.png``. What a sample of
    the same file has besides is kept, so that detections can be compared with
    annotations. The App shows the boxes at first, and a heat map where it is
    switched on.

    Args:
        dataset (str): The name of the data set; made if there is none.
        field (str): The field of the detections.

    Raises:
        ValueError: If FiftyOne is not installed.
    """

    def __init__(self, dataset: str, field: str = 'detections') -> None:
        self.fiftyone = import_fiftyone()
        self.name = dataset
        self.field = field

    def begin(self, run: Run) -> None:
        self.run = run
        self.image: ExplainedImage | None = None
        self.fields: dict[str, Any] = {}
        run.make_folders('heatmaps')
        fo = self.fiftyone
        if fo.dataset_exists(self.name):
            self.dataset = fo.load_dataset(self.name)
        else:
            self.dataset = fo.Dataset(self.name, persistent=True)
            self.dataset.app_config.active_fields = fo.ActiveFields(
                paths=[self.field], exclude=False)
            self.dataset.save()

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        fo = self.fiftyone
        instances = explanation.sample.pred_instances
        names = label_names(explanation.sample, self.run.class_names)
        if image is not self.image:
            self.image = image
            self.fields = {self.field: fo.Detections(detections=[
                fo.Detection(
                    label=label_name(names, int(label)),
                    confidence=float(score), index=index,
                    bounding_box=relative(box, image.picture))
                for index, (label, score, box) in enumerate(zip(
                    instances.labels, instances.scores,
                    instances.bboxes.tolist()))])}
        folder = (self.run.folder(method) / 'heatmaps').resolve()
        for index, heatmap in enumerate(instances.heatmaps):
            path = folder / f'{image.name}_{index}.png'
            save_picture(
                np.rint(255 * heatmap.float().cpu().numpy()).astype(np.uint8),
                path)
            self.fields[f'{field_name(method)}_{index}'] = fo.Heatmap(
                map_path=str(path))

    def end_image(self, image: ExplainedImage) -> str:
        path = image.path
        if '://' in path:  # the App shows files
            file = self.run.out.resolve() / f'images/{image.name}.png'
            save_picture(image.picture[..., ::-1].copy(), file)
            path = str(file)
        path = os.path.abspath(path)
        try:
            sample = self.dataset[path]
        except KeyError:
            sample = self.fiftyone.Sample(path)
            self.dataset.add_sample(sample)
        for name in sample.field_names:
            # of an earlier run that found more objects
            if any(re.fullmatch(rf'{field_name(method)}_\d+', name)
                   for method in self.run.methods):
                sample[name] = None
        for name, label in self.fields.items():
            sample[name] = label
        sample.save()
        return ''


def import_fiftyone() -> Any:
    """Import FiftyOne, which this package does without.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise ValueError('FiftyOne is not installed: pip install '
                         'fiftyone') from error
    return fiftyone


def field_name(method: str) -> str:
    """Return the field of a method's heat maps, without the object's number.

    >>> field_name('grad-cam++')
    'grad_cam_plus_plus'
    """
    return re.sub(r'\W', '_', method.replace('+', '_plus'))


def relative(box: list[float], picture: np.ndarray) -> list[float]:
    """Return a box (x1, y1, x2, y2) in pixels of a picture (H, W, 3) as x, y,
    width and height in shares of it."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    return [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]

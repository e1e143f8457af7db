# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The detections of a run as COCO knows them, and where their maps are."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import mmdet
import torch

from ..explainers.engine import Explanation
from ..explainers.explainer import as_config
from ..io.files import printable, replacing
from ..version import __version__
from ..visualization import label_name, label_names
from .result_writers import ExplainedImage, ResultWriter, Run, maps_file


class CocoWriter(ResultWriter):
    """Writes ``detections.json``, a data set of COCO with scores.

    ``annotations`` are results as ``pycocotools`` takes them: ``image_id``,
    ``category_id``, ``bbox`` (x, y, width, height) in pixels of the original
    image, ``area`` of the box and ``score``, image by image and best first.
    With saved maps each has ``maps``: of each method the ``file``, seen from
    the folder of ``detections.json``, and the ``index`` in its arrays. Those
    of a text-prompted detector have ``words`` of each method, and the text's
    phrases are the categories. Images
    are numbered from 1 in the order of the run; category ``label + 1`` is that
    of the detector's label.

    Args:
        settings (Mapping, optional): What else made the detections, by name,
            ready for JSON.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})

    def begin(self, run: Run) -> None:
        self.run = run
        self.image: ExplainedImage | None = None
        self.class_names: Sequence[str] = run.class_names
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        #: Of the image that is explained now.
        self.current: list[dict[str, Any]] = []

    def add(self, image: ExplainedImage, method: str,
            explanation: Explanation) -> None:
        instances = explanation.sample.pred_instances
        labels = instances.labels.tolist()
        self.class_names = label_names(explanation.sample,
                                       self.run.class_names)
        if image is not self.image:
            self.image = image
            self.current = [
                dict(image_id=len(self.images) + 1, category_id=label + 1,
                     bbox=[x1, y1, x2 - x1, y2 - y1],
                     area=(x2 - x1) * (y2 - y1), score=score, iscrowd=0)
                for label, score, (x1, y1, x2, y2) in zip(
                    labels, instances.scores.tolist(),
                    instances.bboxes.tolist())
            ]
        elif labels != [one['category_id'] - 1 for one in self.current]:
            raise ValueError('the detector found other objects when it ran '
                             f'again for {method}')
        file = (self.run.folder(method) / maps_file(image)).relative_to(
            self.run.out).as_posix()
        for index, annotation in enumerate(self.current):
            if self.run.save_maps:
                annotation.setdefault('maps', {})[method] = dict(
                    file=file, index=index)
            if 'meanings' in instances:
                annotation.setdefault('meanings', {})[method] = vars(
                    instances.meanings[index])
            if 'words' in instances:
                annotation.setdefault('words', {})[method] = \
                    instances.words[index].described()

    def end_image(self, image: ExplainedImage) -> str:
        height, width = image.picture.shape[:2]
        self.images.append(
            dict(id=len(self.images) + 1, file_name=printable(image.path),
                 width=width, height=height))
        self.annotations += [
            dict(id=len(self.annotations) + number, **annotation)
            for number, annotation in enumerate(self.current, 1)]
        return ''

    def finish(self, failures: Mapping[str, str]) -> None:
        names = self.class_names
        labels = {one['category_id'] - 1 for one in self.annotations}
        selection = self.run.selection
        content = dict(
            info=dict(
                description='Detections that mmdet_diffmap explained',
                date_created=datetime.now().astimezone().isoformat(
                    timespec='seconds'),
                versions=dict(mmdet_diffmap=__version__,
                              mmdet=mmdet.__version__,
                              torch=torch.__version__)),
            settings={
                'detector': self.run.detector,
                **self.settings,
                'score_thr': selection.score_thr,
                'max_objects': selection.max_objects,
                'methods': {name: as_config(method)
                            for name, method in self.run.methods.items()}
            },
            images=self.images,
            categories=[dict(id=label + 1, name=label_name(names, label))
                        for label in sorted({*range(len(names)), *labels})],
            annotations=self.annotations,
            failures={printable(path): why for path, why in failures.items()})
        with replacing(self.run.out / 'detections.json') as file:
            # functions may be outputs of a method
            file.write(json.dumps(content, default=str).encode())

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A page that shows explanations, in one file that needs no network."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from ..explainers.engine import Explanation
from ..visualization import label_name
from ..visualization.contours import contour_path
from .missing import MissingImages
from .packed_maps import pack_evidence, pack_heatmaps
from .page_file import (
    LONGEST_SIDE,
    base64_text,
    described_picture,
    fitted,
    jpeg,
    page_stream,
    write_page,
)


class Photo:
    """An image of a report, and what methods say about the objects that a
    detector finds in it.

    Args:
        name (str): Its path or URL.
        image (np.ndarray): uint8 BGR, shape (H, W, 3).
    """

    def __init__(self, name: str, image: np.ndarray) -> None:
        self.name = name
        self.shown = fitted(image.shape[:2], LONGEST_SIDE)
        # as the page shows it: the image itself is not kept
        self.described_picture = described_picture(name, image, self.shown)
        self.picture = jpeg(image, self.shown)
        self.instances: InstanceData | None = None
        self.outlines: list[str] = []  # of masks, where there are any
        self.methods: list[dict[str, Any]] = []
        #: Of each method, by what they are of.
        self.cells: list[dict[str, bytes]] = []

    def add(self, method: str, explanation: Explanation) -> None:
        """Add what a method says; the maps themselves are not kept.

        Raises:
            ValueError: If it is not about the objects of the first method.
        """
        instances = explanation.sample.pred_instances
        if self.instances is None:
            self.instances = InstanceData(
                bboxes=instances.bboxes.cpu(),
                labels=instances.labels.cpu(),
                scores=instances.scores.cpu())
            self.outlines = [
                contour_path(mask.cpu().numpy(), self.shown)
                for mask in instances.get('masks', ())]
        elif not torch.equal(instances.labels.cpu(), self.instances.labels):
            raise ValueError('the detector found other objects when it ran '
                             f'again for {method}')
        maps, cells = explanation.maps, {}
        described, cells['maps'] = pack_heatmaps(
            instances.heatmaps, maps.grids, explanation.frame, self.shown)
        if maps.evidence is not None:
            signed, cells['evidence'] = pack_evidence(
                maps.evidence, explanation.frame, self.shown)
            described['evidence'] = dict(
                signed, meanings=[vars(one) for one in maps.meanings])
        if 'words' in instances:
            described['words'] = [one.described() for one in instances.words]
        self.methods.append(dict(name=method, **described))
        self.cells.append(cells)

    def described(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return what a page reads of the detector, ready for JSON.

        Args:
            class_names (Sequence[str]): The name of each label.

        Raises:
            ValueError: If no method was added.
        """
        instances = self.instances
        if instances is None:
            raise ValueError(f'{self.name} has maps of no method')
        objects: list[dict[str, Any]] = [
            dict(
                label=label_name(class_names, int(label)),
                score=float(score),
                box=box.tolist())
            for label, score, box in zip(
                instances.labels, instances.scores, instances.bboxes)
        ]
        for described, outline in zip(objects, self.outlines):
            described['outline'] = outline
        return dict(objects=objects, methods=self.methods)

    def payloads(self, number: int, detector: int) -> dict[str, str]:
        """Return, by name and in base64, the maps that a page carries.

        Args:
            number (int): Which of the page's images it is.
            detector (int): By which of the image's detectors.
        """
        return {
            f'{kind}-{number}-{detector}-{index}': base64_text(cells)
            for index, cells_of_method in enumerate(self.cells)
            for kind, cells in cells_of_method.items()
        }


class Report:
    """An interactive page about the objects of several images, by one detector
    or several.

    Shows each object's heat map and difference maps over its photograph, the
    difference of any two objects, the maps of single outputs, and what speaks
    for an object and what against, of methods that were asked for both; of
    detectors that are asked with a text, what each word counts, and of those
    that find masks, the outline of the chosen object's. Differences
    are computed in the page, from maps in eight bits on the detector's grids.

    Args:
        title (str): Of the page.
        class_names (Sequence[str]): The name of each label.
        settings (Mapping): What made the maps, by name, to be read by people.
    """

    def __init__(self, title: str, class_names: Sequence[str],
                 settings: Mapping[str, str]) -> None:
        self.title = title
        self.class_names = class_names
        self.settings = dict(settings)
        self.photos: list[dict[str, Any]] = []
        #: By name, what the page carries beside its data, in base64.
        self.payloads: dict[str, str] = {}
        self.missing = MissingImages()

    def add(self, photo: Photo, detector: str = '',
            class_names: Sequence[str] | None = None) -> None:
        """Add an image, or what one more detector says about it.

        Args:
            photo (Photo): The image. What several detectors say about it is
                added one after the other, under the same name.
            detector (str): The name of the detector; needed of several.
            class_names (Sequence[str], optional): The names of its labels.
                Defaults to those of the report.

        Raises:
            ValueError: If no method was added to it, or if detectors read it
                in other sizes.
        """
        described = photo.described(class_names or self.class_names)
        number, known = self._entry(photo, detector)
        if known['original'] != photo.described_picture['original']:
            raise ValueError(
                f'{detector} reads {photo.name} in another size than '
                f'{known["detectors"][0]["name"]}: give it a page of its own')
        self.payloads |= photo.payloads(number, len(known['detectors']))
        known['detectors'].append(dict(described, name=detector))

    def _entry(self, photo: Photo,
               detector: str) -> tuple[int, dict[str, Any]]:
        """Return the number and the description of an image that this
        detector was not added to."""
        for number, known in enumerate(self.photos):
            if known['name'] == photo.described_picture['name'] and \
                    detector not in [one['name'] for one in
                                     known['detectors']]:
                return number, known
        self.photos.append(dict(photo.described_picture, detectors=[]))
        self.payloads[f'photo-{len(self.photos) - 1}'] = photo.picture
        return len(self.photos) - 1, self.photos[-1]

    def save(self,
             path: Path,
             failures: Mapping[str, str] | None = None,
             asked: Sequence[str] = (),
             detector: str = '') -> None:
        """Write the page; again, after more was added to it.

        The page says which images failed, and which were not reached.

        Args:
            path (Path): The file; it is there whole, or not at all.
            failures (Mapping, optional): Why images failed, by their names.
            asked (Sequence[str]): The names of all images that the detector
                was to explain. Defaults to those that it did and those that
                failed.
            detector (str): The name of the detector; needed of several.
        """
        shown = [photo['name'] for photo in self.photos
                 if detector in [one['name'] for one in photo['detectors']]]
        self.missing.note(asked, shown, failures or {}, detector)
        write_page(path, 'page', dict(photos=self.photos), self.payloads,
                   self.settings, self.missing, title=self.title)

    def html(self, name: str, data: Mapping[str, Any], **parts: Any) -> str:
        """Return a page about the same that is not kept as a file.

        Args:
            name (str): Of its template.
            data (Mapping): What the script reads beside the photographs.
            **parts: What the template shows beside the title.
        """
        page = page_stream(name, dict(data, photos=self.photos),
                           self.payloads, self.settings, title=self.title,
                           **parts)
        return ''.join(page)

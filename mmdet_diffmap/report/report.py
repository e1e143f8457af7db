# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""A page that shows explanations, in one file that needs no network."""
import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib
import mmdet
import numpy as np
import torch
import torch.nn.functional as F
from markupsafe import Markup
from mmengine.structures import InstanceData
from torch import Tensor

from ..explainers.engine import Explanation
from ..explainers.explainer import JOINT
from ..io.files import printable, replacing
from ..maps.image_frame import Shape
from ..version import __version__
from ..visualization import label_name
from .packed_maps import on_grids, pack_maps

FOLDER = Path(__file__).parent
LONGEST_SIDE = 1600  # of a picture in the page, in pixels
THUMBNAIL = 144
#: Colour maps of heat maps and of signed differences; the first are those of
#: the page when it opens. The colour-blind can read all but turbo and bwr.
SEQUENTIAL = ('turbo', 'inferno', 'viridis', 'cividis')
DIVERGING = ('RdBu_r', 'PuOr_r', 'bwr')
COLOUR_BLIND_SAFE = ('inferno', 'viridis', 'cividis', 'RdBu_r', 'PuOr_r')


class Photo:
    """An image of a report, and what methods say about its objects.

    Args:
        name (str): Its path or URL.
        image (np.ndarray): uint8 BGR, shape (H, W, 3).
    """

    def __init__(self, name: str, image: np.ndarray) -> None:
        self.name = name
        self.image = image
        self.shown = fitted(image.shape[:2], LONGEST_SIDE)
        self.instances: InstanceData | None = None
        self.methods: list[dict[str, Any]] = []
        self.cells: list[bytes] = []

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
        elif not torch.equal(instances.labels.cpu(), self.instances.labels):
            raise ValueError('the detector found other objects when it ran '
                             f'again for {method}')
        description, cells = packed(explanation, self.shown)
        self.methods.append(dict(name=method, **description))
        self.cells.append(cells)


class Report:
    """An interactive page about the objects of several images.

    Shows each object's heat map and difference maps over its photograph, the
    difference of any two objects, and the maps of single outputs. Differences
    are computed in the page, from heat maps in eight bits on the detector's
    grids.

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
        #: By the id of an element of the page, its text in base64.
        self.payloads: dict[str, str] = {}

    def add(self, photo: Photo) -> None:
        """Add an image.

        Raises:
            ValueError: If no method was added to it.
        """
        instances = photo.instances
        if instances is None:
            raise ValueError(f'{photo.name} has maps of no method')
        number, image = len(self.photos), photo.image
        self.payloads[f'photo-{number}'] = jpeg(image, photo.shown)
        for index, cells in enumerate(photo.cells):
            self.payloads[f'maps-{number}-{index}'] = base64.b64encode(
                cells).decode()
        self.photos.append(
            dict(
                name=printable(photo.name),
                size=photo.shown[::-1],
                original=image.shape[1::-1],
                thumbnail=jpeg(image, fitted(image.shape[:2], THUMBNAIL)),
                objects=[
                    dict(
                        label=label_name(self.class_names, int(label)),
                        score=float(score),
                        box=box.tolist())
                    for label, score, box in zip(
                        instances.labels, instances.scores, instances.bboxes)
                ],
                methods=photo.methods))

    def save(self,
             path: Path,
             failures: Mapping[str, str] | None = None) -> None:
        """Write the page.

        Args:
            path (Path): The file; it is there whole, or not at all.
            failures (Mapping, optional): Why images failed, by their names.
        """
        settings = self.settings | {
            'versions': f'mmdet_diffmap {__version__}, mmdet '
            f'{mmdet.__version__}, torch {torch.__version__}',
            'written': datetime.now().astimezone().strftime('%F %H:%M %Z'),
        }
        settings |= {f'failed: {printable(name)}': why
                     for name, why in (failures or {}).items()}
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
            undefined=jinja2.StrictUndefined)
        # maps lie in the cells in the order of their names here
        environment.policies['json.dumps_kwargs'] = dict(sort_keys=False)
        page = environment.get_template('page.html').stream(
            title=self.title,
            style=Markup((FOLDER / 'page.css').read_text()),
            scripts=[Markup((FOLDER / name).read_text())
                     for name in ('maps.js', 'page.js')],
            data=dict(
                title=self.title,
                photos=self.photos,
                settings=settings,
                colours={name: colours(name)
                         for name in SEQUENTIAL + DIVERGING},
                sequential=SEQUENTIAL,
                diverging=DIVERGING,
                safe=COLOUR_BLIND_SAFE),
            payloads=self.payloads)
        with replacing(path) as file:
            page.dump(file, encoding='utf-8', errors='replace')


def packed(explanation: Explanation,
           shown: Shape) -> tuple[dict[str, Any], bytes]:
    """Return the maps of an explanation for a picture of a size (height,
    width)."""
    heatmaps: Tensor = explanation.sample.pred_instances.heatmaps
    if explanation.grids:
        return pack_maps(explanation.grids, len(heatmaps), explanation.frame,
                         shown)
    heatmaps = heatmaps.float()
    if len(heatmaps) and tuple(heatmaps.shape[-2:]) != shown:
        heatmaps = F.interpolate(heatmaps[None], size=shown, mode='area')[0]
    maps, frame = on_grids(heatmaps)
    return pack_maps({JOINT: maps}, len(heatmaps), frame, shown)


def fitted(size: Sequence[int], longest: int) -> Shape:
    """Height and width, made smaller until the longer is ``longest``."""
    scale = min(1, longest / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def jpeg(image: np.ndarray, size: Shape) -> str:
    """Return an image (BGR) of another size (height, width) as JPEG, in
    base64."""
    if size != image.shape[:2]:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return base64.b64encode(content.tobytes()).decode()


def colours(name: str) -> str:
    """256 colours of a colour map, as hexadecimal digits RRGGBB."""
    values = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return np.uint8(np.rint(255 * values)).tobytes().hex()

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What all pages are written of: one file each that needs no network."""
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
from markupsafe import Markup

from ..io.files import printable, replacing
from ..maps.image_frame import Shape
from ..version import __version__

FOLDER = Path(__file__).parent
#: The scripts of each page, beside those that pages share.
SCRIPTS = dict(page=('gallery.js', 'objects.js', 'page.js'),
               errors=('errors.js', ))
LONGEST_SIDE = 1600  # of a picture in a page, in pixels
THUMBNAIL = 144
#: Colour maps of heat maps and of signed differences; the first are those of
#: a page when it opens. The colour-blind can read all but turbo and bwr.
SEQUENTIAL = ('turbo', 'inferno', 'viridis', 'cividis')
DIVERGING = ('RdBu_r', 'PuOr_r', 'bwr')
COLOUR_BLIND_SAFE = ('inferno', 'viridis', 'cividis', 'RdBu_r', 'PuOr_r')


def write_page(path: Path, name: str, data: Mapping[str, Any],
               payloads: Mapping[str, str], settings: Mapping[str, str],
               failures: Mapping[str, str] | None, **parts: Any) -> None:
    """Write a page.

    Args:
        path (Path): The file; it is there whole, or not at all.
        name (str): Of the page's template, style sheet and script.
        data (Mapping): What the script reads, ready for JSON.
        payloads (Mapping): By name, what else the script reads, in base64.
        settings (Mapping): What made the maps, by name, to be read by people.
        failures (Mapping, optional): Why images failed, by their names.
        **parts: What the template shows by itself.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
        undefined=jinja2.StrictUndefined)
    # maps lie in the cells in the order of their names here
    environment.policies['json.dumps_kwargs'] = dict(sort_keys=False)
    page = environment.get_template(f'{name}.html').stream(
        style=trusted('shared.css', f'{name}.css'),
        script=trusted('maps.js', 'shared.js', *SCRIPTS[name]),
        data=dict(
            data,
            settings=described(settings, failures or {}),
            colours={name: colours(name) for name in SEQUENTIAL + DIVERGING},
            sequential=SEQUENTIAL,
            diverging=DIVERGING,
            safe=COLOUR_BLIND_SAFE),
        payloads=payloads,
        **parts)
    with replacing(path) as file:
        page.dump(file, encoding='utf-8', errors='replace')


def trusted(*names: str) -> Markup:
    """Return the text of files of the package, which a template must not
    escape."""
    return Markup('\n'.join((FOLDER / name).read_text() for name in names))


def described(settings: Mapping[str, str],
              failures: Mapping[str, str]) -> dict[str, str]:
    """Return settings with what every page says beside them."""
    return {
        **settings,
        'versions': f'mmdet_diffmap {__version__}, mmdet '
        f'{mmdet.__version__}, torch {torch.__version__}',
        'written': datetime.now().astimezone().strftime('%F %H:%M %Z'),
        **{f'failed: {printable(name)}': why
           for name, why in failures.items()},
    }


def described_picture(name: str, image: np.ndarray,
                      shown: Shape) -> dict[str, Any]:
    """Return what a page says of every picture, ready for JSON.

    Args:
        name (str): Its path or URL.
        image (np.ndarray): uint8 BGR, shape (H, W, 3).
        shown (tuple): Height and width in the page.
    """
    return dict(
        name=printable(name),
        size=shown[::-1],
        original=image.shape[1::-1],
        thumbnail=jpeg(image, fitted(image.shape[:2], THUMBNAIL)))


def fitted(size: Sequence[int], longest: int) -> Shape:
    """Height and width, made smaller until the longer is ``longest``."""
    scale = min(1, longest / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def base64_text(content: bytes) -> str:
    """Return bytes as text that a page can hold."""
    return base64.b64encode(content).decode()


def jpeg(image: np.ndarray, size: Shape) -> str:
    """Return an image (BGR) of another size (height, width) as JPEG, in
    base64."""
    if size != image.shape[:2]:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return base64_text(content.tobytes())


def colours(name: str) -> str:
    """256 colours of a colour map, as hexadecimal digits RRGGBB."""
    values = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return np.uint8(np.rint(255 * values)).tobytes().hex()

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What all pages are written of: one file each that needs no network."""
import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import jinja2
import mmdet
import numpy as np
import torch
from jinja2.environment import TemplateStream
from markupsafe import Markup

from ..io.files import printable, replacing
from ..maps.image_frame import Shape
from ..version import __version__
from ..visualization import colours
from .missing import MissingImages

FOLDER = Path(__file__).parent
PAGE = ('labels.js', 'gallery.js', 'objects.js', 'panels.js', 'bars.js',
        'address.js', 'export.js', 'page.js')
#: The scripts and style sheets of each page, beside those that pages share.
SCRIPTS = dict(page=PAGE, live=(*PAGE, 'live.js'), errors=('errors.js', ))
STYLES = dict(page=('page.css', 'bars.css'),
              live=('page.css', 'bars.css', 'live.css'),
              errors=('errors.css', ))
SHARED = 'maps.js', 'shared.js', 'stage.js', 'keys.js', 'words.js'
#: Colours of boxes, by their names in style sheets.
BOX_COLOURS = dict(target=colours.TARGET, rival=colours.RIVAL,
                   wrong=colours.WRONG, right=colours.RIGHT)
LONGEST_SIDE = 1600  # of a picture in a page, in pixels
THUMBNAIL = 144


def write_page(path: Path, *args: Any, **parts: Any) -> None:
    """Write a page.

    Args:
        path (Path): The file; it is there whole, or not at all.
        *args: See :func:`page_stream`.
        **parts: See :func:`page_stream`.
    """
    page = page_stream(*args, **parts)
    with replacing(path) as file:
        page.dump(file, encoding='utf-8', errors='replace')


def page_stream(name: str, data: Mapping[str, Any],
                payloads: Mapping[str, str], settings: Mapping[str, str],
                missing: MissingImages | None = None,
                **parts: Any) -> TemplateStream:
    """Return the text of a page, piece by piece.

    Args:
        name (str): Of the page's template.
        data (Mapping): What the script reads, ready for JSON.
        payloads (Mapping): By name, what else the script reads, in base64.
        settings (Mapping): What made the maps, by name, to be read by people.
        missing (MissingImages, optional): What the page lacks.
        **parts: What the template shows by itself.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
        undefined=jinja2.StrictUndefined)
    # maps lie in the cells in the order of their names here
    environment.policies['json.dumps_kwargs'] = dict(sort_keys=False)
    return environment.get_template(f'{name}.html').stream(
        box_colours=BOX_COLOURS,
        style=trusted('shared.css', *STYLES[name]),
        script=trusted(*SHARED, *SCRIPTS[name]),
        data=dict(
            data,
            **described_colours(),
            settings=described(settings)),
        payloads=payloads,
        missing=missing and missing.described(),
        **parts)


def trusted(*names: str) -> Markup:
    """Return the text of files of the package, which a template must not
    escape."""
    return Markup('\n'.join((FOLDER / name).read_text() for name in names))


def described(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings with what every page says beside them."""
    return {
        **settings,
        'versions': f'mmdet_diffmap {__version__}, mmdet '
        f'{mmdet.__version__}, torch {torch.__version__}',
        'written': datetime.now().astimezone().strftime('%F %H:%M %Z'),
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


def described_colours() -> dict[str, Any]:
    """Return the colours of maps, ready for JSON: all schemes, tables of
    colours as hexadecimal digits RRGGBB, and which scheme is shown first."""
    shares = np.linspace(0, 1, colours.STEPS)
    return dict(
        schemes={
            name: dict(
                heat=hexadecimal(colours.colour_table(False, name)),
                signed=hexadecimal(colours.colour_table(True, name)),
                safe=scheme.safe)
            for name, scheme in colours.SCHEMES.items()
        },
        colours=colours.scheme_name(),
        opaque=colours.OPAQUE,
        opacity=[round(float(value), 4) for value in
                 colours.opacity(shares) / colours.OPAQUE])


def hexadecimal(table: np.ndarray) -> str:
    """Return a table of colours as hexadecimal digits RRGGBB."""
    return table.tobytes().hex()

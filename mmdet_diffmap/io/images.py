# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Finding and reading the images that are to be explained."""
import glob
import io
import warnings
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get
from PIL import Image, UnidentifiedImageError

# of odd metadata and size. Once and not around each image, since that would
# make Python say again what it has said of other packages
warnings.filterwarnings('ignore', module=r'PIL\.')

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp',
              '.ppm')


def find_images(inputs: Iterable[str]) -> list[str]:
    """List the images that files, folders, glob patterns and URLs stand for.

    Folders give their images, not those of folders inside, in the order of
    their names. A file that does not exist stays in the list, so that reading
    it can say so.

    Raises:
        FileNotFoundError: If a folder holds no image, or a pattern fits no
            file.
    """
    paths: list[str] = []
    for item in inputs:
        if Path(item).is_dir():
            files = sorted(
                str(path) for path in Path(item).iterdir()
                if path.suffix.lower() in EXTENSIONS and path.is_file())
            if not files:
                raise FileNotFoundError(
                    f'folder {item} holds no image ({" ".join(EXTENSIONS)})')
        elif not Path(item).exists() and '://' not in item \
                and glob.has_magic(item):
            files = sorted(
                path for path in glob.glob(item) if Path(path).is_file())
            if not files:
                raise FileNotFoundError(f'no file fits the pattern {item}')
        else:
            files = [item]
        paths += files
    return list(dict.fromkeys(paths))


def read_image(path: str) -> np.ndarray:
    """Read an image as mmdet does by default.

    Args:
        path (str): A file, or a URL of any of mmengine's file backends.

    Returns:
        np.ndarray: uint8 BGR, shape (H, W, 3); turned upright where the file
        says so, 16 bits cut to 8, grey repeated, transparency dropped.

    Raises:
        OSError: If the file is missing, cut short or no image.
    """
    return decode_image(read_content(path), path)


def read_content(path: str, backend_args: dict | None = None) -> bytes:
    """Read an image's file, and make sure that it is whole.

    Args:
        path (str): A file, or a URL of any of mmengine's file backends.
        backend_args (dict, optional): Of the file backend.

    Raises:
        OSError: If the file is missing, no file, or cut short.
    """
    if '://' not in path and Path(path).exists() and \
            not Path(path).is_file():  # reading a pipe would never end
        raise OSError(f'image {path} is no file')
    try:
        content = get(path, backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'image {path} does not exist') from error
    except (URLError, HTTPException) as error:
        raise OSError(f'image {path} cannot be downloaded: {error}') from error
    except (KeyError, ImportError) as error:  # of mmengine's file backends
        raise OSError(f'image {path} cannot be read: there is no file backend '
                      f'for it ({error})') from error
    check_complete(content, path)
    return content


def decode_image(content: bytes,
                 path: str,
                 color_type: str = 'color',
                 backend: str = 'cv2') -> np.ndarray:
    """Decode an image's file as mmcv does.

    Args:
        content (bytes): The file.
        path (str): Its path, for messages.
        color_type, backend (str): See ``mmcv.imfrombytes``.

    Returns:
        np.ndarray: BGR, shape (H, W, 3), or (H, W) where ``color_type`` says
        so.

    Raises:
        OSError: If it is no image.
    """
    try:
        image = mmcv.imfrombytes(content, color_type, backend=backend) \
            if content else None
    except (cv2.error, UnidentifiedImageError) as error:
        reason = error.err if isinstance(error, cv2.error) else error
        raise OSError(f'image {path} is damaged: {reason}') from error
    if image is None:
        raise OSError(f'image {path} is damaged, or of no known format')
    return image


def check_array(image: np.ndarray) -> None:
    """Raise a ValueError unless an array is an image of type uint8, BGR, shape
    (H, W, 3)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 \
            or not image.size:
        raise ValueError('image must be uint8 BGR of shape (H, W, 3), not '
                         f'{image.dtype} of {image.shape}')


def check_complete(content: bytes, path: str) -> None:
    """Raise an OSError for an image file that breaks off: OpenCV would fill
    what is missing with grey."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft('L', (1, 1))  # all of a JPEG is read, little computed
            image.load()
    except UnidentifiedImageError:
        return  # OpenCV knows more formats
    except Exception as error:  # a damaged file fails in any way
        raise OSError(f'image {path} is damaged: {error}') from error

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Scenes as files: mmengine's file layer reads ``scene://SEED/INDEX``,
``twins://SEED/INDEX`` and ``pairs://SEED/INDEX`` as image files, so every
loader, hook and tool of the host can read a scene by its path."""
from collections.abc import Callable

import cv2
from mmengine.fileio import BaseStorageBackend, register_backend

from .pairs import PAIR_CLASSES, render_pairs
from .scenes import CLASSES, Scene, render_scene
from .twins import TWIN_CLASSES, render_twins

#: What is drawn for each prefix of a path, and the classes.
KINDS: dict[str, tuple[Callable[[int, int], Scene], tuple[str, ...]]] = {
    'scene': (render_scene, CLASSES),
    'twins': (render_twins, TWIN_CLASSES),
    'pairs': (render_pairs, PAIR_CLASSES),
}


def scene_path(seed: int, index: int, kind: str = 'scene') -> str:
    """Return the path by which the file layer finds a scene.

    >>> scene_path(0, 2)
    'scene://0/2'
    """
    return f'{kind}://{seed}/{index}'


def read_scene(path: str) -> Scene:
    """Draw the scene of a path.

    Raises:
        FileNotFoundError: If the path is none of a scene.

    >>> scene = read_scene('scene://0/2')
    >>> scene.image.shape
    (192, 192, 3)
    """
    kind, _, place = path.partition('://')
    numbers = place.split('/')
    if kind not in KINDS or len(numbers) != 2 or not all(
            number.isdecimal() for number in numbers):
        raise FileNotFoundError(
            f'{path!r} names no scene; scene://SEED/INDEX, '
            'twins://SEED/INDEX and pairs://SEED/INDEX do, with two whole '
            'numbers')
    render, _ = KINDS[kind]
    return render(int(numbers[0]), int(numbers[1]))


@register_backend('scene', prefixes=tuple(KINDS))
class SceneBackend(BaseStorageBackend):
    """The storage whose files are scenes, as images."""

    def get(self, filepath: str) -> bytes:
        """Return the scene as the bytes of a lossless image file."""
        return cv2.imencode('.bmp', read_scene(filepath).image)[1].tobytes()

    def get_text(self, filepath: str) -> str:
        raise TypeError(f'{filepath!r} is an image, not a text')

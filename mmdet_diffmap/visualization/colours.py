# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""The colours of all that is drawn: of maps, and of boxes.

Figures, videos and pages take them from here, so that one value looks the same
everywhere.
"""
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap

RGB = tuple[int, int, int]

#: Of boxes. Green and pink, and orange and blue, stay apart, and apart from
#: grey, without red or green cones; where all four meet, lines are dashed too.
TARGET: RGB = (0, 230, 120)  # what is explained, or annotated
RIVAL: RGB = (255, 95, 215)  # what that is compared with
WRONG: RGB = (255, 128, 20)  # a detection that is an error
RIGHT: RGB = (170, 230, 255)  # one that is not
OTHER: RGB = (190, 190, 190)
EDGE: RGB = (20, 20, 20)  # around all of them, so that they show on white

#: Of lines and bars on white (Okabe & Ito, "Color Universal Design", 2008),
#: without yellow, which is too light for a line.
LINES = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9',
         '#000000')

STEPS = 256  # colours of a table
OPAQUE = 0.85  # of the photo that the largest value hides
# Colours of a signed map this close to its middle are not used: they are
# nearly white in most colour maps, and a little white over a photo is fog.
PALE = 0.4
KNEE = 0.4**2  # of the opacity: around this value squared it rises fastest
UNDER = 200  # grey under a colour bar


@dataclass(frozen=True)
class Scheme:
    """The colours of maps.

    Args:
        heat (str): Colour map of values in [0, 1], of matplotlib or
            ``OWN``.
        signed (str): Colour map of values in [-1, 1].
        below, above (str): What people call its two ends.
        safe (bool): Whether colour-blind people tell its colours apart.
    """
    heat: str
    signed: str
    below: str
    above: str
    safe: bool = True


#: Colour maps that matplotlib has not, by the colours that they pass through.
OWN = {
    # yellow and blue are what people without red or green cones tell apart
    'blue-orange': ('#0a2a8c', '#1565e0', '#5aa9ff', '#ffffff', '#ffb84a',
                    '#f57c00', '#b23a00'),
}
#: The schemes that can be chosen; the first one is the default.
SCHEMES = {
    'safe': Scheme('plasma', 'blue-orange', 'blue', 'orange'),
    'inferno': Scheme('inferno', 'PuOr_r', 'purple', 'orange'),
    'viridis': Scheme('viridis', 'blue-orange', 'blue', 'orange'),
    'classic': Scheme('turbo', 'bwr', 'blue', 'red', safe=False),
}
DEFAULT = next(iter(SCHEMES))
_chosen = [DEFAULT]


def use_colours(name: str) -> None:
    """Choose the colours of all that is drawn from now on, by this process.

    Args:
        name (str): One of ``SCHEMES``.

    Raises:
        ValueError: If there is no such scheme.

    Example:
        >>> from mmdet_diffmap.visualization import use_colours
        >>> use_colours('viridis')
        >>> use_colours('safe')  # the default
    """
    if name not in SCHEMES:
        raise ValueError(f'there are no colours {name!r}: choose '
                         f'{", ".join(SCHEMES)}')
    _chosen[0] = name


def scheme() -> Scheme:
    """Return the chosen colours."""
    return SCHEMES[_chosen[0]]


def scheme_name() -> str:
    """Return the name of the chosen colours."""
    return _chosen[0]


def opacity(values: np.ndarray) -> np.ndarray:
    """Return how much of the photo values hide.

    Nothing at zero, and nearly nothing around it: the curve is flat there, so
    that no contour shows where a signed map changes its sign, and small values
    lay no fog over the photo.

    Args:
        values (np.ndarray): In [0, 1] or [-1, 1].

    Returns:
        np.ndarray: In [0, ``OPAQUE``], of the same shape.
    """
    square = np.square(values)
    return OPAQUE * square * (1 + KNEE) / (square + KNEE)


def colour_table(signed: bool, name: str | None = None) -> np.ndarray:
    """Return the colours of values, from the lowest to the largest.

    Args:
        signed (bool): Whether values are in [-1, 1], and not in [0, 1].
        name (str, optional): The scheme; defaults to the chosen one.

    Returns:
        np.ndarray: RGB, uint8 (``STEPS``, 3).
    """
    chosen = SCHEMES[name or _chosen[0]]
    places = np.linspace(0, 1, STEPS)
    if signed:
        from_middle = 2 * places - 1
        places = (1 + np.sign(from_middle) *
                  (PALE + (1 - PALE) * np.abs(from_middle))) / 2
    colours = colour_map(chosen.signed if signed else chosen.heat)
    return np.rint(255 * colours(places)[:, :3]).astype(np.uint8)


def colour_map(name: str) -> Colormap:
    """Return a colour map of matplotlib, or of ``OWN``."""
    if name in OWN:
        return LinearSegmentedColormap.from_list(name, OWN[name])
    return colormaps[name]


def overlay(photo: np.ndarray, values: np.ndarray, signed: bool,
            grey: bool = True) -> np.ndarray:
    """Lay a map over the photo; the larger a value, the less of the photo
    shows.

    Args:
        photo (np.ndarray): uint8 RGB, shape (h, w, 3).
        values (np.ndarray): The map, float of any size.
        signed (bool): Whether it is in [-1, 1], and not in [0, 1].
        grey (bool): Whether the photo loses its own colours.

    Returns:
        np.ndarray: uint8 RGB, shape (h, w, 3).
    """
    values = resize(values, (photo.shape[1], photo.shape[0]))
    under = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None] if grey \
        else photo
    shares = (values + 1) / 2 if signed else values
    colours = colour_table(signed)[
        np.rint(shares.clip(0, 1) * (STEPS - 1)).astype(int)]
    return np.rint(under + opacity(values)[..., None] *
                   (colours - under.astype(float))).astype(np.uint8)


def colour_bar(size: tuple[int, int], signed: bool) -> np.ndarray:
    """Return the colours of values as they look over a grey photo, from left
    to right.

    Args:
        size (tuple): Width and height in pixels.
        signed (bool): See :func:`overlay`.

    Returns:
        np.ndarray: uint8 RGB, shape (height, width, 3).
    """
    width, height = size
    values = np.linspace(-1 if signed else 0, 1, width)
    under = np.full((height, width, 3), UNDER, np.uint8)
    return overlay(under, np.tile(values, (height, 1)), signed)


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height), without aliasing when it shrinks."""
    shrinks = size[0] < picture.shape[1] or size[1] < picture.shape[0]
    return cv2.resize(
        picture,
        size,
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

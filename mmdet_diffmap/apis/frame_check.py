# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Whether a test pipeline puts pixels where maps and boxes will be."""
from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..maps.image_frame import ImageFrame

Results = dict[str, Any]
#: In the pictures of coordinates, the value of the last column or row.
LARGEST = 255
#: Sizes of images that are remembered as checked.
REMEMBERED = 10_000


class FrameCheck:
    """Sends pictures of coordinates through the transforms that follow a
    pipeline's loading step, once for each size of image.

    From what arrives, each pixel's column and row in the original image are
    read. They must be those that :class:`ImageFrame` computes from
    ``ori_shape``, ``scale_factor`` and ``border`` or ``pad_param``, as the
    host does when it takes boxes back to the original image. A crop, a flip, a
    rotation or a second resizing is noted in none of them.

    Transforms that draw random numbers draw the same for the pictures and for
    the image that follows, and are checked anew for each image.

    Args:
        transforms (Sequence[Callable]): The transforms.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms
        self.sizes: set[tuple[int, ...]] = set()

    def __call__(self, results: Results) -> None:
        """Check what becomes of an image.

        Args:
            results (dict): From the pipeline's loading step; left as it is.

        Raises:
            ValueError: If its pixels do not arrive where they should; it
                names the transform.
        """
        size = results['img'].shape
        if size in self.sizes:
            return
        before = random_states()
        try:
            misplacing = self.first_misplacing(results)
            drawn = not same_states(before, random_states())
        finally:
            restore(before)
        if misplacing is not None:
            raise ValueError(
                f'{misplacing} of the test pipeline moves pixels in a way '
                'that scale_factor does not tell, so that boxes and maps '
                'would lie elsewhere in the image: leave it out of the '
                'config\'s test pipeline')
        if not drawn and len(self.sizes) < REMEMBERED:
            self.sizes.add(size)

    def first_misplacing(self, results: Results) -> str | None:
        """Name the first transform after which pixels lie elsewhere, if they
        still do at the end; None if all is well, or the pipeline takes no
        picture at all."""
        before = random_states()
        for kind in (np.float32, np.uint8):  # some transforms take bytes alone
            try:
                return self.follow(results, kind)
            except Exception:  # each transform fails in its own way; where
                restore(before)  # both do, the image will say how
        return None

    def follow(self, results: Results, kind: Any) -> str | None:
        """See :meth:`first_misplacing`; with pictures of one type."""
        original = results['img'].shape
        runs = [dict(copy.deepcopy(without_image(results)), img=picture)
                for picture in coordinate_pictures(original, kind)]
        misplacing: str | None = None
        for transform in self.transforms:
            images = [pixels(run) for run in runs]
            runs = apply(transform, runs)
            if changes_values_alone(images, runs):
                for run, image in zip(runs, images):
                    put_pixels(run, image)
            if in_place(runs, original, kind):
                misplacing = None
            elif misplacing is None:
                misplacing = type(transform).__name__
        return misplacing


def coordinate_pictures(shape: Sequence[int], kind: Any) -> list[np.ndarray]:
    """Make four pictures of a shape (H, W) or (H, W, C): the smallest value
    everywhere, the largest, one that grows from column to column, and one
    that grows from row to row."""
    height, width = shape[:2]
    columns, rows = (
        np.arange(length) / max(1, length - 1) * LARGEST
        for length in (width, height))
    if kind is np.uint8:
        columns, rows = columns.round(), rows.round()
    rest = [1] * (len(shape) - 2)
    pictures = []
    for values in (0, LARGEST, columns.reshape(1, width, *rest),
                   rows.reshape(height, 1, *rest)):
        picture = np.empty(shape, kind)
        picture[:] = values
        pictures.append(picture)
    return pictures


def apply(transform: Callable, runs: Sequence[Results]) -> list[Results]:
    """Apply a transform to all pictures, with the same random numbers."""
    before = random_states()
    made = []
    for run in runs:
        restore(before)
        made.append(transform(run))
    return made


def in_place(runs: Sequence[Results], original: Sequence[int],
             kind: Any) -> bool:
    """Whether the pixels of the coordinate pictures lie where the frame says.

    Args:
        runs (Sequence[dict]): The pictures on their way.
        original (Sequence[int]): The shape of the image, (H, W, ...).
        kind (Any): Their type; bytes tell coordinates coarsely.
    """
    smallest, largest, columns, rows = (channel(run) for run in runs)
    span = largest - smallest
    shown = np.abs(span) > 1e-3 * max(float(np.abs(span).max()), 1e-9)
    frame = ImageFrame.of_metainfo(metainfo(runs[0]), shown.shape)
    content = frame.content
    if content[0].stop > shown.shape[0] or content[1].stop > shown.shape[1]:
        return False  # a part is cut off
    near = tuple(
        slice(max(0, axis.start - 1), axis.stop + 1) for axis in content)
    outside = shown.copy()
    outside[near] = False  # resizing blends one pixel
    if outside.any():
        return False
    inside = shown[content]
    for axis, picture in enumerate((rows, columns)):
        length, scale = original[axis], frame.scale[1 - axis]
        places = (np.arange(inside.shape[axis]) + .5) / scale - .5
        places = places.clip(0, length - 1)
        expected = places[:, None] if axis == 0 else places[None]
        with np.errstate(divide='ignore', invalid='ignore'):
            found = ((picture - smallest) / span)[content] * (length - 1)
        step = (length - 1) / LARGEST if kind is np.uint8 else 0.
        # a pixel of the input, or the nearest one of the image
        allowed = max(1., 1 / scale) + step
        if (np.abs(found - expected)[inside] > allowed).any():
            return False
    return True


def changes_values_alone(images: Sequence[np.ndarray],
                         runs: Sequence[Results]) -> bool:
    """Whether a transform has left all pixels where they were: columns are
    columns still and rows are rows, and at their ends is what has become of
    the smallest and the largest value.

    Args:
        images (Sequence[np.ndarray]): The pictures before it.
        runs (Sequence[dict]): The pictures after it.
    """
    if pixels(runs[0]).shape != images[0].shape:
        return False
    smallest, largest, columns, rows = (channel(run) for run in runs)
    return all(
        (picture == picture[:1]).all()
        and np.array_equal(picture[:, 0], flat[0][:, 0])
        and np.array_equal(picture[:, -1], flat[1][:, -1])
        for picture, flat in ((columns, (smallest, largest)),
                              (rows.T, (smallest.T, largest.T))))


def channel(run: Results) -> np.ndarray:
    """Return the first channel (h, w) of a picture."""
    image = pixels(run)
    return (image if image.ndim == 2 else image[..., 0]).astype(np.float64)


def pixels(run: Results) -> np.ndarray:
    """Return a picture (h, w) or (h, w, C) on its way."""
    if 'inputs' not in run:
        return run['img']
    return run['inputs'].permute(1, 2, 0).numpy()  # packed


def put_pixels(run: Results, image: np.ndarray) -> None:
    """Replace a picture on its way."""
    if 'inputs' in run:
        run['inputs'] = torch.from_numpy(image).permute(2, 0, 1)
    else:
        run['img'] = image


def metainfo(run: Results) -> dict[str, Any]:
    """Return what is known of the frame of a picture on its way."""
    return run['data_samples'].metainfo if 'data_samples' in run else run


def without_image(results: Results) -> Results:
    return {key: value for key, value in results.items() if key != 'img'}


def random_states() -> tuple:
    """Return the states of all generators that transforms draw from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def restore(states: tuple) -> None:
    """Take the generators back to earlier states."""
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def same_states(first: tuple, second: tuple) -> bool:
    """Whether no random number was drawn between two states."""
    return first[0] == second[0] and torch.equal(first[2], second[2]) and all(
        np.array_equal(*pair) for pair in zip(first[1], second[1]))

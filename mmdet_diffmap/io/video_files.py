# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Reading videos, and writing them: a video is there whole, or not at all."""
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .encoders import ENCODERS, find_encoder, frames_in
from .files import current_umask


@dataclass(frozen=True)
class Video:
    """A video that is being read.

    Args:
        capture (cv2.VideoCapture): Behind the first frame.
        first (np.ndarray): That frame, BGR, uint8 (H, W, 3).
        rate (float): Frames a second.
        count (int): About how many frames it has.
    """
    capture: cv2.VideoCapture
    first: np.ndarray
    rate: float
    count: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.first.shape[1], self.first.shape[0]

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every ``every``-th frame, from the first on; to be read once."""
        number, frame = 0, self.first
        has_frame = True
        while has_frame:
            if number % every == 0:
                yield frame
            number += 1
            # a frame that is left out is not decoded into a picture
            if number % every == 0:
                has_frame, frame = self.capture.read()
            else:
                has_frame = self.capture.grab()


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[Video]:
    """Give a video for reading.

    Raises:
        OSError: If there is none, or it cannot be read.
    """
    name = os.fspath(path)
    if '://' not in name and not Path(name).is_file():
        raise FileNotFoundError(f'video {name} does not exist')
    capture = cv2.VideoCapture(name)
    try:
        if not capture.isOpened():
            raise OSError(f'video {name} is damaged, or of no kind that '
                          'OpenCV reads: convert it to .mp4')
        has_frame, first = capture.read()
        if not has_frame:
            raise OSError(f'video {name} holds no frame that can be read')
        rate = capture.get(cv2.CAP_PROP_FPS)
        if not 0 < rate < float('inf'):
            raise OSError(f'video {name} does not say its frame rate: '
                          'convert it to .mp4')
        count = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        yield Video(capture, first, rate, count)
    finally:
        capture.release()


@contextmanager
def writing(path: Path, rate: float,
            size: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that writes the next frame, BGR, uint8 (H, W, 3). The
    video takes its place when the context ends well, and vanishes otherwise.

    Encoders take even sizes alone: the last row, or column, of an odd number
    is there twice. A frame is encoded while the caller makes the next one.

    Raises:
        OSError: If it cannot be written.
    """
    even = size[0] + size[0] % 2, size[1] + size[1] % 2
    encoder = find_encoder(rate, even)
    if encoder is None:
        raise OSError(
            f'video {path} cannot be written: OpenCV has no encoder '
            f'({" or ".join(ENCODERS)}) for {even[0]}x{even[1]} pixels at '
            f'{rate:g} frames a second; the opencv-python that pip installs '
            'has one for common sizes')
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f'.{path.stem}.', suffix='.mp4')
    os.close(handle)  # OpenCV opens files by their names
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*encoder), rate,
                             even)
    written = 0
    encoding: Future[None] | None = None

    def encode(frame: np.ndarray) -> None:
        writer.write(frame)

    def write(frame: np.ndarray) -> None:
        nonlocal encoding, written
        padded = cv2.copyMakeBorder(
            frame, 0, frame.shape[0] % 2, 0, frame.shape[1] % 2,
            cv2.BORDER_REPLICATE)
        if encoding is not None:
            encoding.result()
        encoding = thread.submit(encode, padded)
        written += 1

    try:
        with ThreadPoolExecutor(1) as thread:
            yield write
        if encoding is not None:
            encoding.result()
        writer.release()
        if frames_in(name) != written:  # OpenCV does not tell of a full disk
            raise OSError(f'video {path} cannot be written: its file breaks '
                          'off')
        os.chmod(name, 0o666 & ~current_umask())  # mkstemp's are private
        os.replace(name, path)
    except BaseException:
        writer.release()
        os.unlink(name)
        raise

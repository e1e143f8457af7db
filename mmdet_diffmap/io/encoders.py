# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which encoder writes a video that browsers play."""
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np

#: The four letters by which OpenCV knows an encoder for .mp4, the best first.
#: H.264 plays everywhere and is quick, but the OpenCV that pip installs on
#: Linux leaves it out, since x264 is under the GPL. VP9 is there, plays in the
#: browsers of today and takes longer. MPEG-4 part 2 (mp4v), which every build
#: has, plays in none.
ENCODERS = ('avc1', 'vp09')


@cache
def find_encoder(rate: float, size: tuple[int, int]) -> str | None:
    """Return the first of the encoders that works, None if there is none.

    OpenCV does not say which it has: one has to try. FFmpeg tells the terminal
    why it has none, whatever OpenCV's log level, and so each is tried in a
    process of its own, whose words nobody sees.

    Args:
        rate (float): Frames a second.
        size (tuple[int, int]): Width and height, even numbers.

    Returns:
        str: One of ``ENCODERS``.
    """
    for encoder in ENCODERS:
        attempt = subprocess.run(
            [sys.executable, __file__, encoder, str(rate), *map(str, size)],
            capture_output=True, check=False)
        if attempt.returncode == 0:
            return encoder
    return None


def works(encoder: str, rate: float, size: tuple[int, int]) -> bool:
    """Whether an encoder writes two frames that can be read again."""
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        name = str(Path(folder, 'attempt.mp4'))
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*encoder), rate,
                                 size)
        for _ in range(2):
            writer.write(frame)
        writer.release()
        return frames_in(name) == 2


def frames_in(name: str) -> int:
    """Return the number of frames of a finished video."""
    capture = cv2.VideoCapture(name)
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


if __name__ == '__main__':
    letters, per_second, width, height = sys.argv[1:]
    sys.exit(not works(letters, float(per_second), (int(width), int(height))))

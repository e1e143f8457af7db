"""Short videos for tests."""
import cv2
import numpy as np

from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.io.video_files import opened

SIZE = 240, 192  # of the clips: width, height
RATE = 12.5


def rendered(step, vanished=()):
    """A frame in which one figure of a scene moves to the right over a
    background, and another stands still."""
    scene = render_scene(0, 2)
    frame = cv2.resize(cv2.GaussianBlur(scene.image, None, 20), SIZE)
    chosen = np.argsort(-scene.masks.sum(axis=(1, 2)))[:2]
    for number, (index, left, top) in enumerate(
            zip(chosen, (5 + 4 * step, 150), (110, 10))):
        if number in vanished:
            continue
        x1, y1, x2, y2 = scene.boxes[index].astype(int)
        place = frame[top:top + y2 - y1, left:left + x2 - x1]
        mask = scene.masks[index, y1:y2, x1:x2]
        place[mask] = scene.image[y1:y2, x1:x2][mask]
    return frame


def write_clip(path, frames, rate=RATE):
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'FFV1'), rate,
                             size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_clip(path):
    """The frames, as integers, and the frame rate."""
    with opened(path) as video:
        return [one.astype(int) for one in video.frames()], video.rate


def read_explained(path):
    """The pictures of a video of explanations, and its legends."""
    frames, _ = read_clip(path)
    return ([frame[:SIZE[1]] for frame in frames],
            [frame[SIZE[1]:] for frame in frames])


def distance_from(box, shape):
    """How far each pixel is from a box."""
    x1, y1, x2, y2 = box.tolist()
    y, x = np.mgrid[:shape[0], :shape[1]]
    return np.hypot(np.maximum(0, np.maximum(x1 - x, x - x2)),
                    np.maximum(0, np.maximum(y1 - y, y - y2)))

# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Which detection of a frame is which object of the frames before."""
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou


@dataclass
class Track:
    """What is known of an object.

    Args:
        box (np.ndarray): Where it was last found: (x1, y1, x2, y2).
        label (int): Its class.
        motion (np.ndarray): By how much it moves in a frame: (x, y).
        missed (int): For how many frames it has not been found.
    """
    box: np.ndarray
    label: int
    motion: np.ndarray
    missed: int = 0

    @property
    def expected(self) -> np.ndarray:
        """Where it is in the next frame if it moves on."""
        return self.box + np.tile(self.motion, 2) * (self.missed + 1)


class Tracker:
    """Follows objects by the overlap of their boxes from frame to frame.

    Only boxes of one class are the same object. It is looked for where it was
    last found, and where it is if it has moved on as before; the larger IoU
    counts. Of all ways to pair a frame's boxes with the known objects, that
    with the largest sum of IoUs is taken. Of a new object it is assumed that
    it moves as most others do, as they do where the camera turns. So an object
    that changes its course by more than its own size from one frame to the
    next is a new one.

    Args:
        min_iou (float): Boxes with a smaller IoU are different objects.
            Defaults to 0.2.
        patience (int): For how many frames in a row an object may not be
            found and keep its number. Defaults to 10, a third of a second at
            30 frames a second.
    """

    def __init__(self, min_iou: float = 0.2, patience: int = 10) -> None:
        self.min_iou = min_iou
        self.patience = patience
        self.tracks: dict[int, Track] = {}
        self.count = 0  # of all objects ever seen

    def update(self, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Take the detections of the next frame.

        Args:
            boxes (np.ndarray): Shape (N, 4), last dim (x1, y1, x2, y2).
            labels (np.ndarray): Their classes, shape (N, ).

        Returns:
            np.ndarray: The number of each detection's object, int64,
            shape (N, ). Objects are numbered from 0 in the order in which
            they appear, and those of a frame in the order in which they are
            given.
        """
        numbers = self._known(boxes, labels)
        for track in self.tracks.values():
            track.missed += 1
        steps = [self._move(self.tracks[number], box)
                 for number, box in zip(numbers.tolist(), boxes)
                 if number >= 0]
        common = np.median(steps, axis=0) if steps else np.zeros(2)
        for row in np.flatnonzero(numbers < 0):
            numbers[row] = self.count
            self.tracks[self.count] = Track(boxes[row], int(labels[row]),
                                            common)
            self.count += 1
        self.tracks = {
            number: track
            for number, track in self.tracks.items()
            if track.missed <= self.patience
        }
        return numbers

    def _known(self, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the number of each detection's object, shape (N, ); -1 where
        it is new."""
        tracks = self.tracks.values()
        overlap = np.maximum(
            overlaps(boxes, np.array([track.box for track in tracks])),
            overlaps(boxes, np.array([track.expected for track in tracks])))
        same = labels[:, None] == [track.label for track in tracks]
        overlap = np.where(same & (overlap >= self.min_iou), overlap, 0)
        numbers = np.full(len(boxes), -1, np.int64)
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True)):
            if overlap[row, column] > 0:
                numbers[row] = list(self.tracks)[column]
        return numbers

    @staticmethod
    def _move(track: Track, box: np.ndarray) -> np.ndarray:
        """Take an object's new box; return by how much it moved in a
        frame."""
        step: np.ndarray = (box - track.box).reshape(2, 2).mean(axis=0) / \
            track.missed
        track.motion = (track.motion + step) / 2  # boxes tremble
        track.box, track.missed = box, 0
        return step


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU of every box (N, 4) with every other (M, 4): shape (N,
    M), 0 for boxes without an area."""
    boxes = [torch.as_tensor(array, dtype=torch.double).view(-1, 4)
             for array in (first, second)]
    return box_iou(*boxes).nan_to_num(0).numpy()

"""Methods whose maps are squares, measured on the detector of squares, so that
all scores have closed forms."""
import numpy as np
import torch
from squares import SquareDetector

from mmdet_diffmap.evaluation import (
    GroundTruth,
    ImageScorer,
    Methods,
    Protocol,
)
from mmdet_diffmap.explainers import Explainer
from mmdet_diffmap.lab.speed import input_batch

#: In pixels of a 120 x 150 input, padded to 128 x 160, which shows an image
#: of 60 x 75 pixels.
SQUARES = [(0, 0, 40, 40), (80, 60, 140, 100)]
AREAS = [1600, 2400]
LIGHT = 200


class Pointer(Explainer):
    """A map for each object: its own square, or another's."""

    def __init__(self, targets=(0, 1)):
        super().__init__()
        self.targets = targets

    def __call__(self, trace):
        maps = torch.zeros(len(trace), *trace.frame.image_shape)
        for heatmap, target in zip(maps, self.targets):
            x1, y1, x2, y2 = (side // 2 for side in SQUARES[target])
            heatmap[y1:y2, x1:x2] = 1
        return maps


def truth(squares=SQUARES):
    """Return the squares as annotated objects, in the image's frame."""
    return GroundTruth.of_instances([
        dict(bbox=[side / 2 for side in square], bbox_label=i, mask=[[
            x for corner in ((0, 1), (2, 1), (2, 3), (0, 3))
            for x in (square[corner[0]] / 2, square[corner[1]] / 2)]])
        for i, square in enumerate(squares)])


def data():
    """Return an even image."""
    return input_batch(np.full((60, 75, 3), LIGHT, np.uint8), (120, 150))


def measure(methods, model=None, batch_size=16, annotated=None, **options):
    """Return what is measured, and the scorer that measured it."""
    scorer = ImageScorer(model or SquareDetector(*SQUARES), Methods(methods),
                         Protocol(**options), batch_size)
    return scorer(data(), annotated or truth(), 3)[1], scorer


def percent(result, method, direction, kind, target):
    """Return one curve in per cent of the untouched score."""
    original = LIGHT / 255
    return 100 * np.array(
        result['scores'][method][direction][kind][target]) / original

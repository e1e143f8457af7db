import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from squares import SquareDetector

from mmdet_diffmap.evaluation.ground_truth import GroundTruth
from mmdet_diffmap.evaluation.objects import (
    ObjectChoice,
    match_objects,
    matched_scores,
)
from mmdet_diffmap.evaluation.protocol import Protocol
from mmdet_diffmap.tracing.detector import DetectorAdapter

from . import pointing


def detections(*rows):
    """Rows of (x1, y1, x2, y2, score, label)."""
    values = torch.tensor(rows, dtype=torch.float).view(-1, 6)
    return InstanceData(bboxes=values[:, :4], scores=values[:, 4],
                        labels=values[:, 5].long())


def truth(*rows, **more):
    """Rows of (x1, y1, x2, y2, label)."""
    return GroundTruth.of_instances([
        dict(bbox=list(row[:4]), bbox_label=row[4], ignore_flag=0, **more)
        for row in rows])


def test_the_best_detection_takes_an_object():
    matches = match_objects(
        detections((0, 0, 10, 10, .6, 1), (0, 0, 10, 9, .9, 1),
                   (20, 0, 30, 10, .5, 1)),
        truth((20, 0, 30, 10, 1), (0, 0, 10, 10, 1)), .4, .5)
    assert matches == ([1, 2], [1, 0])  # the first finds nothing unclaimed


def test_a_second_object_is_left_for_the_second_detection():
    # both overlap most with the first object; the second one takes the other
    matches = match_objects(
        detections((0, 0, 10, 10, .9, 0), (1, 0, 11, 10, .8, 0)),
        truth((0, 0, 10, 10, 0), (3, 0, 13, 10, 0)), .4, .5)
    assert matches == ([0, 1], [0, 1])


@pytest.mark.parametrize('row', [
    (0, 0, 10, 10, .4, 1),  # a score that is not larger
    (0, 0, 10, 10, .9, 2),  # another class
    (0, 0, 10, 5, .9, 1),  # IoU of just 0.5
])
def test_what_is_no_object(row):
    assert match_objects(detections(row), truth((0, 0, 10, 10, 1)), .4,
                         .5) == ([], [])


def test_images_without_annotations_or_detections():
    assert match_objects(detections((0, 0, 9, 9, .9, 1)), truth(), .4,
                         .5) == ([], [])
    assert match_objects(detections(), truth((0, 0, 9, 9, 1)), .4,
                         .5) == ([], [])


def test_crowds_are_ignored():
    annotated = GroundTruth.of_instances([
        dict(bbox=[0, 0, 9, 9], bbox_label=1, ignore_flag=1),
        dict(bbox=[1, 0, 9, 9], bbox_label=2, ignore_flag=0)])
    assert annotated.labels.tolist() == [2]


def test_scores_of_objects_that_are_found_again():
    objects = detections((0, 0, 10, 10, .9, 0), (20, 0, 30, 10, .9, 1),
                         (40, 0, 50, 10, .9, 0))
    again = detections((0, 0, 10, 8, .3, 0), (0, 0, 10, 9, .7, 0),
                       (0, 0, 10, 10, .8, 1), (20, 0, 30, 5, .6, 1))
    scores = matched_scores(objects, [again, detections(), objects, again], .5)
    expected = [[.7, 0, 0], [0, 0, 0], [.9, .9, .9], [.7, 0, 0]]
    torch.testing.assert_close(scores, torch.tensor(expected))
    assert matched_scores(objects, [detections()], .5).tolist() == [[0, 0, 0]]
    again.scores[1] = float('nan')
    assert matched_scores(objects, [again], .5).isnan().tolist() == [
        [True, False, False]]


def test_masks_of_every_form():
    mask = np.zeros((6, 8), np.uint8, order='F')
    mask[1:4, 2:7] = 1
    encoded = coco_mask.encode(mask)
    plain = dict(size=[6, 8], counts=[2 * 6 + 1, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                                      6 + 2])
    polygon = [[2, 1, 7, 1, 7, 4, 2, 4]]
    annotated = GroundTruth.of_instances([
        dict(bbox=[2, 1, 7, 4], bbox_label=0, mask=form)
        for form in (encoded, plain, polygon)])
    assert np.array_equal(annotated.mask_arrays((6, 8)), [mask == 1] * 3)


def test_without_masks():
    assert truth((0, 0, 9, 9, 1)).mask_arrays((9, 9)) is None


class Moving(SquareDetector):
    """Finds another box at every run."""

    def predict(self, inputs, samples, **options):
        x1, y1, x2, y2 = self.squares[0]
        self.squares = ((x1, y1, x2 + 8, y2), *self.squares[1:])
        return super().predict(inputs, samples, **options)


def test_two_runs_must_find_the_same_objects():
    model = Moving(*pointing.SQUARES)
    choice = ObjectChoice(pointing.truth(), Protocol())
    adapter = DetectorAdapter(model, None)
    choice(adapter.trace(pointing.data()))
    with pytest.raises(RuntimeError, match='two runs of the detector find'):
        choice(adapter.trace(pointing.data()))

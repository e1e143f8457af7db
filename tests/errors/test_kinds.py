"""The kinds of errors, on cases whose kind can be read off."""
import pytest
import torch
from mmengine.structures import InstanceData

from mmdet_diffmap.errors.kinds import (
    Kind,
    Thresholds,
    image_errors,
)
from mmdet_diffmap.evaluation.ground_truth import GroundTruth


def truth_of(*rows):
    """Of rows (x1, y1, x2, y2, label)."""
    return GroundTruth.of_instances([
        dict(bbox=row[:4], bbox_label=row[4]) for row in rows])


def detections_of(*rows):
    """Of rows (x1, y1, x2, y2, label, score)."""
    values = torch.tensor(rows, dtype=torch.float).view(-1, 6)
    return InstanceData(bboxes=values[:, :4], labels=values[:, 4].long(),
                        scores=values[:, 5])


CAT, DOG = (0, 0, 10, 10, 0), (20, 0, 30, 10, 1)


@pytest.mark.parametrize('box, label, kind, about, iou', [
    ((0, 0, 10, 8), 0, Kind.CORRECT, 0, 0.8),
    ((0, 0, 10, 3), 0, Kind.BADLY_PLACED, 0, 0.3),
    ((0, 0, 10, 1), 0, Kind.BADLY_PLACED, 0, 0.1),
    ((0, 0, 10, 5), 1, Kind.WRONG_CLASS, 0, 0.5),
    ((0, 0, 10, 4), 1, Kind.BOTH, 0, 0.4),
    ((0, 0, 10, 0.5), 1, Kind.BACKGROUND, -1, 0),
    ((40, 40, 50, 50), 1, Kind.BACKGROUND, -1, 0),
    ((20, 0, 30, 10), 0, Kind.WRONG_CLASS, 1, 1),
])
def test_kind_of_one_detection(box, label, kind, about, iou):
    errors = image_errors(
        detections_of((*box, label, 0.5)), truth_of(CAT, DOG))
    assert errors.kinds == [kind]
    assert errors.objects.tolist() == [about]
    assert errors.ious.tolist() == pytest.approx([iou])
    nearly = about if kind in (Kind.BADLY_PLACED, Kind.WRONG_CLASS) else None
    found = about if kind is Kind.CORRECT else None
    assert errors.found_by.tolist() == [
        0 if number == found else -1 for number in (0, 1)]
    assert errors.missed.tolist() == [
        number for number in (0, 1) if number not in (nearly, found)]


def test_better_detections_come_first():
    """The second is a duplicate, whichever fits better."""
    errors = image_errors(
        detections_of((0, 0, 10, 9, 0, 0.3), (0, 0, 10, 6, 0, 0.8)),
        truth_of(CAT))
    assert errors.detections.scores.tolist() == pytest.approx([0.8, 0.3])
    assert errors.kinds == [Kind.CORRECT, Kind.DUPLICATE]
    assert errors.of_kind(Kind.DUPLICATE) == [1]
    assert errors.objects.tolist() == [0, 0] and not len(errors.missed)


def test_the_best_of_those_that_would_find_an_object():
    errors = image_errors(
        detections_of((0, 0, 10, 4, 0, 0.5), (0, 0, 10, 9, 1, 0.7),
                      (0, 0, 10, 8, 1, 0.6)), truth_of(CAT))
    assert errors.kinds == [Kind.WRONG_CLASS, Kind.WRONG_CLASS,
                            Kind.BADLY_PLACED]
    assert errors.nearly_found_by.tolist() == [0]
    assert not len(errors.missed) and errors.found_by.tolist() == [-1]


def test_crowds_are_neither_right_nor_wrong():
    """A detection of their class that lies in them; not of another."""
    crowd = truth_of((0, 0, 100, 100, 0))
    detections = detections_of((50, 50, 60, 60, 0, 0.5),
                               (50, 50, 60, 60, 1, 0.4),
                               (95, 95, 105, 105, 0, 0.3),
                               (0, 0, 10, 10, 0, 0.2))
    errors = image_errors(detections, truth_of(CAT), crowd)
    assert errors.kinds == [Kind.IGNORED, Kind.BACKGROUND, Kind.BACKGROUND,
                            Kind.CORRECT]


def test_an_image_without_detections_or_without_objects():
    errors = image_errors(detections_of(), truth_of(CAT, DOG))
    assert errors.kinds == [] and errors.missed.tolist() == [0, 1]
    assert errors.of_kind(Kind.MISSED) == [0, 1]
    errors = image_errors(detections_of((0, 0, 5, 5, 0, 0.5)), truth_of())
    assert errors.kinds == [Kind.BACKGROUND] and not len(errors.missed)


def test_boxes_without_area_are_background():
    errors = image_errors(
        detections_of((5, 5, 5, 9, 0, 0.5)), truth_of((5, 5, 5, 5, 0), CAT))
    assert errors.kinds == [Kind.BACKGROUND]
    assert errors.missed.tolist() == [0, 1]


def test_only_the_best_count():
    detections = detections_of(
        *((0, 0, 10, 10, 0, score / 10) for score in range(1, 6)))
    errors = image_errors(detections, truth_of(CAT), max_detections=2)
    assert errors.detections.scores.tolist() == pytest.approx([0.5, 0.4])
    assert errors.kinds == [Kind.CORRECT, Kind.DUPLICATE]


@pytest.mark.parametrize('foreground, background', [
    (0.5, 0.5), (0.1, 0.5), (1.1, 0.1), (0.5, -0.1),
    (float('nan'), 0.1)])
def test_thresholds_that_make_no_sense(foreground, background):
    with pytest.raises(ValueError, match='thresholds must be'):
        Thresholds(foreground, background)


def test_other_thresholds():
    errors = image_errors(
        detections_of((0, 0, 10, 4, 0, 0.5)), truth_of(CAT),
        thresholds=Thresholds(0.3, 0.05))
    assert errors.kinds == [Kind.CORRECT]


def test_no_overlap_is_no_place():
    """Also where the background ends at 0."""
    truth = GroundTruth.of_instances([dict(bbox=[0, 0, 10, 10],
                                           bbox_label=1)])
    detection = InstanceData(
        bboxes=torch.tensor([[50., 50., 60., 60.]]),
        scores=torch.tensor([.9]), labels=torch.tensor([3]))
    errors = image_errors(detection, truth, thresholds=Thresholds(0.5, 0.))
    assert errors.kinds == [Kind.BACKGROUND]
    assert errors.missed.tolist() == [0]


def test_half_of_a_detection_in_a_crowd():
    """Is enough, as COCO counts it."""
    crowd = GroundTruth.of_instances([dict(bbox=[0, 0, 10, 10],
                                           bbox_label=0)])
    detection = InstanceData(
        bboxes=torch.tensor([[5., 0., 15., 10.], [6., 0., 16., 10.]]),
        scores=torch.tensor([.9, .8]), labels=torch.tensor([0, 0]))
    errors = image_errors(detection, GroundTruth.of_instances([]), crowd)
    assert errors.kinds == [Kind.IGNORED, Kind.BACKGROUND]

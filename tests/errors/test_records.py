"""What the journal says of errors, and how two detectors compare."""
import json

import pytest
import torch
from demo import demo_detector
from mmengine.structures import InstanceData

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.errors import find_errors
from mmdet_diffmap.errors.changes import is_mended
from mmdet_diffmap.errors.kinds import Kind, image_errors
from mmdet_diffmap.errors.records import DetectorRecord, ErrorRecord
from mmdet_diffmap.evaluation.ground_truth import GroundTruth
from mmdet_diffmap.lab.planted_errors import instances_of
from mmdet_diffmap.tracing.detector import DetectorAdapter


def test_records_are_read_as_they_were_written():
    model = demo_detector()
    explained = find_errors(
        DetectorAdapter(model), image_pipeline(model)('scene://0/0').batch,
        instances_of(render_scene(0, 0))[1:], score_thr=0.6)
    record = DetectorRecord.of_explained(explained)
    assert record.records
    again = DetectorRecord.of_json(json.loads(json.dumps(record.as_json())))
    assert again.records == record.records
    for name in ('bboxes', 'scores', 'labels'):
        assert torch.equal(again.errors.detections[name],
                           record.errors.detections[name])
    assert again.errors.kinds == record.errors.kinds
    for name in ('objects', 'found_by', 'nearly_found_by'):
        assert torch.equal(getattr(again.errors, name),
                           getattr(record.errors, name))


def test_nothing_detected_and_nothing_annotated():
    errors = image_errors(
        InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0),
                     labels=torch.zeros(0, dtype=torch.long)),
        GroundTruth.of_instances([]))
    again = DetectorRecord.of_json(json.loads(json.dumps(
        DetectorRecord(errors, []).as_json())))
    assert not again.errors.kinds and not len(again.errors.truth)


OBJECT = (0, 0, 10, 10)


def detector(*rows):
    """What a detector did that has detections (x1, y1, x2, y2, label) in an
    image of one object of class 0."""
    values = torch.tensor(rows, dtype=torch.float).view(-1, 5)
    return DetectorRecord(image_errors(
        InstanceData(bboxes=values[:, :4], labels=values[:, 4].long(),
                     scores=torch.linspace(0.9, 0.5, len(rows))),
        GroundTruth.of_instances([dict(bbox=list(OBJECT), bbox_label=0)])), [])


def error(kind, box, label=0, found=False):
    about = -1 if kind is Kind.BACKGROUND else 0
    return ErrorRecord(
        kind.value, '' if found or about < 0 else 'taken for background', 0,
        about, about, label, 0.5, 0.5, 'kept', box, OBJECT, None, None)


FAR = (50, 50, 60, 60)
RIGHT = (*OBJECT, 0)


@pytest.mark.parametrize('record, other, expected', [
    (error(Kind.MISSED, OBJECT), detector(RIGHT), True),
    (error(Kind.MISSED, OBJECT), detector(), False),
    (error(Kind.MISSED, OBJECT), detector((*OBJECT, 1)), False),
    (error(Kind.BACKGROUND, FAR), detector(), True),
    (error(Kind.BACKGROUND, FAR), detector((*FAR, 0)), False),
    (error(Kind.BACKGROUND, FAR), detector((*FAR, 1)), True),
    (error(Kind.WRONG_CLASS, OBJECT, 1), detector(RIGHT), True),
    (error(Kind.WRONG_CLASS, OBJECT, 1), detector(RIGHT, (*OBJECT, 1)), False),
    (error(Kind.WRONG_CLASS, OBJECT, 1), detector(), False),
    (error(Kind.DUPLICATE, OBJECT, found=True), detector(RIGHT), True),
    (error(Kind.DUPLICATE, OBJECT, found=True), detector(RIGHT, RIGHT), False),
    (error(Kind.DUPLICATE, OBJECT, found=True), detector(), True),
])
def test_what_another_detector_mends(record, other, expected):
    assert is_mended(record, other) == expected

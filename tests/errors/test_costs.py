"""What errors cost, against pycocotools on data whose errors are mended by
hand, and against TIDE's own package."""
import contextlib
import io
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_diffmap import load_detector
from mmdet_diffmap.errors.costs import error_costs, error_gains
from mmdet_diffmap.errors.kinds import ERRORS, Kind, image_errors
from mmdet_diffmap.evaluation.ground_truth import GroundTruth

CLASSES = 3


def random_data(seed):
    """Images as lists of objects and of detections that are near them: box,
    label, and crowd or score."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(12):
        low = random.uniform(0, 60, (6, 2))
        boxes = np.concatenate([low, low + random.uniform(10, 40, (6, 2))], 1)
        labels = random.integers(0, CLASSES, 6)
        objects = [(box, int(label), number == 5)
                   for number, (box, label) in enumerate(zip(boxes, labels))]
        detections = []
        for box, label, _ in objects * 3:
            moved = box + random.normal(0, random.choice([1, 6]), 4)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
            other = int(random.integers(0, CLASSES))
            detections.append((moved, other if random.random() < 0.4 else
                               label, float(random.random())))
        images.append((objects[random.integers(0, 2):], detections[2:]))
    return images


def errors_of(images):
    errors = []
    for objects, detections in images:
        truth, crowds = (
            GroundTruth.of_instances([
                dict(bbox=box.tolist(), bbox_label=label)
                for box, label, is_crowd in objects if is_crowd == wanted])
            for wanted in (False, True))
        boxes, labels, scores = zip(*detections)
        errors.append(image_errors(InstanceData(
            bboxes=torch.tensor(np.array(boxes)), labels=torch.tensor(labels),
            scores=torch.tensor(scores, dtype=torch.double)), truth, crowds))
    return errors


def coco_ap(images):
    """AP at IoU 0.5 as pycocotools computes it, 0..100."""
    annotations, results = [], []
    for image_id, (objects, detections) in enumerate(images):
        for box, label, is_crowd in objects:
            x1, y1, x2, y2 = map(float, box)
            annotations.append(dict(
                id=len(annotations) + 1, image_id=image_id, category_id=label,
                bbox=[x1, y1, x2 - x1, y2 - y1], iscrowd=int(is_crowd),
                area=(x2 - x1) * (y2 - y1)))
        for box, label, score in detections:
            x1, y1, x2, y2 = map(float, box)
            results.append(dict(image_id=image_id, category_id=label,
                                score=score, bbox=[x1, y1, x2 - x1, y2 - y1]))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dict(
            images=[dict(id=number) for number in range(len(images))],
            categories=[dict(id=label) for label in range(CLASSES)],
            annotations=annotations)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), 'bbox')
        evaluation.params.iouThrs = np.array([0.5])
        # its own are off by rounding, which counts where recalls are the same
        evaluation.params.recThrs = np.arange(101) / 100
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][0, :, :, 0, -1]
    assert (precision > -1).all()
    return 100 * precision.mean()


def mended(images, errors, kind):
    """The data in which the errors of a kind are none any more."""
    copies = []
    for (objects, _), of_image in zip(images, errors):
        real = [one for one in objects if not one[2]]
        found = []
        for number, own in enumerate(of_image.kinds):
            box, label, score = (
                of_image.detections[field][number].tolist()
                for field in ('bboxes', 'labels', 'scores'))
            about = int(of_image.objects[number])
            if own is kind:
                if of_image.nearly_found_by[about] != number or kind not in (
                        Kind.WRONG_CLASS, Kind.BADLY_PLACED):
                    continue
                box, label = real[about][0], real[about][1]
            found.append((box, label, score))
        left = objects
        if kind is Kind.MISSED:
            gone = [id(real[number]) for number in of_image.missed]
            left = [one for one in objects if id(one) not in gone]
        copies.append((left, found))
    return copies


@pytest.mark.parametrize('seed', range(3))
def test_average_precision_is_cocos(seed):
    images = random_data(seed)
    costs = error_costs(errors_of(images))
    assert 5 < costs.average_precision < 95
    assert costs.average_precision == pytest.approx(coco_ap(images), abs=1e-9)
    right = [(objects, [one for one, kind in zip(
        sorted(detections, key=lambda one: -one[2]), of_image.kinds)
        if kind in (Kind.CORRECT, Kind.IGNORED)])
        for (objects, detections), of_image in zip(images, errors_of(images))]
    assert costs.without_false_positives == pytest.approx(
        coco_ap(right) - costs.average_precision, abs=1e-9)


@pytest.mark.parametrize('kind', [
    Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.BOTH, Kind.DUPLICATE,
    Kind.BACKGROUND, Kind.MISSED])
def test_gains_are_those_of_data_without_the_errors(kind):
    images = random_data(7)
    errors = errors_of(images)
    costs = error_costs(errors)
    assert costs.counts[kind] > 0
    expected = coco_ap(mended(images, errors, kind)) - costs.average_precision
    assert costs.gains[kind] == pytest.approx(max(expected, 0), abs=1e-9)


def test_nothing_annotated_has_no_cost():
    _, detections = random_data(0)[0]
    with pytest.raises(ValueError, match='no object is annotated'):
        error_costs(errors_of([([], detections)]))


#: Of tidecv 1.0.1 for the detections of YOLOX-nano with scores above 0.3 in
#: the 50 photographs, crowds left out, and classes that are not annotated.
TIDE = {
    Kind.WRONG_CLASS: (6.4694, 29),
    Kind.BADLY_PLACED: (0.8155, 26),
    Kind.BOTH: (0.1134, 2),
    Kind.DUPLICATE: (0.0193, 10),
    Kind.BACKGROUND: (0.6437, 18),
    Kind.MISSED: (37.4130, 201),
}


@pytest.mark.slow
def test_costs_are_tides_on_photographs(real):
    """To what a score that is rounded in another way may change."""
    from mmdet.datasets import CocoDataset
    from mmengine.dataset import pseudo_collate
    config = Config.fromfile(real / 'yolox_nano_coco.py')
    model = load_detector(config, str(real / 'yolox_nano_coco.pth'))
    with contextlib.redirect_stdout(io.StringIO()), \
            warnings.catch_warnings():
        warnings.simplefilter('ignore')
        photographs = CocoDataset(
            data_root=str(real), ann_file='instances_val2017_50.json',
            data_prefix=dict(img='images/'), test_mode=True,
            pipeline=config.test_dataloader.dataset.pipeline)
    found = []
    for number in range(len(photographs)):
        with torch.no_grad():
            (sample, ) = model.test_step(pseudo_collate([photographs[number]]))
        detections = sample.pred_instances
        found.append((
            detections[detections.scores > 0.3],
            GroundTruth.of_instances(
                photographs.get_data_info(number)['instances'])))
    annotated = torch.cat([truth.labels for _, truth in found]).unique()
    costs = error_costs([
        image_errors(detections[torch.isin(detections.labels, annotated)],
                     truth) for detections, truth in found])
    assert costs.average_precision == pytest.approx(38.6610, abs=0.1)
    for kind, (gain, count) in TIDE.items():
        assert costs.gains[kind] == pytest.approx(gain, abs=0.1)
        assert abs(costs.counts[kind] - count) <= 1
    assert costs.without_false_positives == pytest.approx(3.1707, abs=0.1)
    assert costs.without_misses == pytest.approx(43.4741, abs=0.1)


@pytest.mark.parametrize('seed', range(2))
def test_what_single_errors_cost(seed):
    """As pycocotools counts it once each alone is mended."""
    images = random_data(seed)
    errors = errors_of(images)
    before = coco_ap(images)
    gains = error_gains(errors)
    checked = Counter()
    for index in range(4):
        of_image, own = errors[index], gains[index]
        assert set(own.objects) == set(of_image.of_kind(Kind.MISSED))
        assert set(own.detections) == {
            number for number, kind in enumerate(of_image.kinds)
            if kind in ERRORS}
        for number, gain in [*own.detections.items()]:
            kind = of_image.kinds[number]
            alone = replace(of_image, kinds=[
                own_kind if place == number or own_kind not in ERRORS
                else Kind.CORRECT
                for place, own_kind in enumerate(of_image.kinds)])
            others = [replace(one, kinds=[Kind.CORRECT] * len(one.kinds))
                      for one in errors]
            others[index] = alone
            expected = coco_ap(mended(images, others, kind)) - before
            assert gain == pytest.approx(max(expected, 0), abs=1e-9)
            checked[kind] += expected > 0
        for number, gain in own.objects.items():
            objects, detections = images[index]
            real = [one for one in objects if not one[2]]
            left = [one for one in objects if one is not real[number]]
            expected = coco_ap([
                *images[:index], (left, detections), *images[index + 1:]]
            ) - before
            assert gain == pytest.approx(max(expected, 0), abs=1e-9)
            checked[Kind.MISSED] += expected > 0
    assert sum(checked.values()) > 8 and len(+checked) > 2


def test_ties_are_in_the_order_of_the_images():
    """Mended, a detection stays where it is among those of its score."""
    truth = GroundTruth.of_instances([
        dict(bbox=[0, 0, 10, 10], bbox_label=0),
        dict(bbox=[30, 0, 40, 10], bbox_label=0)])
    image = image_errors(InstanceData(
        bboxes=torch.tensor([[80., 80., 90., 90.], [0., 0., 10., 4.]]),
        scores=torch.tensor([.9, .9]), labels=torch.tensor([0, 0])), truth)
    assert image.kinds == [Kind.BACKGROUND, Kind.BADLY_PLACED]
    (gains, ) = error_gains([image])
    assert gains.detections[1] == pytest.approx(
        error_costs([image]).gains[Kind.BADLY_PLACED])

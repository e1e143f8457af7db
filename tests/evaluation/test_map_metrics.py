import pytest
import torch

from mmdet_diffmap.datasets import SceneDataset
from mmdet_diffmap.evaluation.ground_truth import GroundTruth
from mmdet_diffmap.evaluation.map_metrics import (
    MAP_METRICS,
    PARTS,
    Regions,
    parts,
)

#: Two objects that share columns 2 and 3; the parts are 0 and 1, and 4 and 5.
MASKS = torch.tensor([[[1, 1, 1, 1, 0, 0, 0]], [[0, 0, 1, 1, 1, 1, 0]]]).bool()
OWN = torch.tensor([[[1, 1, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 1, 1, 0]]]).bool()
MAP = torch.tensor([[3., 1., 2., 1., 0., 1., 2.]])


def test_parts():
    assert parts(MAP, 0, MASKS, OWN) == dict(
        own_part=0.4, common=0.3, other_parts=0.1, pointing_game_part=1)
    assert parts(MAP, 1, MASKS, OWN) == dict(
        own_part=0.1, common=0.3, other_parts=0.4, pointing_game_part=0)
    assert set(parts(MAP, 0, MASKS, OWN)) == set(PARTS)


def twins(index):
    info = SceneDataset(seed=0, num_images=9, kind='twins',
                        pipeline=[]).get_data_info(index)
    return GroundTruth.of_instances(info['instances'])


@pytest.mark.parametrize('index', [0, 1])
def test_regions_are_those_of_the_scene(index):
    truth = twins(index)
    regions = Regions(truth, (192, 192), torch.device('cpu'))
    assert regions.masks.shape == regions.parts.shape == (2, 192, 192)
    assert (regions.parts <= regions.masks).all()
    for box, mask in zip(regions.boxes, regions.masks):
        assert (mask <= box).all() and len(regions.bands) == 2


def test_a_right_and_a_wrong_answer():
    truth = twins(0)
    regions = Regions(truth, (192, 192), torch.device('cpu'))
    box = regions.boxes[0]
    metric = MAP_METRICS['parts']
    right = metric(regions.parts[0].float(), 0, regions, box, 6)
    assert right['own_part'] == right['pointing_game_part'] == 1
    wrong = metric(regions.parts[1].float(), 0, regions, box, 6)
    assert wrong['own_part'] < 0.1 and wrong['other_parts'] > 0.9
    body = (regions.masks[0] & ~regions.parts[0]).float()
    assert metric(body, 0, regions, box, 6)['common'] > 0.9


def test_what_the_annotations_do_not_tell_is_none():
    truth = twins(0)
    bare = GroundTruth(truth.bboxes, truth.labels, truth.masks, [None, None])
    regions = Regions(bare, (192, 192), torch.device('cpu'))
    heatmap, box = torch.ones(192, 192), regions.boxes[0]
    quantities = MAP_METRICS['parts'](heatmap, 0, regions, box, 6)
    assert set(quantities.values()) == {None}
    assert None not in MAP_METRICS['shape'](heatmap, 0, regions, box,
                                            6).values()
    maskless = GroundTruth(truth.bboxes, truth.labels, [None] * 2, [None] * 2)
    regions = Regions(maskless, (192, 192), torch.device('cpu'))
    for metric in MAP_METRICS.values():
        assert set(metric(heatmap, 0, regions, box, 6).values()) == {None}


def test_photographs_have_masks_and_no_parts(real):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file=str(real / 'instances_val2017_50.json'),
        data_prefix=dict(img=str(real / 'images/')), pipeline=[],
        test_mode=True)
    looked = 0
    for index in range(12):
        info = dataset.get_data_info(index)
        truth = GroundTruth.of_instances(info['instances'])
        if not len(truth) or any(instance.get('ignore_flag')
                                 for instance in info['instances']):
            continue
        regions = Regions(truth, (info['height'], info['width']),
                          torch.device('cpu'))
        assert regions.parts is None
        for mask, box in zip(regions.masks, regions.boxes):
            # what lies outside the box is a pixel's rounding
            assert (mask & ~box).sum() < 0.1 * mask.sum() + 60
            looked += 1
    assert looked > 20

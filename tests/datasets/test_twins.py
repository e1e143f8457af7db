from itertools import pairwise

import mmcv
import numpy as np
import pytest
import torch
from mmengine.fileio import get
from pycocotools import mask as coco_mask
from torchvision.ops import box_iou

from mmdet_diffmap.datasets import (
    SceneDataset,
    read_scene,
    render_twins,
    scene_path,
)
from mmdet_diffmap.datasets.scenes import SIZE
from mmdet_diffmap.datasets.twins import TWIN_CLASSES

SCENES = [render_twins(5, index) for index in range(60)]
JOINED, APART = SCENES[::2], SCENES[1::2]


def test_a_scene_is_a_function_of_its_numbers():
    again = render_twins.__wrapped__(5, 3)
    assert np.array_equal(again.image, SCENES[3].image)
    assert np.array_equal(again.parts, SCENES[3].parts)
    assert not np.array_equal(render_twins(6, 3).image, again.image)


def test_two_objects_of_different_classes_inside_the_scene():
    for scene in SCENES:
        assert scene.labels.shape == (2, )
        assert scene.labels[0] != scene.labels[1]
        assert scene.boxes.min() > 0 and scene.boxes.max() < SIZE
    labels = np.concatenate([scene.labels for scene in SCENES])
    assert set(labels) == set(range(len(TWIN_CLASSES)))


def test_badges_are_parts_of_their_own_object_alone():
    for scene in SCENES:
        first, second = scene.parts
        assert (first <= scene.masks[0]).all()
        assert (second <= scene.masks[1]).all()
        assert min(first.sum(), second.sum()) > 600
        # tilted neighbours may share a few pixels of their outlines
        assert (first & scene.masks[1]).sum() < 0.1 * first.sum()
        assert (second & scene.masks[0]).sum() < 0.1 * second.sum()


def test_joined_ones_share_their_body():
    for scene in JOINED:
        common = scene.masks[0] & scene.masks[1]
        for mask in scene.masks:
            body = mask & ~scene.parts.any(axis=0)
            assert (common & body).sum() > 0.95 * body.sum()
            assert body.sum() > 500


def test_no_suppression_takes_one_of_joined_ones_away():
    for scene in JOINED:
        boxes = torch.from_numpy(scene.boxes)
        assert 0.2 < box_iou(boxes[:1], boxes[1:]) < 0.5


def test_those_apart_have_bodies_of_one_look():
    def look(scene, number):
        body = scene.masks[number] & ~scene.parts[number]
        return scene.image[body].mean(axis=0)

    for scene in APART:
        assert not (scene.masks[0] & scene.masks[1]).any()
        assert np.abs(look(scene, 0) - look(scene, 1)).max() < 12
    others = [np.abs(look(scene, 0) - look(other, 0)).max()
              for scene, other in pairwise(APART)]
    assert np.mean(others) > 40


def test_badges_are_dark_on_light_and_colours_tell_no_class():
    for scene in SCENES:
        for part in scene.parts:
            brightness = scene.image[part].mean(axis=1)
            share = ((brightness < 80) | (brightness > 180)).mean()
            assert share > 0.85


def test_file_layer_reads_twins():
    path = scene_path(5, 4, 'twins')
    assert path == 'twins://5/4'
    image = mmcv.imfrombytes(get(path))
    assert np.array_equal(image, SCENES[4].image)


@pytest.mark.parametrize('path', ['twins://1', 'twins://a/b', 'other://0/0',
                                  'scene://0/-1'])
def test_paths_of_no_scene(path):
    with pytest.raises(FileNotFoundError, match='names no scene'):
        read_scene(path)


def test_dataset():
    dataset = SceneDataset(seed=5, num_images=6, kind='twins', pipeline=[],
                           indices=[1, 3])
    assert dataset.metainfo['classes'] == TWIN_CLASSES and len(dataset) == 2
    info = dataset.get_data_info(1)
    assert info['img_path'] == 'twins://5/3' and info['img_id'] == 3
    for instance, part, box in zip(info['instances'], SCENES[3].parts,
                                   SCENES[3].boxes, strict=True):
        assert np.array_equal(coco_mask.decode(instance['part']), part)
        assert instance['bbox'] == box.tolist()


def test_kind_that_does_not_exist():
    with pytest.raises(ValueError, match='kind must be one of scene, twins'):
        SceneDataset(seed=0, num_images=1, kind='x')

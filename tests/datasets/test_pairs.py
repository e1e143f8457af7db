import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from mmdet_diffmap.datasets import SceneDataset, read_scene, render_pairs
from mmdet_diffmap.datasets.pairs import CUES, PAIR_CLASSES, divided_body
from mmdet_diffmap.datasets.scenes import SIZE

SCENES = [render_pairs(5, index) for index in range(60)]
CUES_OF = [divided_body(5, index).cue for index in range(60)]


def objects_of(scene):
    """The numbers of the pair, and that of the third object."""
    divided = scene.parts.any(axis=(1, 2))
    (single, ) = np.flatnonzero(~divided)
    return np.flatnonzero(divided).tolist(), int(single)


def test_a_scene_is_a_function_of_its_numbers():
    again = render_pairs.__wrapped__(5, 3)
    assert np.array_equal(again.image, SCENES[3].image)
    assert np.array_equal(again.parts, SCENES[3].parts)
    assert not np.array_equal(render_pairs(6, 3).image, again.image)


def test_two_objects_of_a_class_and_one():
    for scene in SCENES:
        (first, second), single = objects_of(scene)
        assert scene.labels[first] == scene.labels[second]
        assert scene.boxes.min() > 0 and scene.boxes.max() < SIZE
        assert scene.masks.sum(axis=(1, 2)).min() > 200
        # no object is hidden, and no two share a pixel
        assert scene.masks.sum(axis=0).max() == 1
        rest = np.delete(scene.masks, single, axis=0).any(axis=0)
        assert not (rest & scene.masks[single]).any()
    assert {*np.concatenate([scene.labels for scene in SCENES])} == set(
        range(len(PAIR_CLASSES)))
    assert set(CUES_OF) == set(CUES)


def test_the_cue_lies_between_the_two():
    for scene, cue in zip(SCENES, CUES_OF):
        (first, second), _ = objects_of(scene)
        part = scene.parts[first]
        assert np.array_equal(part, scene.parts[second])
        both = scene.masks[first] | scene.masks[second]
        assert (part & both).any() == (cue != 'gap')
        whole = both | part
        assert 0.03 < part.sum() / whole.sum() < 0.25
        # as many pixels of the body lie on its one side as on its other
        sizes = [int((scene.masks[number] & ~part).sum())
                 for number in (first, second)]
        assert min(sizes) > 0.35 * sum(sizes)


def test_counterparts_differ_in_the_cues_alone():
    """In a scene and its counterpart, the cue has gone from one body to the
    other. With a gap or a line, nothing else has changed."""
    for number in range(0, 60, 2):
        images = [scene.image.astype(int) for scene in
                  SCENES[number:number + 2]]
        changed = np.abs(images[0] - images[1]).max(axis=2) > 0
        allowed = np.zeros_like(changed)
        for scene, cue in zip(SCENES[number:number + 2],
                              CUES_OF[number:number + 2]):
            (first, second), _ = objects_of(scene)
            part = scene.parts[first]
            inside = changed & (scene.masks[first] | scene.masks[second])
            # turned lines are drawn in whole pixels
            allowed |= cv2.dilate(part.astype(np.uint8),
                                  np.ones((5, 5), np.uint8)) > 0
            if cue == 'shade':  # of the second object, all of it
                shaded = [(inside & mask).sum() / mask.sum() for mask in (
                    scene.masks[first], scene.masks[second])]
                assert min(shaded) < 0.02 and max(shaded) > 0.9
                allowed |= scene.masks[[first, second][
                    int(np.argmax(shaded))]]
            else:
                assert (changed & part).sum() > 0.7 * part.sum()
        assert not (changed & ~allowed).any()


def test_a_single_object_is_what_both_are_together():
    for number, scene in enumerate(SCENES):
        other = SCENES[number ^ 1]
        pair, _ = objects_of(scene)
        _, single = objects_of(other)
        whole = scene.masks[pair].any(axis=0) | scene.parts[pair[0]]
        assert np.array_equal(whole, other.masks[single])
        assert other.labels[single] == scene.labels[pair[0]]


def test_no_suppression_takes_one_of_the_two_away():
    for scene in SCENES:
        (first, second), _ = objects_of(scene)
        boxes = torch.from_numpy(scene.boxes[[first, second]])
        around = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(
            dim=0)])
        assert box_iou(boxes[:1], boxes[1:]) < 0.35
        assert box_iou(boxes, around[None]).max() < 0.65


def test_paths_and_data_set():
    assert np.array_equal(read_scene('pairs://5/4').image, SCENES[4].image)
    dataset = SceneDataset(seed=5, num_images=6, kind='pairs', pipeline=[])
    assert dataset.metainfo['classes'] == PAIR_CLASSES
    info = dataset.get_data_info(3)
    assert info['img_path'] == 'pairs://5/3' and len(info['instances']) == 3
    with pytest.raises(FileNotFoundError, match='pairs://SEED/INDEX'):
        read_scene('pairs://5')

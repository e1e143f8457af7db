import mmcv
import numpy as np
import pytest
from demo import CONFIG
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.registry import init_default_scope
from pycocotools import mask as coco_mask

from mmdet_diffmap.datasets import SceneDataset, render_scene, scene_path
from mmdet_diffmap.datasets.figures import FIGURES
from mmdet_diffmap.datasets.scenes import (
    CLASSES,
    MIN_VISIBLE,
    SIZE,
    Place,
    draw_figure,
)

SCENES = [render_scene(7, index) for index in range(60)]


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width > 0 and height > 0


def test_a_scene_is_a_function_of_its_numbers():
    first = render_scene.__wrapped__(3, 5)
    second = render_scene.__wrapped__(3, 5)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.masks, second.masks)
    for other in (render_scene(3, 6), render_scene(4, 5)):
        assert not np.array_equal(first.image, other.image)


def test_contents():
    assert len(CLASSES) >= 8
    for scene in SCENES:
        assert scene.image.shape == (SIZE, SIZE, 3)
        assert scene.image.dtype == np.uint8
        assert 2 <= len(scene.labels) == len(scene.masks) <= 6
        assert (scene.masks.sum(axis=0) <= 1).all()  # visible parts only
        assert (scene.masks.sum(axis=(1, 2)) > 100).all()
    labels = np.concatenate([scene.labels for scene in SCENES])
    assert set(labels) == set(range(len(CLASSES)))


def test_objects_often_overlap_and_are_often_alike():
    alike = sum(len(set(s.labels)) < len(s.labels) for s in SCENES)
    touching = sum(
        any(overlap(a, b) for i, a in enumerate(s.boxes)
            for b in s.boxes[:i]) for s in SCENES)
    assert alike > len(SCENES) / 2
    assert touching > len(SCENES) / 2


def test_boxes_are_tight():
    for scene in SCENES[:10]:
        for (x1, y1, x2, y2), mask in zip(scene.boxes.astype(int),
                                          scene.masks):
            assert mask[y1:y2, x1:x2].sum() == mask.sum()
            for side in (mask[y1], mask[y2 - 1], mask[:, x1], mask[:, x2 - 1]):
                assert side.any()


@pytest.mark.parametrize('name', FIGURES)
def test_figures_fill_their_place(name):
    place = Place(np.array([96., 96.]), 40.)
    _, alpha = draw_figure(np.random.default_rng(0), FIGURES[name], place)
    assert 0.2 * 40**2 < (alpha > 0.5).sum() < 4 * 40**2
    assert not alpha[0].any() and not alpha[:, -1].any()  # inside the window


def test_last_figure_hides_no_other_too_much():
    # every figure was whole once, and shows its share at the end
    place = Place(np.array([96., 96.]), 40.)
    areas = [(draw_figure(np.random.default_rng(0), parts, place)[1] >
              0.5).sum() / 40**2 for parts in FIGURES.values()]
    for scene in SCENES:
        smallest = 0.85**2 * 18**2 * min(areas) * MIN_VISIBLE
        assert (scene.masks.sum(axis=(1, 2)) > 0.5 * smallest).all()


def test_file_layer_reads_scenes():
    image = mmcv.imfrombytes(get(scene_path(7, 4)))
    assert np.array_equal(image, SCENES[4].image)


def test_dataset():
    dataset = SceneDataset(seed=7, num_images=5, pipeline=[])
    assert len(dataset) == 5
    assert dataset.metainfo['classes'] == CLASSES
    info = dataset.get_data_info(3)
    assert (info['img_id'], info['img_path']) == (3, 'scene://7/3')
    assert (info['height'], info['width']) == (SIZE, SIZE)
    scene = SCENES[3]
    for instance, box, label, mask in zip(
            info['instances'], scene.boxes, scene.labels, scene.masks,
            strict=True):
        assert instance['bbox'] == box.tolist()
        assert instance['bbox_label'] == label
        assert np.array_equal(coco_mask.decode(instance['mask']), mask)


def test_dataset_in_the_demo_config():
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, num_images=2))
    item = dataset[1]
    expected = render_scene(cfg.test_dataloader.dataset.seed, 1)
    assert np.array_equal(item['inputs'].permute(1, 2, 0), expected.image)
    assert np.array_equal(item['data_samples'].gt_instances.bboxes.tensor,
                          expected.boxes)


def test_training_and_validation_share_no_scene():
    cfg = Config.fromfile(CONFIG)
    assert cfg.train_dataloader.dataset.seed != cfg.val_dataloader.dataset.seed

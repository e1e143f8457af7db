import copy
import re

import cv2
import numpy as np
import psutil
import pytest
import torch
from demo import SCENE, demo_detector
from mmdet.apis import inference_detector
from mmdet.datasets.transforms import LoadPanopticAnnotations
from server import serving

from mmdet_diffmap import difference_map, explain
from mmdet_diffmap.apis import read_image
from mmdet_diffmap.datasets import render_scene


def test_result():
    sample = explain(demo_detector(), SCENE)
    instances = sample.pred_instances
    count = len(instances)
    assert count >= 4
    assert instances.bboxes.shape == (count, 4)
    assert instances.heatmaps.shape == (count, 192, 192)
    assert instances.heatmaps.min() == 0 and instances.heatmaps.max() == 1
    torch.testing.assert_close(
        instances.difference_maps, difference_map(instances.heatmaps))
    assert sample.ori_shape == (192, 192)


def test_half_precision():
    exact = explain(demo_detector(), SCENE).pred_instances
    half = explain(demo_detector(), SCENE,
                   dict(type='ODAM', half=True)).pred_instances
    for name in ('heatmaps', 'difference_maps'):
        assert half[name].dtype == torch.float16
        assert half[name].isfinite().all()
        assert (half[name].float() - exact[name]).abs().max() <= 2**-10
    positive = explain(demo_detector(), SCENE, dict(
        type='DifferenceMap', positive=True, half=True)).pred_instances
    assert positive.difference_maps.dtype == torch.float16
    assert positive.difference_maps.amax(dim=(1, 2)).min() == 1


def test_frozen_statistics_make_other_maps_of_the_same_detections():
    exact = explain(demo_detector(), SCENE).pred_instances
    frozen = explain(demo_detector(), SCENE,
                     dict(type='ODAM', statistics='frozen')).pred_instances
    assert torch.equal(frozen.bboxes, exact.bboxes)
    apart = (frozen.heatmaps - exact.heatmaps).abs().amax(dim=(1, 2))
    assert apart.min() > 1e-3
    # local: most of an image is out of reach of any one detection
    reached = (frozen.heatmaps > 0).float().mean(dim=(1, 2))
    assert reached.max() < 0.9 < (exact.heatmaps > 0).float().mean()


def test_detections_are_those_of_the_host():
    model = demo_detector()
    expected = inference_detector(model, SCENE).pred_instances
    expected = expected[expected.scores > 0.3]
    found = explain(model, SCENE).pred_instances
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(found[field], expected[field])


def test_file_and_array_give_the_same():
    image = read_image(SCENE)
    first, second = (explain(demo_detector(), i).pred_instances
                     for i in (SCENE, image))
    assert torch.equal(first.heatmaps, second.heatmaps)


def test_url(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), read_image(SCENE))
    with serving(tmp_path) as address:
        found = explain(demo_detector(), f'{address}/a.png').pred_instances
        with pytest.raises(OSError, match=r'b\.png cannot be downloaded'):
            explain(demo_detector(), f'{address}/b.png')
    expected = explain(demo_detector(), SCENE).pred_instances
    assert torch.equal(found.heatmaps, expected.heatmaps)


def test_heat_maps_sit_on_their_objects():
    """On scenes the true masks are known: each object's map has its peak in
    or right beside its own box, and most of its positive difference there."""
    inside = total = 0
    for index in range(6):
        instances = explain(
            demo_detector(), f'scene://0/{index}').pred_instances
        for box, heatmap in zip(instances.bboxes, instances.heatmaps):
            y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
            x1, y1, x2, y2 = box.tolist()
            inside += x1 - 8 <= x <= x2 + 8 and y1 - 8 <= y <= y2 + 8
            total += 1
    assert total > 15
    assert inside / total > 0.9


def test_finds_what_the_scene_holds():
    scene = render_scene(0, 2)
    found = explain(demo_detector(), SCENE).pred_instances
    assert sorted(found.labels.tolist()) == sorted(scene.labels.tolist())


def test_score_threshold_and_number_of_objects():
    everything = explain(demo_detector(), SCENE, score_thr=0).pred_instances
    some = explain(demo_detector(), SCENE, max_objects=2).pred_instances
    assert len(everything) > len(some) == 2
    assert torch.equal(some.scores, everything.scores[:2])
    # only the selected detections are "the others"
    torch.testing.assert_close(some.difference_maps[0],
                               some.heatmaps[0] - some.heatmaps[1])


def test_no_detection():
    instances = explain(demo_detector(), SCENE, score_thr=1).pred_instances
    assert instances.heatmaps.shape == (0, 192, 192)
    assert instances.difference_maps.shape == (0, 192, 192)


def test_positive_difference_map():
    sample = explain(
        demo_detector(), SCENE, dict(type='DifferenceMap', positive=True))
    instances = sample.pred_instances
    torch.testing.assert_close(
        instances.difference_maps,
        difference_map(instances.heatmaps, positive=True))


def test_target_layer_changes_the_maps():
    first, second = (explain(
        demo_detector(), SCENE, dict(type='ODAM', target_layer=layer),
        max_objects=1).pred_instances for layer in ('neck', 'backbone.layer2'))
    assert torch.equal(first.bboxes, second.bboxes)
    assert not torch.allclose(first.heatmaps, second.heatmaps, atol=0.1)


@pytest.mark.parametrize('shape', [(1, 1), (3, 500), (700, 2), (375, 500)])
def test_any_shape(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    instances = explain(
        demo_detector(), image, score_thr=0, max_objects=2).pred_instances
    assert instances.heatmaps.shape[1:] == shape
    assert instances.heatmaps.isfinite().all()
    assert instances.difference_maps.isfinite().all()


@pytest.mark.parametrize('image', [
    np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
    np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_wrong_array(image):
    with pytest.raises(ValueError, match=re.escape('(H, W, 3), not')):
        explain(demo_detector(), image)


@pytest.mark.parametrize('loader', [
    'mmdet.LoadAnnotations', LoadPanopticAnnotations])
def test_annotations_are_not_loaded(loader):
    model = copy.copy(demo_detector())
    model.cfg = copy.deepcopy(model.cfg)
    pipeline = model.cfg.test_dataloader.dataset.pipeline
    pipeline[2] = dict(type=loader)
    assert len(explain(model, SCENE).pred_instances) >= 4


def test_model_without_a_config():
    with pytest.raises(ValueError, match=r'set model\.cfg to its config'):
        explain(torch.nn.Linear(1, 1), SCENE)


def test_image_of_which_resizing_leaves_nothing():
    with pytest.raises(ValueError, match='test pipeline cannot resize'):
        explain(demo_detector(), np.zeros((1, 500, 3), np.uint8))


def test_negative_number_of_objects():
    with pytest.raises(ValueError, match='must not be negative, but is -1'):
        explain(demo_detector(), SCENE, max_objects=-1)


def test_maps_that_do_not_fit(monkeypatch):
    memory = copy.copy(psutil.virtual_memory())
    monkeypatch.setattr(
        psutil, 'virtual_memory', lambda: memory._replace(available=10**5))
    with pytest.raises(MemoryError, match='explain fewer objects'):
        explain(demo_detector(), SCENE)


def test_real_photographs(real):
    """Heat maps of a detector trained on COCO, at the photographs' size, with
    the host's own detections."""
    from mmdet_diffmap import load_detector
    model = load_detector(real / 'yolox_nano_coco.py',
                          real / 'yolox_nano_coco.pth', 'cpu')
    inside = total = 0
    for path in sorted((real / 'images').iterdir())[1:4]:
        expected = inference_detector(model, str(path)).pred_instances
        expected = expected[expected.scores > 0.3]
        found = explain(model, path).pred_instances
        assert torch.equal(found.bboxes, expected.bboxes)
        assert found.heatmaps.shape[1:] == read_image(str(path)).shape[:2]
        for box, heatmap in zip(found.bboxes, found.heatmaps):
            y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
            inside += bool(box[0] - 16 <= x <= box[2] + 16
                           and box[1] - 16 <= y <= box[3] + 16)
            total += 1
    assert total > 10 and inside / total > 0.9

import numpy as np
import pytest
from demo import SCENE, demo_detector
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.registry import VISUALIZERS
from mmengine.structures import InstanceData
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mmdet_diffmap import explain
from mmdet_diffmap.apis import class_names, read_image
from mmdet_diffmap.visualization import draw_explanations


@pytest.fixture
def explained():
    image = read_image(SCENE)[..., ::-1].copy()
    return image, explain(demo_detector(), SCENE)


@pytest.fixture
def visualizer(tmp_path):
    backends = [dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend')]
    built = VISUALIZERS.build(dict(
        type='DiffMapVisualizer', name=str(tmp_path),
        vis_backends=backends, save_dir=str(tmp_path)))
    built.dataset_meta = demo_detector().dataset_meta
    yield built
    built.close()


def test_backends_get_the_figure(visualizer, explained, tmp_path):
    image, sample = explained
    visualizer.add_datasample('scene', image, sample, step=3)
    expected = draw_explanations(image, sample.pred_instances,
                                 class_names(demo_detector()))
    np.testing.assert_array_equal(visualizer.get_image(), expected)
    (local, ) = tmp_path.rglob('vis_image/scene_3.png')
    np.testing.assert_array_equal(np.asarray(Image.open(local)), expected)
    visualizer.close()
    (events, ) = tmp_path.rglob('events.out.tfevents*')
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    (picture, ) = accumulator.Images('scene')
    assert picture.step == 3
    assert (picture.height, picture.width) == expected.shape[:2]


def test_a_file_and_a_threshold(visualizer, explained, tmp_path):
    image, sample = explained
    scores = sample.pred_instances.scores
    threshold = float(scores.sort().values[-2])  # one is larger
    visualizer.add_datasample('scene', image, sample,
                              out_file=str(tmp_path / 'f/one.png'),
                              pred_score_thr=threshold)
    keep = sample.pred_instances[scores > threshold]
    assert len(keep) == 1
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / 'f/one.png')),
        draw_explanations(image, keep, class_names(demo_detector())))
    assert not list(tmp_path.rglob('vis_image/*'))


@pytest.mark.parametrize('options', [dict(draw_pred=False, draw_gt=False),
                                     dict()])
def test_others_are_drawn_by_mmdet(visualizer, explained, options, tmp_path):
    image, sample = explained
    if not options:  # predictions without maps
        found = sample.pred_instances
        sample = DetDataSample(pred_instances=InstanceData(
            bboxes=found.bboxes, labels=found.labels, scores=found.scores))
    visualizer.add_datasample('scene', image, sample, **options)
    theirs = DetLocalVisualizer(save_dir=str(tmp_path / 'theirs'))
    theirs.dataset_meta = demo_detector().dataset_meta
    theirs.add_datasample('scene', image, sample, **options)
    np.testing.assert_array_equal(visualizer.get_image(), theirs.get_image())

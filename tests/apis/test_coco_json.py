"""``detections.json``, as pycocotools and numpy read it."""
import json

import cv2
import numpy as np
import pytest
from demo import SCENE, demo_detector
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_diffmap import explain
from mmdet_diffmap.apis import CocoWriter, class_names, explain_files
from mmdet_diffmap.cli.explain import main
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.explainers.engine import Selection

METHODS = {'a': 'ODAM', 'b': dict(type='ODAM', extents=True)}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Two images and one that is missing, by two methods, with maps."""
    out = tmp_path_factory.mktemp('json')
    paths = [SCENE, 'missing.png', 'scene://0/17']
    failures = explain_files(
        demo_detector(), paths, out, METHODS, Selection(0.5), True,
        writers=[CocoWriter(dict(weights='w.pth'))])
    assert list(failures) == ['missing.png']
    return out, json.loads((out / 'detections.json').read_text())


def test_boxes_scores_and_classes_are_those_of_explain(written):
    _, content = written
    names = class_names(demo_detector())
    assert [one['name'] for one in content['categories']] == names
    assert [(one['file_name'], one['width'], one['height'])
            for one in content['images']] == [
                (SCENE, 192, 192), ('scene://0/17', 192, 192)]
    category_names = {one['id']: one['name'] for one in content['categories']}
    for image in content['images']:
        found = explain(demo_detector(), image['file_name'],
                        score_thr=0.5).pred_instances
        own = [one for one in content['annotations']
               if one['image_id'] == image['id']]
        np.testing.assert_allclose(
            [one['score'] for one in own], found.scores)
        assert [category_names[one['category_id']] for one in own] == [
            names[label] for label in found.labels]
        x, y, width, height = np.array([one['bbox'] for one in own]).T
        np.testing.assert_allclose(
            np.stack([x, y, x + width, y + height], axis=1), found.bboxes,
            rtol=1e-5)
        np.testing.assert_allclose([one['area'] for one in own],
                                   width * height)
    numbers = [one['id'] for one in content['annotations']]
    assert numbers == list(range(1, len(numbers) + 1))


def test_each_object_knows_its_maps(written):
    out, content = written
    for annotation in content['annotations']:
        assert set(annotation['maps']) == set(METHODS)
        for method, place in annotation['maps'].items():
            assert place['file'].startswith(f'{method}/maps/')
            arrays = np.load(out / place['file'])
            assert arrays['heatmaps'][place['index']].shape == (192, 192)
            np.testing.assert_allclose(arrays['scores'][place['index']],
                                       annotation['score'])
            x, y, width, height = annotation['bbox']
            np.testing.assert_allclose(
                arrays['boxes'][place['index']],
                [x, y, x + width, y + height], rtol=1e-5)


def test_it_says_what_made_it(written):
    _, content = written
    settings = content['settings']
    assert settings['detector'] == 'fcos_scenes'
    assert settings['weights'] == 'w.pth'
    assert settings['score_thr'] == 0.5 and settings['max_objects'] is None
    assert settings['methods']['b']['extents'] is True
    assert 'does not exist' in content['failures']['missing.png']
    assert set(content['info']['versions']) == {
        'mmdet_diffmap', 'mmdet', 'torch'}


def test_pycocotools_takes_it_as_data_set_and_as_results(written, capsys):
    """Compared with itself, every detection is right."""
    out, content = written
    truth = COCO(str(out / 'detections.json'))
    results = truth.loadRes(content['annotations'])
    assert len(results.anns) == len(content['annotations']) > 2
    evaluation = COCOeval(truth, results, 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == pytest.approx(1)


def test_annotations_of_ones_own(tmp_path, capsys):
    """Images and classes are found by their names, as the docs say, and
    boxes of scenes are where they were drawn."""
    scene = render_scene(0, 2)
    cv2.imwrite(str(tmp_path / 'a.png'), scene.image)
    assert main([str(tmp_path / 'a.png'), 'mmdet_diffmap::demo/fcos_scenes.py',
                 '--json', '--no-pictures', '--out-dir',
                 str(tmp_path / 'out')]) == 0
    names = class_names(demo_detector())
    truth = COCO()
    truth.dataset = dict(
        info={}, images=[dict(id=77, file_name='a.png')],
        categories=[dict(id=100 - i, name=name)
                    for i, name in enumerate(names)],
        annotations=[
            dict(id=i, image_id=77, category_id=100 - int(label), iscrowd=0,
                 area=float((x2 - x1) * (y2 - y1)),
                 bbox=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)])
            for i, (label, (x1, y1, x2, y2)) in enumerate(
                zip(scene.labels, scene.boxes), 1)])
    truth.createIndex()
    content = json.loads((tmp_path / 'out/detections.json').read_text())
    # as in docs/usage.md
    images = {one['id']: one['file_name'].split('/')[-1]
              for one in content['images']}
    classes = {one['id']: one['name'] for one in content['categories']}
    image_ids = {one['file_name']: one['id']
                 for one in truth.dataset['images']}
    class_ids = {one['name']: one['id'] for one in truth.dataset['categories']}
    results = [dict(one, image_id=image_ids[images[one['image_id']]],
                    category_id=class_ids[classes[one['category_id']]])
               for one in content['annotations']]
    evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[1] > 0.9  # AP50
    assert not (tmp_path / 'out/vis').exists()
    assert 'maps' not in content['annotations'][0]
    assert content['settings']['detector'] == \
        'mmdet_diffmap::demo/fcos_scenes.py'


def test_no_image_at_all(tmp_path):
    explain_files(demo_detector(), ['missing.png'], tmp_path,
                  writers=[CocoWriter()])
    content = json.loads((tmp_path / 'detections.json').read_text())
    assert content['images'] == content['annotations'] == []
    assert len(content['categories']) == len(class_names(demo_detector()))

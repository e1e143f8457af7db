import os

import numpy as np
import pytest
import torch
from demo import SCENE, demo_detector
from mmengine.structures import InstanceData
from squares import SquareDetector

from mmdet_diffmap import explain
from mmdet_diffmap.apis import class_names, compare_files, read_image
from mmdet_diffmap.apis.compare_files import Chosen
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.visualization import draw_comparison
from mmdet_diffmap.visualization.figure import TARGET, FigureStyle


def boxes_in(picture):
    """Whether each row of pixels holds a part of a target's box."""
    return (picture == TARGET).all(axis=-1).any(axis=1)


def test_row_for_each_method_with_maps_of_that_object(tmp_path):
    model = demo_detector()
    methods = dict(first='odam', second=dict(type='GradCAM'))
    assert not compare_files(dict(m=model), [SCENE], 1, tmp_path, methods)
    picture = read_image(str(tmp_path / 'compare/2.png'))[..., ::-1]
    found = [explain(model, SCENE, method).pred_instances[[1]]
             for method in methods.values()]
    name = class_names(model)[int(found[0].labels)]
    expected = draw_comparison(
        render_scene(0, 2).image[..., ::-1].copy(), name,
        list(zip(methods, found)),
        caption=['m · object 1', f'{SCENE} · score > 0.3'])
    np.testing.assert_array_equal(picture, expected)
    assert not torch.equal(found[0].heatmaps, found[1].heatmaps)


def test_options_stand_beside_the_method_that_has_them(tmp_path):
    assert not compare_files(
        dict(m=demo_detector()), [SCENE], 0, tmp_path,
        dict(first='odam', second=dict(type='ODAM', extents=True)),
        style=FigureStyle(format='svg'))
    picture = (tmp_path / 'compare/2.svg').read_text()
    assert f'{SCENE} · score &gt; 0.3 · second: ODAM(extents=True)' in picture


def test_detectors_are_compared_on_the_same_object(tmp_path):
    """The second finds none of the first's class where the object is."""
    model = demo_detector()
    one = explain(model, SCENE).pred_instances[0]
    x1, y1, x2, y2 = one.bboxes[0].round().int().tolist()
    other = SquareDetector((x1, y1, x2, y2), (0, 0, 30, 30))
    other.cfg = model.cfg
    name = class_names(model)[int(one.labels)]
    for classes, rows in (([name, 'x'], 2), (['x', name], 1)):
        other.dataset_meta = dict(classes=classes)
        assert not compare_files(
            dict(first=model, second=other), [SCENE], 0, tmp_path,
            dict(rise=dict(type='DRISE', masks=8, progress=False)))
        picture = read_image(str(tmp_path / 'compare/2.png'))[..., ::-1]
        drawn = boxes_in(picture)
        middle = len(drawn) // 2
        assert [bool(drawn[:middle].any()), bool(drawn[middle + 30:].any())
                ] == [True, rows == 2]


def instances(boxes, labels):
    return InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float),
                        labels=torch.tensor(labels))


def test_same_object_among_others():
    names = ['cat', 'dog']
    chosen = Chosen.of(
        instances([[0, 0, 9, 9], [10, 10, 20, 20]], [0, 1]), 1, names)
    others = instances([[10, 10, 20, 20], [10, 10, 20, 17], [10, 10, 20, 19],
                        [30, 30, 40, 40]], [0, 1, 1, 1])
    assert chosen.among(others, names).bboxes.tolist() == [[10, 10, 20, 19]]
    # another detector may number its classes another way
    assert chosen.among(others, ['dog', 'cat']).bboxes.tolist() == [
        [10, 10, 20, 20]]
    assert not len(chosen.among(others[[3]], names))
    assert not len(chosen.among(others[:0], names))


def test_labels_without_a_name():
    chosen = Chosen.of(instances([[0, 0, 9, 9]], [7.]), 0, ['cat'])
    assert chosen.name == 'class 7'
    assert len(chosen.among(instances([[0, 0, 9, 9]], [7]), ['cat']))


def test_object_that_does_not_exist(tmp_path):
    failures = compare_files(dict(m=demo_detector()), [SCENE], 99, tmp_path)
    (reason, ) = failures.values()
    assert reason.startswith('there is no object 99: the detector finds ')
    assert not os.listdir(tmp_path / 'compare')


def test_mistakes_are_found_before_the_work(tmp_path):
    with pytest.raises(ValueError, match='no detector to compare'):
        compare_files({}, [SCENE], 0, tmp_path)
    with pytest.raises(ValueError, match='unknown explainer'):
        compare_files(dict(m=demo_detector()), [SCENE], 0, tmp_path,
                      dict(x='nothing'))
    with pytest.raises(ValueError, match='does not exist'):
        compare_files(dict(m=demo_detector()), [SCENE], 0, tmp_path,
                      dict(x=dict(type='ODAM', target_layer='necks')))
    assert not os.listdir(tmp_path)

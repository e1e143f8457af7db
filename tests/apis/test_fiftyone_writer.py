"""A data set of FiftyOne, where it and its database are installed."""
import uuid

import cv2
import numpy as np
import pytest
from demo import CONFIG, SCENE, demo_detector

from mmdet_diffmap import explain
from mmdet_diffmap.apis import FiftyOneWriter, class_names, explain_files
from mmdet_diffmap.cli.explain import main
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.explainers.engine import Selection


@pytest.fixture
def fiftyone():
    return pytest.importorskip('fiftyone')


@pytest.fixture
def name(fiftyone):
    name = f'test-{uuid.uuid4()}'
    yield name
    if fiftyone.dataset_exists(name):
        fiftyone.delete_dataset(name)


def test_without_fiftyone(tmp_path, capsys):
    try:
        import fiftyone  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip('FiftyOne is installed')
    with pytest.raises(ValueError, match='not installed: pip install fifty'):
        FiftyOneWriter('name')
    with pytest.raises(SystemExit):
        main([SCENE, str(CONFIG), '--fiftyone', 'name', '--out-dir',
              str(tmp_path / 'out')])
    assert 'FiftyOne, which is not installed: pip install fiftyone' in \
        capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_samples_have_detections_and_heat_maps(fiftyone, name, tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, render_scene(0, 2).image)
    model = demo_detector()
    methods = {'odam': 'ODAM', 'grad-cam++': 'grad-cam++'}
    assert not explain_files(model, [path, 'scene://0/17'], tmp_path / 'out',
                             methods, writers=[FiftyOneWriter(name)])
    dataset = fiftyone.load_dataset(name)
    assert dataset.persistent and len(dataset) == 2
    names = class_names(model)
    for source, file in ((path, path), (
            'scene://0/17', str(tmp_path / 'out/images/17.png'))):
        sample = dataset[file]
        found = explain(model, source).pred_instances
        detections = sample.detections.detections
        assert [one.label for one in detections] == [
            names[label] for label in found.labels]
        np.testing.assert_allclose([one.confidence for one in detections],
                                   found.scores)
        x, y, width, height = np.array(
            [one.bounding_box for one in detections]).T * 192
        np.testing.assert_allclose(
            np.stack([x, y, x + width, y + height], axis=1), found.bboxes,
            rtol=1e-4)
        for i, heatmap in enumerate(found.heatmaps):
            shown = sample[f'odam_{i}'].get_map()
            assert shown.dtype == np.uint8
            np.testing.assert_allclose(shown / 255, heatmap, atol=0.003)
            assert sample[f'grad_cam_plus_plus_{i}'].has_map


def test_what_a_sample_has_besides_is_kept(fiftyone, name, tmp_path):
    """The detections of a second run take the place of the first's."""
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, render_scene(0, 2).image)
    dataset = fiftyone.Dataset(name)
    dataset.add_sample(fiftyone.Sample(path, tags=['mine'], weather='fine'))
    for count in 3, 1:
        explain_files(demo_detector(), [path], tmp_path / 'out',
                      selection=Selection(0.3, count),
                      writers=[FiftyOneWriter(name, 'predictions')])
    dataset.reload()
    sample, = dataset
    assert sample.tags == ['mine'] and sample.weather == 'fine'
    assert len(sample.predictions.detections) == 1
    assert sample.odam_0.has_map and sample.odam_1 is None


def test_command(fiftyone, name, tmp_path):
    assert main([SCENE, str(CONFIG), '--fiftyone', name, '--no-pictures',
                 '--out-dir', str(tmp_path)]) == 0
    assert len(fiftyone.load_dataset(name)) == 1
    assert not (tmp_path / 'vis').exists()

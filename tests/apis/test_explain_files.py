import json
import os

import cv2
import numpy as np
import pytest
from demo import SCENE, demo_detector

from mmdet_diffmap.apis import (
    CocoWriter,
    ResultWriter,
    class_names,
    explain_files,
    read_image,
)
from mmdet_diffmap.apis.each_image import result_names
from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.explainers.engine import Selection, explain_image
from mmdet_diffmap.io.files import printable
from mmdet_diffmap.report import Photo, Report


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    cv2.imwrite(str(folder / 'good.png'), render_scene(0, 2).image)
    cv2.imwrite(str(folder / 'empty.png'), np.full((50, 80, 3), 128, np.uint8))
    cv2.imwrite(str(folder / 'thin.png'), np.zeros((1, 500, 3), np.uint8))
    (folder / 'bad.jpg').write_bytes(b'no image')
    return folder


def test_failures_do_not_stop_the_others(images, tmp_path, capsys):
    names = ['good.png', 'bad.jpg', 'thin.png', 'empty.png', 'missing.jpg']
    out = tmp_path / 'out'
    failures = explain_files(
        demo_detector(), [str(images / name) for name in names], out,
        save_npz=True)
    assert {os.path.basename(path): 'damaged' in reason
            for path, reason in failures.items()} == {
                'bad.jpg': True, 'thin.png': False, 'missing.jpg': False}
    assert sorted(os.listdir(out / 'vis')) == ['empty.png', 'good.png']
    assert sorted(os.listdir(out / 'maps')) == ['empty.npz', 'good.npz']
    lines = capsys.readouterr().out.splitlines()
    assert sum('good.png: 5 objects' in line for line in lines) == 1
    assert sum('empty.png: 0 objects' in line for line in lines) == 1
    assert sum('failed' in line for line in lines) == 3
    assert not len(np.load(out / 'maps/empty.npz')['heatmaps'])


def test_maps_are_written_on_demand_only(tmp_path):
    assert not explain_files(demo_detector(), [SCENE], tmp_path)
    assert os.listdir(tmp_path) == ['vis']
    picture = read_image(str(tmp_path / 'vis/2.png'))
    assert picture.shape[1] > 4 * 192


def test_mistakes_are_found_before_the_work(tmp_path):
    with pytest.raises(ValueError, match='unknown explainer'):
        explain_files(demo_detector(), [SCENE], tmp_path, 'nothing')
    with pytest.raises(ValueError, match='does not exist'):
        explain_files(demo_detector(), [SCENE], tmp_path,
                      dict(type='ODAM', target_layer='necks'))
    assert not os.listdir(tmp_path)


def test_output_folder_is_a_file(tmp_path):
    (tmp_path / 'out').write_text('')
    with pytest.raises(OSError, match=r'out cannot be made: (File|Not)'):
        explain_files(demo_detector(), [SCENE], tmp_path / 'out')
    with pytest.raises(OSError, match=r'inner cannot be made'):
        explain_files(demo_detector(), [SCENE], tmp_path / 'out/inner')


def test_folder_of_the_pictures_is_a_file(tmp_path):
    (tmp_path / 'vis').write_text('')
    with pytest.raises(OSError, match=r'vis cannot be made'):
        explain_files(demo_detector(), [SCENE], tmp_path)


def test_output_folder_is_read_only(tmp_path, monkeypatch):
    # the administrator may write anywhere, so that access itself is asked
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(PermissionError, match='cannot be written to'):
        explain_files(demo_detector(), [SCENE], tmp_path)


def test_results_have_names_of_their_own():
    assert result_names(['x/a.jpg', 'y/b.jpg']) == ['a', 'b']
    assert result_names(['x/a.jpg', 'y/a.jpg', 'x/a.png', 'b']) == [
        'x_a_jpg', 'y_a_jpg', 'x_a_png', 'b']
    assert result_names(['scene://0/1', 'scene://2/1']) == [
        'scene_0_1', 'scene_2_1']
    assert result_names(['s.1/a.jpg', 's_1/a.jpg']) == [
        's_1_a_jpg', 's_1_a_jpg_2']
    assert result_names(['x/a.jpg', 'y/a.jpg', 'x_a_jpg.png']) == [
        'x_a_jpg', 'y_a_jpg', 'x_a_jpg_2']


def test_name_that_is_no_text(images, tmp_path, capsys):
    name = os.fsdecode(os.fsencode(images) + b'/a\xff.png')
    os.rename(images / 'good.png', name)
    assert not explain_files(demo_detector(), [name], tmp_path / 'out')
    assert printable(name).encode()
    assert '5 objects' in capsys.readouterr().out


class Interrupted(ODAM):
    """Somebody presses Ctrl-C at the second image."""
    images = 0

    def maps(self, trace, by_output=False):
        self.images += 1
        if self.images == 2:
            raise KeyboardInterrupt
        return super().maps(trace, by_output)


def test_an_interrupted_run_leaves_a_report_of_what_is_done(tmp_path):
    report = Report('title', class_names(demo_detector()), {})
    with pytest.raises(KeyboardInterrupt):
        explain_files(demo_detector(), [SCENE, 'scene://0/3'], tmp_path,
                      Interrupted(), report=report)
    assert [photo['name'] for photo in report.photos] == [SCENE]
    page = (tmp_path / 'report.html').read_text()
    assert SCENE in page
    assert '<li>scene://0/3</li>' in page  # among those it did not reach


def test_several_methods_and_no_image_that_can_be_shown(tmp_path):
    report = Report('title', class_names(demo_detector()), {})
    methods = {'a': 'ODAM', 'b': dict(type='ODAM', extents=True)}
    assert explain_files(demo_detector(), ['missing.png'], tmp_path, methods,
                         report=report)
    assert sorted(os.listdir(tmp_path)) == ['a', 'b', 'report.html']
    assert 'missing.png does not exist' in (
        tmp_path / 'report.html').read_text()
    with pytest.raises(ValueError, match=r"'\.\./a' is no name of a folder"):
        explain_files(demo_detector(), [SCENE], tmp_path, {'../a': 'ODAM'})


def test_a_photo_of_a_report_without_maps():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r'a\.jpg has maps of no method'):
        Report('title', [], {}).add(Photo('a.jpg', image))


def test_methods_that_saw_other_objects():
    model = demo_detector()
    found = [explanation for score_thr in (0.3, 0.99) for explanation in
             explain_image(model, image_pipeline(model)(SCENE).batch, 0,
                           ['ODAM'], Selection(score_thr))]
    photo = Photo(SCENE, read_image(SCENE))
    photo.add('a', found[0])
    with pytest.raises(ValueError, match=r'found other objects .* for b'):
        photo.add('b', found[1])


class CountingWriter(ResultWriter):
    """Writes what it was told into a file."""

    def begin(self, run):
        self.out = run.out
        self.told = [f'begin {",".join(run.methods)}']

    def add(self, image, method, explanation):
        count = len(explanation.sample.pred_instances)
        self.told.append(f'{image.name} {method} {count}')

    def end_image(self, image):
        self.told.append(f'end {image.name}')
        return 'told'

    def finish(self, failures):
        self.told.append(f'finish {len(failures)}')
        (self.out / 'told').write_text('\n'.join(self.told))


def test_a_writer_of_ones_own(images, tmp_path, capsys):
    paths = [str(images / name) for name in ('good.png', 'bad.jpg',
                                             'empty.png')]
    explain_files(demo_detector(), paths, tmp_path / 'out',
                  {'a': 'ODAM', 'b': 'ODAM'}, writers=[CountingWriter()])
    assert os.listdir(tmp_path / 'out') == ['told']
    assert (tmp_path / 'out/told').read_text().splitlines() == [
        'begin a,b', 'good a 5', 'good b 5', 'end good', 'empty a 0',
        'empty b 0', 'end empty', 'finish 1']
    assert 'good.png: 5 objects, told (' in capsys.readouterr().out


def test_every_writer_finishes_when_a_run_is_interrupted(tmp_path):
    """Also those behind one that fails."""

    class Failing(ResultWriter):

        def finish(self, failures):
            raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        explain_files(
            demo_detector(), [SCENE, 'scene://0/3'], tmp_path, Interrupted(),
            writers=[Failing(), CountingWriter(), CocoWriter()])
    assert (tmp_path / 'told').read_text().endswith('finish 0')
    content = json.loads((tmp_path / 'detections.json').read_text())
    assert [one['file_name'] for one in content['images']] == [SCENE]


class FirstFails(ODAM):
    """Memory runs out in the first image."""
    images = 0

    def maps(self, trace, by_output=False):
        self.images += 1
        if self.images == 1:
            raise MemoryError('too many objects')
        return super().maps(trace, by_output)


def test_an_image_that_fails_half_way_is_in_no_file_of_all_images(tmp_path):
    """Also where the same file is asked for twice."""
    report = Report('title', class_names(demo_detector()), {})
    failures = explain_files(
        demo_detector(), [SCENE, SCENE], tmp_path,
        {'a': 'ODAM', 'b': FirstFails()}, report=report,
        writers=[CocoWriter()])
    assert failures == {SCENE: 'too many objects'}
    (photo, ) = report.photos
    (detector, ) = photo['detectors']
    assert [one['name'] for one in detector['methods']] == ['a', 'b']
    content = json.loads((tmp_path / 'detections.json').read_text())
    assert len(content['images']) == 1 and len(content['annotations']) == 5

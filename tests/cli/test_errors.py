"""The errors of a data set as a user asks for them."""
import csv
import json
import os
import socket
import subprocess
from collections import Counter

import pyarrow.parquet as pq
import pytest
from coco_scenes import scenes_as_coco
from demo import CONFIG, ROOT, WEIGHTS
from PIL import Image
from programs import apart, run, said

from mmdet_diffmap.datasets.scenes import render_scene
from mmdet_diffmap.errors.kinds import ERRORS

TOOL = ROOT / 'tools/explain_errors.py'
#: The same detector, which looks at larger images.
LARGER = f'''
_base_ = [{str(CONFIG)!r}]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
'''
#: Of which the detector finds some and misses others.
STRICT = ('--score-thr', '0.75')
IMAGES = 6


def find_errors(folder, *options, config=CONFIG, expect=0):
    result = run(TOOL, config, WEIGHTS, '--work-dir', folder, *options,
                 expect=expect)
    assert 'Traceback' not in result.stderr
    return result


def record_of(folder):
    return json.loads((folder / 'errors.json').read_text())


def rows_of(folder):
    return pq.read_table(folder / 'errors.parquet').to_pylist()


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp('errors') / 'work'
    result = find_errors(folder, '--num-images', IMAGES, *STRICT,
                         '--pictures')
    return folder, result.stdout


def test_what_is_written(plain):
    folder, printed = plain
    (detector, ) = record_of(folder)['detectors']
    objects = sum(len(render_scene(0, index).labels)
                  for index in range(IMAGES))
    assert (detector['images'], detector['objects']) == (IMAGES, objects)
    assert 0 < detector['found'] < objects
    rows = rows_of(folder)
    counts = Counter(row['kind'] for row in rows)
    assert counts['missed'] > 0
    assert {kind.value: detector['kinds'][kind.value]['number']
            for kind in ERRORS} == {kind.value: counts[kind.value]
                                    for kind in ERRORS}
    reasons = {(row['image_id'], row['object']): row['reason']
               for row in rows if row['reason']}
    assert Counter(reasons.values()) == detector['reasons']
    assert sum(detector['reasons'].values()) == objects - detector['found']
    costs = [row['cost'] for row in rows]
    assert costs == sorted(costs, reverse=True) and costs[0] > 0
    assert all(row['mended'] is None for row in rows)
    for text in '| missed |', '| taken for background |':
        assert text in (folder / 'table.md').read_text()
    assert 'missed' in printed and 'report.html' in printed
    assert Image.open(folder / 'errors.png').size[0] > 900
    assert (folder / 'errors.pdf').read_bytes().startswith(b'%PDF')
    page = (folder / 'report.html').read_text()
    assert page.count('taken for background') > 1
    images = {row['image_id'] for row in rows}
    assert len(list((folder / 'vis').glob('*.png'))) == len(images)


def test_missed_objects_have_scores_below_the_threshold(plain):
    for row in rows_of(plain[0]):
        if row['kind'] == 'missed' and row['reason'] == 'taken for background':
            assert row['score'] <= 0.75 and row['iou'] >= 0.5
            assert row['object_x2'] > row['object_x1']


@pytest.mark.slow
def test_it_goes_on_with_what_is_there(plain, tmp_path):
    """In whatever parts the images come."""
    folder = tmp_path / 'work'
    find_errors(folder, '--num-images', 2, *STRICT, '--report-images', 0)
    assert not (folder / 'report.html').exists()
    result = find_errors(folder, '--num-images', IMAGES, *STRICT, expect=1)
    assert 'go on with it (--resume)' in result.stderr
    result = find_errors(folder, '--num-images', IMAGES, '--resume', expect=1)
    assert 'score_thr was 0.75 and is 0.3' in result.stderr
    find_errors(folder, '--num-images', IMAGES, *STRICT, '--resume')
    assert record_of(folder)['detectors'] == record_of(plain[0])['detectors']
    assert rows_of(folder) == rows_of(plain[0])


@pytest.mark.slow
def test_two_processes_find_the_same(plain, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    work = tmp_path / 'work'
    processes = {}
    for rank in '01':
        folder = tmp_path / rank
        folder.mkdir()
        processes[folder] = apart(
            [TOOL, CONFIG, WEIGHTS, '--work-dir', work, '--num-images', IMAGES,
             *STRICT, '--launcher', 'pytorch'], folder,
            dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE='2',
                 MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
                 CUDA_VISIBLE_DEVICES=''))
    for folder, process in processes.items():
        process.join()
        assert process.exitcode == 0, said(folder)
    assert len(list((work / 'journal').glob('*.jsonl'))) == 2
    assert rows_of(work) == rows_of(plain[0])
    assert (work / 'report.html').exists()


def test_a_script_starts_several_processes(tmp_path):
    """What it calls, here in place of Python, says how it was called."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    result = subprocess.run(
        [ROOT / 'tools/dist_explain_errors.sh', 'config.py', 'weights.pth',
         '3', '--work-dir', 'a folder'], capture_output=True, text=True,
        env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}'))
    arguments = result.stdout.splitlines()
    assert arguments[:2] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=3' in arguments
    assert arguments[-7:] == [
        str(TOOL), 'config.py', 'weights.pth', '--launcher', 'pytorch',
        '--work-dir', 'a folder']


@pytest.mark.slow
def test_another_detector(plain, tmp_path):
    folder = tmp_path / 'work'
    (tmp_path / 'larger.py').write_text(LARGER)
    result = find_errors(folder, '--num-images', IMAGES, *STRICT, '--against',
                         tmp_path / 'larger.py', WEIGHTS)
    first, second = record_of(folder)['detectors']
    (alone, ) = record_of(plain[0])['detectors']
    assert (first['name'], second['name']) == ('fcos_scenes', 'larger')
    assert first['kinds']['missed']['number'] == alone['kinds']['missed'][
        'number']
    assert second['found'] != first['found']
    rows = rows_of(folder)
    missed = {
        (row['detector'], row['image_id'], row['object']): row['mended']
        for row in rows if row['reason']}
    for (name, image_id, number), mended in missed.items():
        (other, ) = {first['name'], second['name']} - {name}
        if mended:
            assert (other, image_id, number) not in missed
    assert {mended for (name, *_), mended in missed.items()
            if name == first['name']} == {True, False}
    assert 'larger in place of fcos_scenes' in result.stdout
    page = (folder / 'report.html').read_text()
    assert '"by": "fcos_scenes only"' in page and '"by": "both"' in page
    table = (folder / 'table.md').read_text()
    assert '| kind | errors mended | errors made |' in table
    in_csv = {(row['detector'], row['kind'], row['reason']): row
              for row in csv.DictReader((folder / 'table.csv').open())}
    for detector in first, second:
        for kind, counted in detector['kinds'].items():
            row = in_csv[detector['name'], kind, '']
            assert int(row['number']) == counted['number']
            assert float(row['points']) == counted['cost']
        for reason, number in detector['reasons'].items():
            row = in_csv[detector['name'], '', reason]
            assert int(row['number']) == number
    for kind, counted in first['kinds'].items():
        row = in_csv[first['name'], kind, '']
        assert int(row['mended_by_the_other']) == \
            counted['mended_by_the_other']
    assert 'errors made' in (folder / 'table.tex').read_text()


@pytest.mark.slow
def test_a_damaged_image_does_not_stop_the_others(tmp_path):
    folder, whole = scenes_as_coco(tmp_path)
    work = tmp_path / 'work'
    options = ('--annotations', folder / 'annotations.json', '--images',
               folder)
    result = find_errors(work, *options, expect=1)
    assert 'failed: image 11: OSError: image' in result.stderr
    assert list(record_of(work)['failed']) == ['11']
    (detector, ) = record_of(work)['detectors']
    assert detector['images'] == 3
    # an image without annotations has detections on its background alone
    kinds = {row['kind'] for row in rows_of(work) if row['image_id'] == '12'}
    assert kinds == {'background'}
    (folder / '1.jpg').write_bytes(whole)
    find_errors(work, *options, '--resume')
    (detector, ) = record_of(work)['detectors']
    assert detector['images'] == 4 and not record_of(work)['failed']
    # the config's own test set is the same, and so is a part of it
    find_errors(tmp_path / 'part', '--images', f'{folder.name}/3.jpg', '1?',
                '--num-images', 2, config=folder / 'config.py')
    (part, ) = record_of(tmp_path / 'part')['detectors']
    assert part['images'] == 2
    assert part['objects'] == sum(
        len(render_scene(0, index).labels) for index in (0, 1))


@pytest.mark.slow
def test_crowds_boxes_of_no_size_and_other_classes(tmp_path):
    """Crowds and empty boxes are not asked for, and classes that the detector
    does not know are left out and named."""
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    file = folder / 'annotations.json'
    content = json.loads(file.read_text())
    find_errors(tmp_path / 'before', '--annotations', file, '--images', folder,
                '--report-images', 0)
    (before, ) = record_of(tmp_path / 'before')['detectors']
    assert before['objects'] == len(content['annotations'])
    assert before['found'] > before['objects'] / 2
    first, second, third, *_ = content['annotations']
    first['iscrowd'] = 1
    second['bbox'][2] = 0
    content['categories'].append(dict(id=99, name='zebra'))
    third['category_id'] = 99
    file.write_text(json.dumps(content))
    result = find_errors(tmp_path / 'after', '--annotations', file, '--images',
                         folder, '--report-images', 0)
    (after, ) = record_of(tmp_path / 'after')['detectors']
    assert after['objects'] == before['objects'] - 3
    assert 'zebra' in result.stdout + result.stderr
    assert 'annotations into memory' not in result.stdout  # of pycocotools


@pytest.mark.slow
def test_categories_are_matched_by_name(tmp_path):
    """In whatever order a file has them, and whichever of them."""
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    file = folder / 'annotations.json'
    content = json.loads(file.read_text())
    options = ('--annotations', file, '--images', folder, '--report-images', 0)
    find_errors(tmp_path / 'before', *options)
    names = {one['id']: one['name'] for one in content['categories']}
    used = {one['category_id'] for one in content['annotations']}
    content['categories'] = [
        dict(id=100 - number, name=names[number].upper())
        for number in sorted(used, reverse=True)]
    for one in content['annotations']:
        one['category_id'] = 100 - one['category_id']
    file.write_text(json.dumps(content))
    find_errors(tmp_path / 'after', *options)
    for name in 'kinds', 'found', 'classes':
        (before, ), (after, ) = (
            record_of(tmp_path / run)['detectors']
            for run in ('before', 'after'))
        assert before[name] == after[name]


def test_detectors_that_filter_in_another_way_end_at_once(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = [{str(CONFIG)!r}]\n'
                      'model = dict(test_cfg=dict(nms=None))\n')
    result = find_errors(tmp_path / 'work', '--num-images', 3, config=config,
                         expect=1)
    assert result.stderr.startswith('error: the candidates of FCOSHead')
    assert not list((tmp_path / 'work/journal').glob('*.jsonl')) or not (
        tmp_path / 'work/journal/0.jsonl').read_text()


@pytest.mark.parametrize('change, message', [
    (lambda content: content.update(annotations=[]), 'no object is annotated'),
    (lambda content: content.update(categories=[
        dict(id=i + 1, name=f'x{i}') for i in range(8)]),
     'no object is annotated'),
    (lambda content: content.pop('images'), 'not in COCO\'s format'),
])
def test_annotations_of_no_use(tmp_path, change, message):
    folder, whole = scenes_as_coco(tmp_path)
    (folder / '1.jpg').write_bytes(whole)
    file = folder / 'annotations.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    result = find_errors(tmp_path / 'work', '--annotations', file, '--images',
                         folder, expect=1)
    assert message in result.stderr
    assert not (tmp_path / 'work/errors.json').exists()


@pytest.mark.parametrize('options, message', [
    (['--images', 'none.jpg'], 'the data set has no image none.jpg'),
    (['--annotations', 'none.json', '--images', '.'],
     'annotations none.json cannot be read'),
    (['--annotations', 'none.json', '--images', 'none'],
     'none is no folder of images'),
    (['--explainer', 'odam-diff'],
     'errors choose themselves what is compared'),
    (['--explainer', 'magic'], "unknown explainer 'magic'"),
    (['--target-layer', 'nothing'], 'nothing'),
    (['--against', 'none.py'], 'config none.py does not exist'),
    (['--against', str(ROOT / 'configs/demo/fcos_twins.py')],
     'trained for other classes'),
    (['--cfg-options', 'test_dataloader.dataset.metainfo.classes=[a,b]'],
     'the detector knows 8 classes, and the data set 2'),
])
def test_what_makes_no_sense(tmp_path, options, message):
    result = find_errors(tmp_path / 'work', '--num-images', 1, *options,
                         expect=1)
    assert message in result.stderr
    assert result.stderr.startswith('error: ')


@pytest.mark.parametrize('options, message', [
    (['--score-thr', '2'], '2 is not a number from 0 to 1'),
    (['--foreground', '0.1'], 'is not below'),
    (['--num-images', '0'], '0 is not a whole number, 1 or more'),
    (['--annotations', 'a.json'], 'needs one folder'),
    (['--against', 'a', 'b', 'c'], 'a config and a checkpoint'),
    (['--pictures', '--report-images', '0'], 'there is none'),
])
def test_arguments_that_contradict_each_other(tmp_path, options, message):
    result = find_errors(tmp_path / 'work', *options, expect=2)
    assert message in result.stderr


def test_a_method_that_cannot_tell_what_speaks_against(tmp_path):
    folder = tmp_path / 'work'
    find_errors(folder, '--num-images', 2, *STRICT, '--explainer', 'd-rise',
                '--explainer-options', 'masks=40')
    page = (folder / 'report.html').read_text()
    assert 'is made of' in page and 'what against it' not in page

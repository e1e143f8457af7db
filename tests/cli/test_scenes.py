"""The tools around the demo detectors, as a user starts them."""
import csv
import json
import re

import numpy as np
import pytest
from demo import CONFIG, ROOT
from PIL import Image
from programs import run

from mmdet_diffmap.cli import train_demo

PAGE = (ROOT / 'docs/usage.md').read_text()
DEMOS = sorted((ROOT / 'configs/demo').glob('*.py'))
MARKS = '\n'.join(f'<!-- table {name} -->\nold\n<!-- end -->' for name in
                  ('localization', 'shape', 'proposals', 'joined', 'apart'))


def measure(folder, *options, expect=0):
    return run(ROOT / 'tools/measure_scenes.py', '--detectors', 'fcos',
               '--explainers', 'odam', 'odam-diff', '--num-images', 3,
               '--work-dir', 'w', *options, cwd=folder, expect=expect)


@pytest.mark.slow
def test_scenes_are_measured_and_a_page_gets_its_tables(tmp_path):
    (tmp_path / 'page.md').write_text(f'before\n{MARKS}\nafter\n')
    measure(tmp_path, '--update', 'page.md')
    page = (tmp_path / 'page.md').read_text()
    assert page.startswith('before\n') and page.endswith('after\n')
    assert 'old' not in page
    assert page.count('| FCOS | odam-diff |') == 4
    records = json.loads((tmp_path / 'w/tables.json').read_text())
    joined = records['joined']['fcos']
    assert joined['num_images'] + joined['num_skipped'] == 3
    ids = [set(records[name]['fcos']['settings']['dataset']['indices'])
           for name in ('joined', 'apart')]
    assert ids == [{0, 2, 4}, {1, 3, 5}]
    for found in joined['explainers'].values():
        parts = found['parts']
        assert 0 < parts['own_part'] + parts['common'] + \
            parts['other_parts'] <= 1
    # a second run goes on from what is there
    measure(tmp_path, expect=1)
    again = measure(tmp_path, '--resume')
    assert (tmp_path / 'w/tables.md').read_text() in again.stdout


def test_a_page_without_a_place_is_refused_before_the_work(tmp_path):
    (tmp_path / 'page.md').write_text('nothing here')
    result = measure(tmp_path, '--update', 'page.md', expect=1)
    assert 'no place for the table localization' in result.stderr
    assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_sanity_check(tmp_path):
    result = run(
        ROOT / 'tools/sanity_check.py', 'scene://0/2', 'scene://0/3', CONFIG,
        '--explainer', 'odam', 'grad-cam', '--max-objects', 2, '--out-dir',
        'o', cwd=tmp_path)
    found = json.loads((tmp_path / 'o/sanity.json').read_text())
    assert found['objects'] == 4
    similar = found['similarity']['grad-cam']['rank_correlation']
    assert similar[0]['mean'] == pytest.approx(1)
    assert similar[-1]['mean'] < 0.6
    table = (tmp_path / 'o/table.md').read_text()
    # a table of what is left, and one for each map
    assert table.count('| backbone.conv1 |') == 4 == table.count('## ') - 1
    assert max(map(len, table.splitlines()[2:])) <= 80
    assert max(map(len, result.stdout.splitlines()[:-2])) <= 80
    rows = {(row['map'], row['weights_gone']): row for row in csv.DictReader(
        (tmp_path / 'o/table.csv').read_text().splitlines())}
    assert len(rows) == 4 * len(found['stages'])
    for (name, stage), row in rows.items():
        for measure, similar in found['similarity'][name].items():
            estimate = similar[found['stages'].index(stage)]
            assert [float(row[f'{measure}{end}'])
                    for end in ('', '_low', '_high')] == [
                estimate['mean'], *estimate['ci95']]
    for name in 'similarity.png', 'maps.png':
        assert np.asarray(Image.open(tmp_path / 'o' / name)).std() > 10


def test_one_image_gives_no_interval(tmp_path):
    result = run(ROOT / 'tools/sanity_check.py', 'scene://0/2', CONFIG,
                 '--explainer', 'grad-cam', '--max-objects', 2, '--out-dir',
                 'o', cwd=tmp_path)
    assert '2 objects on 1 image; one image gives no interval' in \
        result.stdout
    assert '±' not in result.stdout + (tmp_path / 'o/table.md').read_text()
    found = json.loads((tmp_path / 'o/sanity.json').read_text())
    assert found['similarity']['grad-cam']['ssim'][-1]['ci95'] is None


@pytest.mark.parametrize('arguments, message', [
    (['no.jpg', CONFIG], 'image no.jpg does not exist'),
    (['scene://0/2', CONFIG, '--score-thr', '1'], 'no object above the score'),
    (['scene://0/2', CONFIG, '--explainer', 'x'], "unknown explainer 'x'"),
    (['scene://0/2', CONFIG, '--explainer-options', 'target_layer=x'],
     "target layer 'x' does not exist"),
])
def test_mistakes_in_a_sanity_check(arguments, message, tmp_path):
    result = run(ROOT / 'tools/sanity_check.py', *arguments, cwd=tmp_path,
                 expect=1)
    assert message in result.stderr and 'Traceback' not in result.stderr


def check(folder, *arguments, expect=0):
    return run(ROOT / 'tools/train_demo.py', '--check', *arguments,
               cwd=folder, expect=expect)


@pytest.mark.slow
@pytest.mark.parametrize(
    'config', [path for path in DEMOS if path.stem.endswith('scenes') or
               path.stem.startswith('fcos')],
    ids=lambda path: path.stem)
def test_bundled_detectors_reach_what_the_page_says(config, tmp_path):
    """One of each kind and one on each data set, on hundreds of scenes; ``make
    check`` measures all."""
    result = check(tmp_path, config)
    assert result.stdout.count('reached') == 1


def test_all_of_the_page_are_checked_where_none_is_named(tmp_path,
                                                         monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text(''.join(f'| `configs/demo/{name}.py` | 0.0 | 0.0 |\n'
                            for name in ('fcos_scenes', 'fcos_twins')))
    monkeypatch.setattr(train_demo, 'PAGE', page)
    result = check(tmp_path, '--cfg-options',
                   'test_dataloader.dataset.num_images=2')
    assert result.stdout.count('reached') == 2


def test_a_detector_that_misses_its_figure(tmp_path):
    result = check(tmp_path, CONFIG, '--cfg-options',
                   'model.test_cfg.score_thr=0.9',
                   'test_dataloader.dataset.num_images=10', expect=1)
    assert 'MISSED' in result.stdout
    assert '1 of 1 detectors do not reach what docs/usage.md says' in \
        result.stderr


def test_mistakes_in_a_check(tmp_path):
    (tmp_path / 'c.py').write_text('')
    result = check(tmp_path, 'c.py', expect=1)
    assert 'docs/usage.md has no figures of c.py' in result.stderr
    result = check(tmp_path, '--resume', expect=2)
    assert '--check does not go with' in result.stderr
    result = run(ROOT / 'tools/train_demo.py', cwd=tmp_path, expect=2)
    assert 'give a CONFIG to train, or --check' in result.stderr


@pytest.mark.parametrize('config', DEMOS, ids=lambda path: path.stem)
def test_published_weights_have_their_record(config):
    record = json.loads(config.with_suffix('.json').read_text())
    assert re.fullmatch('[0-9a-f]{40}', record['commit'])
    assert record['seed'] == 0 and record['log'][0]['step'] == 100
    limit = 8e6 if config.stem.startswith('detr') else 3e6
    assert config.with_suffix('.pth').stat().st_size <= limit
    row = re.search(rf'\| `configs/demo/{config.name}` \| ([\d.]+) \| '
                    rf'([\d.]+) \|', PAGE)
    for stated, key in zip(row.groups(), ('', '_50')):
        measured = record['metrics'][f'coco/bbox_mAP{key}']
        # two digits, rounded down
        assert 0 <= measured - float(stated) < 0.01


def test_precision_that_is_asked_for():
    least = {'fcos': 0.9, 'faster-rcnn': 0.9, 'retinanet-pvt': 0.9,
             'detr': 0.6}
    for config in DEMOS:
        family, kind = config.stem.split('_')
        record = json.loads(config.with_suffix('.json').read_text())
        if kind == 'scenes':
            assert record['metrics']['coco/bbox_mAP_50'] >= least[family]

"""The benchmark as a user starts it, and what may happen to it."""
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from coco_scenes import scenes_as_coco
from demo import CONFIG, ROOT, WEIGHTS
from PIL import Image
from programs import apart, run, said
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mmdet_diffmap.datasets.scenes import CLASSES, render_scene

TOOL = ROOT / 'tools/benchmark_del_ins.py'
SHORT = ('--explainers', 'odam', 'odam-diff', '--steps', '2')
#: Of a sequence of scenes that begins with some of few objects.
SEED = 94
FOUR = ('--num-images', '4', '--cfg-options',
        f'test_dataloader.dataset.seed={SEED}')
ENVIRONMENT = dict(os.environ, PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1')


def start(command):
    """Run a command in a process of its own."""
    result = subprocess.run(list(map(str, command)), text=True,
                            capture_output=True, env=ENVIRONMENT)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def benchmark(folder, *options, config=CONFIG, expect=0):
    result = run(TOOL, config, WEIGHTS, '--work-dir', folder, *SHORT, *options,
                 expect=expect)
    assert expect == 0 or 'Traceback' not in result.stderr
    return result


def figures(folder):
    """All that a run measured, flat."""
    record = json.loads((folder / 'del_ins.json').read_text())
    flat = {}

    def flatten(value, name):
        if isinstance(value, dict):
            for key, one in value.items():
                flatten(one, f'{name}.{key}')
        elif isinstance(value, list):
            for i, one in enumerate(value):
                flatten(one, f'{name}[{i}]')
        else:
            flat[name] = value

    for part in ('num_images', 'num_objects', 'num_skipped', 'explainers',
                 'differences'):
        flatten(record[part], part)
    rows = pq.read_table(folder / 'objects.parquet').to_pylist()
    for row in rows:
        flatten(row, f'{row["image_id"]} {row["object"]} {row["explainer"]}')
    return flat


def lines(folder):
    return [line for file in (folder / 'journal').glob('*.jsonl')
            for line in file.read_bytes().splitlines(keepends=True)]


@pytest.fixture(scope='module')
def plain_run(tmp_path_factory):
    """Four scenes in one process."""
    folder = tmp_path_factory.mktemp('plain') / 'work'
    config = folder.parent / 'backends.py'
    # a visualizer of the same name, of another run in this process, would
    # get the figures
    config.write_text(
        f"_base_ = [{str(CONFIG)!r}]\n"
        f"visualizer = dict(name={str(folder)!r}, vis_backends=["
        "dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])\n")
    result = benchmark(folder, '--profile', *FOUR, config=config)
    return folder, result.stdout


def test_what_is_written(plain_run):
    folder, printed = plain_run
    record = json.loads((folder / 'del_ins.json').read_text())
    assert record['num_images'] == 4 and not record['failed']
    assert record['settings']['protocol']['steps'] == 2
    objects = sum(len(render_scene(SEED, i).labels) for i in range(4))
    assert 0.5 * objects < record['num_objects'] <= objects
    for found in record['explainers'].values():
        for direction in 'deletion', 'insertion':
            for kind in 'target', 'others':
                curve = found['curves'][direction][kind]
                area = curve[0] / 4 + curve[1] / 2 + curve[2] / 4
                assert found[direction][kind] == pytest.approx(area)
                low, high = found['ci95'][direction][kind]
                assert low <= area <= high
        assert found['curves']['deletion']['target'][0] == pytest.approx(100)
        assert found['curves']['insertion']['target'][0] < 5
    assert record['explainers']['odam']['deletion']['target'] < 80
    table = (folder / 'table.md').read_text()
    for text in ('| odam-diff |', 'Deletion target ↓', '| odam-diff - odam |'):
        assert text in table
    assert 'Deletion target' in printed and 'ratio' in printed
    assert Image.open(folder / 'curves.png').size[0] > 1000
    assert (folder / 'curves.pdf').read_bytes().startswith(b'%PDF')
    assert len(lines(folder)) == 4
    rows = pq.read_table(folder / 'objects.parquet').to_pylist()
    assert len(rows) == 2 * record['num_objects']
    assert {row['class'] for row in rows} <= set(CLASSES)
    assert {row['size'] for row in rows} <= {'small', 'medium', 'large'}
    mean = np.mean([row['insertion_others'] for row in rows
                    if row['explainer'] == 'odam-diff'])
    assert record['explainers']['odam-diff']['insertion'][
        'others'] == pytest.approx(mean)


def test_the_table_in_csv_has_the_figures_in_full(plain_run):
    folder, _ = plain_run
    record = json.loads((folder / 'del_ins.json').read_text())
    rows = list(csv.DictReader((folder / 'table.csv').open()))
    assert [(row['explainer'], row['against']) for row in rows] == [
        ('odam', ''), ('odam-diff', ''), ('odam-diff', 'odam')]
    for row in rows:
        for direction in 'deletion', 'insertion':
            for kind in 'target', 'others':
                if row['against']:
                    estimate = record['differences']['odam-diff - odam'][
                        direction][kind]
                    mean, limits = estimate['mean'], estimate['ci95']
                else:
                    found = record['explainers'][row['explainer']]
                    mean = found[direction][kind]
                    limits = found['ci95'][direction][kind]
                name = f'{direction}_{kind}'
                assert [float(row[f'{name}{end}']) for end in (
                    '', '_low', '_high')] == [mean, *limits]
    latex = (folder / 'table.tex').read_text()
    assert latex.count('\\toprule') == 2 and '\nODAM + Diff & ' in latex


def test_curves_have_intervals_and_are_drawn_again(plain_run, tmp_path):
    folder, _ = plain_run
    record = json.loads((folder / 'del_ins.json').read_text())
    assert record['bases'] == {'odam-diff': 'odam'}
    for found in record['explainers'].values():
        for direction, kinds in found['curves'].items():
            for kind, means in kinds.items():
                for mean, (low, high) in zip(
                        means, found['curves_ci95'][direction][kind]):
                    assert low <= mean <= high
    result = run('mmdet-diffmap', 'figure', 5, folder, cwd=tmp_path)
    assert not result.stderr
    drawn = (np.asarray(Image.open(path).convert('RGB')) for path in (
        tmp_path / 'outputs/figure-5.png', folder / 'curves.png'))
    np.testing.assert_array_equal(*drawn)


def test_backends_get_the_figures(plain_run):
    folder, _ = plain_run
    record = json.loads((folder / 'del_ins.json').read_text())
    expected = {
        f'explanation/{name}/{direction}_{kind}': found[direction][kind]
        for name, found in record['explainers'].items()
        for direction in ('deletion', 'insertion')
        for kind in ('target', 'others')
    }
    (local, ) = folder.rglob('vis_data/scalars.json')
    (line, ) = local.read_text().splitlines()
    assert json.loads(line) == pytest.approx(dict(expected, step=0))
    (events, ) = folder.rglob('events.out.tfevents*')
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    for name, value in expected.items():
        (scalar, ) = accumulator.Scalars(name)
        assert scalar.value == pytest.approx(value, rel=1e-6)


def test_the_profile_adds_up(plain_run):
    folder, _ = plain_run
    profile = json.loads((folder / 'profile.json').read_text())
    objects = json.loads((folder / 'del_ins.json').read_text())['num_objects']
    assert profile['forwards'] == objects * 2 * 2 * 2 + 4
    assert profile['ratio'] == pytest.approx(
        profile['whole_run'] / profile['bare_forwards'])
    assert sum(profile['stages'].values()) == pytest.approx(
        profile['whole_run'])


@pytest.mark.slow
def test_two_processes_give_the_same_figures(plain_run, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    start(['env', f'PORT={port}', 'CUDA_VISIBLE_DEVICES=',
         f'PATH={os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
         ROOT / 'tools/dist_benchmark_del_ins.sh', CONFIG, WEIGHTS, '2',
         '--work-dir', tmp_path / 'work', *SHORT, *FOUR])
    assert sorted(os.listdir(tmp_path / 'work/journal')) == ['0.jsonl',
                                                             '1.jsonl']
    assert figures(tmp_path / 'work') == pytest.approx(
        figures(plain_run[0]), abs=1e-6)


@pytest.mark.slow
def test_the_order_of_images_does_not_matter(plain_run, tmp_path):
    benchmark(tmp_path / 'work', *FOUR,
              'test_dataloader.dataset.indices=[3,1,0,2]')
    assert figures(tmp_path / 'work') == pytest.approx(
        figures(plain_run[0]), abs=1e-6)


#: A detector of a run that is killed in the middle of its second image.
KILLED = '''
import os, signal
from pathlib import Path
from mmdet.models import ResNet
from mmdet.registry import MODELS

def finished():
    return sum(len(path.read_bytes().splitlines())
               for path in Path('work/journal').glob('*.jsonl'))

@MODELS.register_module()
class KilledResNet(ResNet):
    before, passes = finished(), 0

    def forward(self, images):
        if finished() > self.before:
            self.passes += 1
            if self.passes == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)
'''


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(plain_run, tmp_path):
    folder = tmp_path / 'work'
    (tmp_path / 'killed.py').write_text(KILLED)
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        'custom_imports = dict(imports=["mmdet_diffmap", "killed"])\n'
        'model = dict(backbone=dict(type="KilledResNet"))\n')

    def go_on():
        # processes that load its images may outlive it by seconds
        process = apart([TOOL, config, WEIGHTS, '--work-dir', folder, *SHORT,
                         '--resume', *FOUR], tmp_path)
        process.join()
        return process.exitcode

    for count in 1, 2, 3:
        assert go_on() == -signal.SIGKILL, said(tmp_path)
        assert len(lines(folder)) == count
        assert not (folder / 'del_ins.json').exists()
    kept = lines(folder)
    with open(folder / 'journal/0.jsonl', 'ab') as journal:
        journal.write(kept[0][:100])  # torn in the middle
    assert go_on() == 0, said(tmp_path)
    assert lines(folder)[:-1] == kept
    assert figures(folder) == pytest.approx(figures(plain_run[0]), abs=1e-6)


def test_other_settings_do_not_go_on(plain_run, tmp_path):
    folder = tmp_path / 'work'
    shutil.copytree(plain_run[0], folder)
    result = benchmark(folder, '--resume', '--seed', '3', *FOUR, expect=1)
    assert 'protocol.seed was 0 and is 3' in result.stderr
    assert figures(folder) == figures(plain_run[0])


@pytest.fixture
def coco(tmp_path):
    return scenes_as_coco(tmp_path)


@pytest.mark.slow
def test_a_damaged_image_and_one_without_annotations(coco, tmp_path):
    folder, whole = coco
    work = tmp_path / 'work'
    options = ('--metrics', 'del_ins', 'localization')
    result = benchmark(work, *options, config=folder / 'config.py', expect=1)
    assert 'failed: image 11: OSError: image' in result.stderr
    assert 'is damaged' in result.stderr
    record = json.loads((work / 'del_ins.json').read_text())
    assert (record['num_images'], record['num_skipped'],
            list(record['failed'])) == (2, 1, ['11'])
    found = record['explainers']
    assert found['odam-diff']['localization']['leakage'] < \
        found['odam']['localization']['leakage']
    assert 'energy inside ↑' in (work / 'table.md').read_text()
    # mended, it is measured and the others are not again
    (folder / '1.jpg').write_bytes(whole)
    benchmark(work, *options, '--resume', config=folder / 'config.py')
    record = json.loads((work / 'del_ins.json').read_text())
    assert (record['num_images'], record['failed']) == (3, {})
    assert len(lines(work)) == 5


KILLER = '''
import os, signal
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

@TRANSFORMS.register_module()
class KillingLoader(LoadImageFromFile):
    def transform(self, results):
        if results['img_id'] == 2 and os.environ.get('KILL'):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().transform(results)
'''


@pytest.mark.slow
def test_a_worker_that_dies(module_folder, monkeypatch):
    (module_folder / 'killer.py').write_text(KILLER)
    (module_folder / 'config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        'custom_imports = dict(imports=["mmdet_diffmap", "killer"])\n'
        'test_dataloader = dict(num_workers=1, prefetch_factor=1)\n')
    monkeypatch.setenv('KILL', '1')
    options = ('--num-images', '3', '--resume', '--cfg-options',
               'test_dataloader.dataset.pipeline.0.type=KillingLoader')
    result = benchmark(module_folder / 'work', *options,
                       config=module_folder / 'config.py', expect=1)
    assert 'a worker that loads images died; finished' in result.stderr
    kept = lines(module_folder / 'work')
    assert kept
    monkeypatch.delenv('KILL')
    benchmark(module_folder / 'work', *options,
              config=module_folder / 'config.py')
    assert lines(module_folder / 'work')[:len(kept)] == kept
    record = json.loads((module_folder / 'work/del_ins.json').read_text())
    assert record['num_images'] == 3


@pytest.mark.slow
def test_a_full_disk(plain_run, tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=96k', 'tmpfs', str(disk)],
        capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f'no tmpfs can be mounted: {mounted.stderr.strip()}')
    try:
        kept = lines(plain_run[0])
        shutil.copytree(plain_run[0] / 'journal', disk / 'journal')
        shutil.copy(plain_run[0] / 'settings.json', disk)
        room = shutil.disk_usage(disk).free - 3 * 4096
        (disk / 'ballast').write_bytes(bytes(room))
        # in a process that ends, and with it what it has open
        process = apart([TOOL, CONFIG, WEIGHTS, '--work-dir', disk, *SHORT,
                         '--resume', '--num-images', '30', *FOUR[2:]],
                        tmp_path)
        process.join()
        _, errors = said(tmp_path)
        assert process.exitcode == 1, errors
        assert 'No space left on device' in errors
        assert 'Traceback' not in errors
        assert lines(disk)[:len(kept)] == kept
        (disk / 'ballast').unlink()
        subprocess.run(['mount', '-o', 'remount,size=8m', str(disk)],
                       check=True)
        benchmark(disk, '--resume', *FOUR)
        assert figures(disk) == pytest.approx(figures(plain_run[0]), abs=1e-6)
    finally:
        # this process still has the log open
        subprocess.run(['umount', '--lazy', str(disk)], check=True)


@pytest.mark.slow
def test_as_a_config_of_its_own_in_the_hosts_test_script(plain_run, tmp_path):
    (tmp_path / 'config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        f'test_dataloader = dict(dataset=dict(seed={SEED}))\n'
        'test_cfg = dict(_delete_=True, type="ExplanationTestLoop",\n'
        '    explainers=["odam", "odam-diff"], steps=2, num_images=4)\n'
        'test_evaluator = dict(_delete_=True, type="ExplanationMetric",\n'
        '    published={"odam": dict(\n'
        '        deletion=dict(target=61.27, others=96.12),\n'
        '        insertion=dict(target=46.06, others=3.14))})\n')
    work = tmp_path / 'work'
    run(ROOT / 'tools/test.py', tmp_path / 'config.py', WEIGHTS,
        '--work-dir', work)
    assert figures(work) == pytest.approx(figures(plain_run[0]), abs=1e-6)
    assert 'published 61.27' in (work / 'table.md').read_text()


@pytest.mark.slow
def test_started_by_slurm(plain_run, tmp_path, monkeypatch):
    work = tmp_path / 'work'
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(
            SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_NODELIST='here',
            SLURM_LOCALID=0, MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port).items():
        monkeypatch.setitem(ENVIRONMENT, name, str(value))
    srun = tmp_path / 'srun'  # starts one process, as its last words say
    srun.write_text('#!/bin/sh\n'
                    'while [ "$1" != python ]; do shift; done; exec "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setitem(
        ENVIRONMENT, 'PATH', f'{tmp_path}:{os.path.dirname(sys.executable)}:'
        f'{os.environ["PATH"]}')
    start([ROOT / 'tools/slurm_benchmark_del_ins.sh', 'partition', 'job',
           CONFIG, WEIGHTS, '--work-dir', work, *SHORT, *FOUR])
    assert figures(work) == pytest.approx(figures(plain_run[0]), abs=1e-6)


@pytest.mark.slow
def test_real_photographs(real, tmp_path):
    (tmp_path / 'config.py').write_text(
        f'_base_ = [{str(real / "yolox_nano_coco.py")!r}]\n'
        'test_dataloader = dict(dataset=dict(data_root="", '
        f'ann_file={str(real / "instances_val2017_50.json")!r}, '
        f'data_prefix=dict(img={str(real / "images/")!r})))\n')
    run(TOOL, tmp_path / 'config.py', real / 'yolox_nano_coco.pth',
        '--work-dir', tmp_path / 'work', '--num-images', '4', '--against',
        'odam', '--metrics', 'del_ins', 'localization', *SHORT)
    record = json.loads((tmp_path / 'work/del_ins.json').read_text())
    assert record['num_images'] + record['num_skipped'] == 4
    assert record['num_objects'] >= 2


def test_a_data_set_in_which_nothing_can_be_measured(tmp_path):
    result = benchmark(tmp_path / 'work', '--num-images', '2', '--cfg-options',
                       'test_cfg.type=ExplanationTestLoop',
                       'test_cfg.score_thr=0.999', expect=1)
    assert 'nothing could be measured: 2 images have too few objects' in \
        result.stderr

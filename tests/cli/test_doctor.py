"""The command that says whether everything works."""
import re
from dataclasses import replace

import pytest
from demo import CONFIG, WEIGHTS, demo_detector
from programs import inside

from mmdet_diffmap import host
from mmdet_diffmap.apis import class_names
from mmdet_diffmap.cli import doctor, installation
from mmdet_diffmap.cli.installation import is_met, packages


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nobody listens there."""
    monkeypatch.setattr(host, 'HOSTS', tuple(
        replace(one, zoo='http://127.0.0.1:9') for one in host.HOSTS))


def run_doctor(*arguments, expect=0):
    result = inside(['mmdet-diffmap', 'doctor', *arguments])
    assert result.returncode == expect, result.stdout + result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines()
               if '/' not in line)
    return ' '.join(result.stdout.split())


@pytest.mark.slow
def test_a_detector_that_works():
    said = run_doctor(CONFIG, WEIGHTS, '--device', 'cpu')
    assert 'problem' not in said
    assert re.search(r'ok mmdet (onedl-mmdetection )?3\.', said)
    assert 'ok ops ' in said
    assert 'objects in' in said and 'on the CPU' in said
    assert 'note model zoo http://127.0.0.1:9 cannot be reached' in said
    assert 'ok config a FCOS' in said
    names = class_names(demo_detector())
    assert f'fit; {len(names)} classes: {", ".join(names[:3])} …' in said
    assert 'ok test set its files are there' in said
    assert 'ok gradients coupled' in said
    assert said.endswith('all that is needed works')


@pytest.mark.parametrize('text, problem', [
    ('', 'weights neither given, nor named by the config (load_from)'),
    ("load_from = 'none.pth'", 'weights weights none.pth do not exist'),
])
def test_problems_of_a_config(text, problem, tmp_path, monkeypatch):
    path = tmp_path / 'bare.py'
    path.write_text(f'_base_ = [{str(CONFIG)!r}]\nload_from = None\n{text}\n'
                    "test_dataloader = dict(dataset=dict(_delete_=True, "
                    "type='CocoDataset', data_root='none', ann_file='a', "
                    "metainfo=dict(classes=('a', ))))\n")
    # of all the rest, only the lines about the config are wanted
    monkeypatch.setattr(doctor, 'packages', lambda: iter([]))
    monkeypatch.setattr(doctor, 'demo', lambda device: iter([]))
    monkeypatch.setattr(doctor, 'LIMIT', 0.)
    said = run_doctor(path, expect=1)
    assert f'problem {problem}' in said
    assert 'note test set the test set is not there: none/a does not' in said
    assert 'problem gradients fails no result within 0 s' in said
    assert '2 problems; each line says the way out' in said


def test_no_config(tmp_path):
    said = run_doctor(tmp_path / 'none.py', expect=1)
    assert 'none.py does not exist' in said and said.endswith(
        '1 problem; each line says the way out')


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(installation.NEEDED, 'no_such_module',
                        'pip install it')
    lines = {line.name: line for line in packages()}
    assert lines['no_such_module'].state == 'problem'
    said = run_doctor(expect=1)
    assert 'problem no_such_module is not installed; pip install it' in said
    assert 'Machine' not in said  # which needs all packages


def test_versions_are_compared():
    assert is_met('numpy>=1.0') and is_met('rich')
    assert not is_met('numpy>=99') and not is_met('no-such-package')
    assert is_met('no-such-package; python_version < "3"')

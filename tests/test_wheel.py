"""The package as a wheel, used in an empty folder."""
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.metadata import Distribution

import pytest
from demo import ROOT
from packaging.requirements import Requirement
from programs import added_path

from mmdet_diffmap import __version__, host
from mmdet_diffmap.__main__ import COMMANDS, main


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """Where the wheel is installed."""
    folder = tmp_path_factory.mktemp('wheel')
    # building leaves folders behind
    shutil.copytree(ROOT, folder / 'source', symlinks=True,
                    ignore=shutil.ignore_patterns(
                        '.*_cache', '.git', '.venv', 'build', '*.egg-info'))
    pip = [sys.executable, '-m', 'pip', '--quiet',
           '--disable-pip-version-check']
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w',
                    folder, folder / 'source'], check=True)
    shutil.rmtree(folder / 'source')
    (wheel, ) = folder.glob('*.whl')
    subprocess.run([*pip, 'install', '--no-deps', '--target', folder / 'site',
                    wheel], check=True)
    return folder / 'site'


def command(site, folder, *arguments, expect=0):
    """The command as a shell finds it."""
    env = dict(os.environ, PYTHONWARNINGS='ignore',
               PYTHONPATH=added_path(site))
    result = subprocess.run(
        [site / 'bin/mmdet-diffmap', *map(str, arguments)], cwd=folder,
        env=env, capture_output=True, text=True)
    assert result.returncode == expect, result.stdout + result.stderr
    return result


@pytest.mark.slow
def test_it_carries_all_configs_tools_and_weights(site):
    (wheel, ) = site.parent.glob('*.whl')
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in 'configs', 'tools':
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert f'mmdet_diffmap/.mim/{path.relative_to(ROOT)}' \
                    in inside
    assert 'mmdet_diffmap/py.typed' in inside
    assert not any(name.startswith(('tests', 'configs', 'tools'))
                   for name in inside)


@pytest.mark.slow
def test_each_host_is_an_extra(site):
    """Neither may be installed over the other."""
    (folder, ) = site.glob('*.dist-info')
    needed = [Requirement(line) for line in Distribution.at(folder).requires]
    extras = {'', *(one.extra for one in host.HOSTS)}
    given = {extra: {host.module_of(one.name) for one in needed
                     if one.marker is None
                     or one.marker.evaluate(dict(extra=extra))} - {None}
             for extra in extras}
    assert given.pop('') == set()
    assert all(modules == set(host.MODULES) for modules in given.values())


@pytest.mark.slow
def test_explain_and_report_in_an_empty_folder(site, tmp_path):
    command(site, tmp_path, 'report')  # the bundled scenes
    assert sorted(one.name for one in tmp_path.iterdir()) == ['outputs']
    assert len(list((tmp_path / 'outputs/vis').glob('*.png'))) == 3
    page = (tmp_path / 'outputs/report.html').read_text()
    assert 'scene://0/17' in page
    command(site, tmp_path, 'explain', 'scene://0/5',
            'mmdet_diffmap::demo/detr_scenes.py', '--out-dir', 'detr')
    assert (tmp_path / 'detr/vis/5.png').is_file()


@pytest.mark.slow
def test_benchmark_in_an_empty_folder(site, tmp_path):
    result = command(
        site, tmp_path, 'benchmark', 'mmdet_diffmap::demo/fcos_scenes.py',
        '--explainers', 'odam', '--num-images', '2', '--work-dir',
        'work', '--cfg-options', 'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False')
    assert 'on 2 images' in result.stdout
    assert (tmp_path / 'work/del_ins.json').is_file()


@pytest.mark.slow
def test_the_command_has_the_names_of_its_tools(site, tmp_path):
    result = command(site, tmp_path, 'explain', 'scene://0/5',
                     'mmdet_diffmap::demo/no.py', expect=1)
    assert 'mmdet_diffmap:: has demo/detr_pairs.py, demo/detr_scenes.py' in \
        result.stderr
    result = command(site, tmp_path, 'report', 'alone', expect=2)
    assert 'usage: mmdet-diffmap report' in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_and_mistakes(monkeypatch, capsys):
    for arguments, printed in [([], 'benchmark'), (['-h'], 'report'),
                               (['--version'], __version__)]:
        monkeypatch.setattr(sys, 'argv', ['mmdet-diffmap', *arguments])
        assert main() == 0
        assert printed in capsys.readouterr().out
        assert main(arguments) == 0
        assert printed in capsys.readouterr().out
    for module, *_ in COMMANDS.values():
        assert callable(import_module(f'mmdet_diffmap.cli.{module}').main)
    monkeypatch.setattr(sys, 'argv', ['mmdet-diffmap', 'expalin'])
    assert main() == 2
    assert 'there is no command expalin' in capsys.readouterr().err

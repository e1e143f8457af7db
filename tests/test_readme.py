"""Every command and every piece of Python in the README, as they stand."""
import os
import shlex
import subprocess
import sys

import pytest
from demo import ROOT
from programs import inside
from reader import blocks, given

README = (ROOT / 'README.md').read_text()
BLOCKS = blocks(README)
COMMANDS = [
    command for language, block in BLOCKS if language == 'bash'
    for command in block.replace('\\\n', ' ').strip().splitlines()
]
HOOK, *CODES = (block for language, block in BLOCKS if language == 'python')
# run by `make demo`, by `make test`, or for the better part of an hour
ELSEWHERE = ('make ', 'pip ', 'python tools/train_demo.py ')
# download weights of hundreds of megabytes: here they meet a closed door
DOWNLOADS = ('configs/fcos', 'configs/faster', 'configs/detr', 'configs/pvt',
           ' detr_r50', ' mmdet::')
# take half a minute each
SLOW = ('python tools/benchmark_del_ins.py', 'tools/dist_',
        'mmdet-diffmap sanity-check')


def downloads(command):
    return any(model in command for model in DOWNLOADS)


@pytest.fixture
def folder(tmp_path):
    """What the README takes as given."""
    given(tmp_path, f"{HOOK}\ncustom_hooks[0]['interval'] = 1")
    return tmp_path


def run(command, folder):
    env = dict(os.environ, PYTHONWARNINGS='ignore',
               PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}')
    return subprocess.run(command, shell=True, cwd=folder, env=env,
                          capture_output=True, text=True)


@pytest.mark.parametrize('command', [
    pytest.param(command, marks=pytest.mark.slow if command.startswith(SLOW)
                 else ()) for command in COMMANDS
    if not command.startswith(ELSEWHERE) and not downloads(command)])
def test_command(command, folder):
    before = set(folder.rglob('*'))
    result = run(command, folder)
    assert result.returncode == 0, result.stderr
    assert {'.png', '.mp4'} & {path.suffix for path in folder.rglob('*')
                               if path not in before}


@pytest.mark.parametrize('command', filter(downloads, COMMANDS))
def test_command_without_a_network(command, folder, monkeypatch):
    # an empty cache, so that nothing is taken from an earlier download
    monkeypatch.setenv('TORCH_HOME', str(folder))
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
    python, *arguments = shlex.split(command)
    assert python == 'python'
    result = inside(arguments, folder)
    assert result.returncode == 1
    assert 'cannot be downloaded' in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_commands_that_run_elsewhere_are_few():
    assert len([c for c in COMMANDS if c.startswith(ELSEWHERE)]) == 6


def test_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    for code in CODES:
        exec(code, names)
    assert len(names['instances']) >= 4
    assert len(names['result']['predictions']) == 1
    assert (folder / 'explained/vis/a.png').is_file()

"""Every command and every piece of Python in the README, and in the page that
lists all uses, as they stand."""
import os
import re
import shlex
import subprocess
import sys

import pytest
from demo import ROOT
from programs import inside
from reader import blocks, prepare

PAGES = [(ROOT / name).read_text() for name in ('README.md', 'docs/usage.md')]
BLOCKS = [blocks(page) for page in PAGES]
COMMANDS = list(dict.fromkeys(
    command for page_blocks in BLOCKS for language, block in page_blocks
    if language == 'bash'
    for command in block.replace('\\\n', ' ').strip().splitlines()))
PYTHON = [[block for language, block in page_blocks if language == 'python']
          for page_blocks in BLOCKS]
HOOK = next(block for code in PYTHON for block in code
            if block.startswith('custom_imports'))
# run by `make demo`, by `make test`, or for the better part of an hour
ELSEWHERE = ('make ', 'pip ', 'python tools/train_demo.py ')
# download weights of hundreds of megabytes: here they meet a closed door
DOWNLOADS = ('configs/fcos', 'configs/faster', 'configs/detr', 'configs/pvt',
             ' detr_r50', ' mmdet::')
# take half a minute each, or D-RISE's time
SLOW = ('mmdet-diffmap benchmark', 'tools/dist_', 'mmdet-diffmap sanity-check',
        'mmdet-diffmap explain photo.jpg my_config.py --weights '
        'my_weights.pth      --object 0 --explainer all')


def downloads(command):
    return any(model in command for model in DOWNLOADS)


@pytest.fixture
def folder(tmp_path):
    """What the pages take as given."""
    prepare(tmp_path, f"{HOOK}\ncustom_hooks[0]['interval'] = 1")
    return tmp_path


def run(command, folder):
    """In this process, unless it is a shell script."""
    program, *arguments = shlex.split(command)
    if not program.endswith('.sh'):
        return inside([program, *arguments] if program == 'mmdet-diffmap'
                      else arguments, folder)
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
    assert {'.png', '.mp4', '.md'} & {path.suffix for path in
                                      folder.rglob('*') if path not in before}


@pytest.mark.parametrize('command', filter(downloads, COMMANDS))
def test_command_without_a_network(command, folder, monkeypatch):
    # an empty cache, so that nothing is taken from an earlier download
    monkeypatch.setenv('TORCH_HOME', str(folder))
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
    result = run(command, folder)
    assert result.returncode == 1
    assert 'cannot be downloaded' in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_commands_that_run_elsewhere_are_few():
    assert len([c for c in COMMANDS if c.startswith(ELSEWHERE)]) == 7


@pytest.mark.parametrize('code', PYTHON, ids=['readme', 'usage'])
def test_python(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    for block in code:
        if block is not HOOK:
            exec(block, names)
    assert len(names['instances']) >= 4
    if 'result' in names and isinstance(names['result'], dict):
        assert len(names['result']['predictions']) == 1
        assert (folder / 'explained/vis/a.png').is_file()


def test_readme_is_read_in_a_few_minutes():
    assert len(PAGES[0].split()) <= 850


def test_badges_say_what_the_package_asks_for():
    setup = (ROOT / 'setup.py').read_text()
    required = (ROOT / 'requirements.txt').read_text()
    badges = dict(re.findall(r'img\.shields\.io/badge/(\w+)-([\w.-]+?)(?:%2B)?'
                             r'-\w+\)', PAGES[0]))
    assert badges.pop('Python') in re.search('python_requires=.*', setup)[0]
    assert badges.pop('PyTorch') in re.search('^torch>=.*', required, re.M)[0]
    assert badges.pop('MMDetection') in re.search('^mmdet>=.*', required,
                                                  re.M)[0]
    assert badges == {'licence': 'Apache--2.0'}
    assert "license='Apache-2.0'" in setup

"""Every command and every piece of Python in the README, as they stand."""
import os
import re
import shlex
import shutil
import subprocess
import sys

import cv2
import pytest
from demo import CONFIG, ROOT, WEIGHTS
from programs import inside

from mmdet_diffmap.datasets import render_scene

README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', README, re.S)
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
        'python tools/sanity_check.py')


def downloads(command):
    return any(model in command for model in DOWNLOADS)


@pytest.fixture
def folder(tmp_path):
    """What the README takes as given."""
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'photos').mkdir()
    for name in ('photo.jpg', 'photos/a.jpg'):
        cv2.imwrite(str(tmp_path / name), render_scene(0, 2).image)
    clip = cv2.VideoWriter(str(tmp_path / 'clip.mp4'),
                           cv2.VideoWriter.fourcc(*'mp4v'), 10, (192, 192))
    for _ in range(3):
        clip.write(render_scene(0, 2).image)
    clip.release()
    (tmp_path / 'my_config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n{HOOK}\n'
        "custom_hooks[0]['interval'] = 1\n"
        'model = dict(test_cfg=dict(max_per_img=4))\n'
        'test_dataloader = dict(num_workers=0, dataset=dict(num_images=2))\n')
    shutil.copy(WEIGHTS, tmp_path / 'my_weights.pth')
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


@pytest.mark.parametrize('page', [
    'README.md', *(f'docs/{one.name}' for one in ROOT.glob('docs/*.md'))])
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / page).read_text()):
        if not target.startswith('http'):
            assert (ROOT / page).parent.joinpath(target).exists(), target

"""Every command and every piece of Python in the README, as they stand."""
import os
import re
import shutil
import subprocess
import sys

import cv2
import pytest
from demo import CONFIG, ROOT, WEIGHTS

from mmdet_diffmap.datasets import render_scene

README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', README, re.S)
COMMANDS = [
    command for language, block in BLOCKS if language == 'bash'
    for command in block.replace('\\\n', ' ').strip().splitlines()
]
HOOK, CODE = (block for language, block in BLOCKS if language == 'python')
# run by `make demo`, by `make test`, or for the better part of an hour
ELSEWHERE = ('make ', 'pip ', 'python tools/train_demo.py ')
# download weights of hundreds of megabytes: here they meet a closed door
DOWNLOADS = ('configs/fcos', 'configs/faster', 'configs/detr', 'configs/pvt',
           ' detr_r50', ' mmdet::')
# take half a minute each
SLOW = ('python tools/benchmark_del_ins.py', 'tools/dist_',
        'python tools/sanity_check.py')


@pytest.fixture
def folder(tmp_path):
    """What the README takes as given."""
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'photos').mkdir()
    for name in ('photo.jpg', 'photos/a.jpg'):
        cv2.imwrite(str(tmp_path / name), render_scene(0, 2).image)
    (tmp_path / 'my_config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n{HOOK}\n'
        "custom_hooks[0]['interval'] = 1\n"
        'model = dict(test_cfg=dict(max_per_img=4))\n'
        'test_dataloader = dict(num_workers=0, dataset=dict(num_images=2))\n')
    shutil.copy(WEIGHTS, tmp_path / 'my_weights.pth')
    return tmp_path


def run(command, folder):
    # an empty cache, so that nothing is taken from an earlier download
    env = dict(os.environ, PYTHONWARNINGS='ignore', TORCH_HOME=str(folder),
               https_proxy='http://127.0.0.1:9',
               PATH=f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}')
    return subprocess.run(command, shell=True, cwd=folder, env=env,
                          capture_output=True, text=True)


@pytest.mark.parametrize('command', [
    pytest.param(command, marks=pytest.mark.slow if command.startswith(SLOW)
                 else ()) for command in COMMANDS
    if not command.startswith(ELSEWHERE)])
def test_command(command, folder):
    result = run(command, folder)
    if any(model in command for model in DOWNLOADS):
        assert result.returncode == 1
        assert 'cannot be downloaded' in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        return
    assert result.returncode == 0, result.stderr
    assert list(folder.rglob('*.png'))


def test_commands_that_run_elsewhere_are_few():
    assert len([c for c in COMMANDS if c.startswith(ELSEWHERE)]) == 6


def test_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(CODE, names)
    assert len(names['instances']) >= 4


@pytest.mark.parametrize('page', [
    'README.md', *(f'docs/{one.name}' for one in ROOT.glob('docs/*.md'))])
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / page).read_text()):
        if not target.startswith('http'):
            assert (ROOT / page).parent.joinpath(target).exists(), target

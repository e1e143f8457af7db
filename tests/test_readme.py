"""Every command and every piece of Python in the README, and in the page that
lists all uses, as they stand."""
import json
import re
import shlex
from importlib.util import find_spec

import pytest
from demo import ROOT
from programs import inside
from reader import blocks, prepare

from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.datasets.scenes import CLASSES

PAGES = [(ROOT / name).read_text() for name in ('README.md', 'docs/usage.md')]
BLOCKS = [blocks(page) for page in PAGES]
README, USAGE = (dict.fromkeys(
    command for language, block in page_blocks if language == 'bash'
    for command in block.replace('\\\n', ' ').strip().splitlines())
    for page_blocks in BLOCKS)
COMMANDS = [*(README | USAGE)]
PYTHON = [[block for language, block in page_blocks if language == 'python']
          for page_blocks in BLOCKS]
HOOK = next(block for code in PYTHON for block in code
            if block.startswith('custom_imports'))
# run by `make demo`, by `make test`, by other tests, for the better part of an
# hour or for ever
ELSEWHERE = ('make ', 'pip ', 'python tools/train_demo.py ',
             'mmdet-diffmap figure 5 ', 'fiftyone ')
# download weights of hundreds of megabytes: here they meet a closed door
DOWNLOADS = ('configs/fcos', 'configs/faster', 'configs/detr', 'configs/pvt',
             ' detr_r50', ' mmdet::')
# take half a minute each, or D-RISE's time; all of the usage page take minutes
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
    """In this process; a tool that a shell script starts in several, as
    ``test_benchmark`` does, with the script's arguments."""
    program, *arguments = shlex.split(command)
    script = re.fullmatch(r'tools/dist_(\w+)\.sh', program)
    if script:
        config, checkpoint, _, *options = arguments
        arguments = [f'tools/{script[1]}.py', config, checkpoint, *options]
    return inside([program, *arguments] if program == 'mmdet-diffmap'
                  else arguments, folder)


@pytest.mark.parametrize('command', [
    pytest.param(command, marks=[
        *[pytest.mark.slow] * (command not in README or
                               command.startswith(SLOW)),
        *[pytest.mark.skipif(find_spec('fiftyone') is None,
                             reason='FiftyOne is not installed')] *
        ('--fiftyone' in command)]) for command in COMMANDS
    if not command.startswith(ELSEWHERE) and not downloads(command)])
def test_command(command, folder):
    before = set(folder.rglob('*'))
    result = run(command, folder)
    assert result.returncode == 0, result.stderr
    assert {'.png', '.mp4', '.md', '.html', '.pdf', '.json'} & {
        path.suffix for path in folder.rglob('*') if path not in before}


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


def prepare_evaluation(folder):
    """Run the command whose results a block of the page reads, and write
    annotations that number images and classes in their own way."""
    command, = (command for command in COMMANDS if ' --json' in command)
    assert run(command, folder).returncode == 0
    scene = render_scene(0, 2)
    corners = scene.boxes.tolist()
    (folder / 'annotations.json').write_text(json.dumps(dict(
        images=[dict(id=7, file_name='a.jpg', width=192, height=192)],
        categories=[dict(id=100 - label, name=name)
                    for label, name in enumerate(CLASSES)],
        annotations=[
            dict(id=1 + number, image_id=7, category_id=100 - int(label),
                 iscrowd=0, bbox=[x1, y1, x2 - x1, y2 - y1],
                 area=(x2 - x1) * (y2 - y1))
            for number, (label, (x1, y1, x2, y2)) in enumerate(
                zip(scene.labels, corners))])))


@pytest.mark.parametrize('code', PYTHON, ids=['readme', 'usage'])
def test_python(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    for block in code:
        if 'detections.json' in block:
            prepare_evaluation(folder)
        if block is not HOOK:
            exec(block, names)
    if 'evaluation' in names:
        evaluation = names['evaluation']
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[1] > 0.5  # AP at an IoU of 0.5
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

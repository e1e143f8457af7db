"""Follows the pages of the documentation as a reader would."""
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import cv2
from demo import CONFIG, ROOT, WEIGHTS
from programs import apart, inside, said

from mmdet_diffmap.datasets import render_scene

#: What is not for each reader, or never ends.
ELSEWHERE = ('pip ', 'python3 -m venv', 'source ', 'tensorboard ')


def blocks(page):
    """Return the language and text of each block of a page."""
    return re.findall(r'^```(\w*)\n(.*?)^```$', page, re.S | re.M)


def prepare(folder, hook=''):
    """Put what pages take as given into a folder."""
    for name in ('tools', 'configs'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'photos').mkdir()
    scene = render_scene(0, 2).image
    for name in ('photo.jpg', 'photos/a.jpg'):
        cv2.imwrite(str(folder / name), scene)
    clip = cv2.VideoWriter(str(folder / 'clip.mp4'),
                           cv2.VideoWriter.fourcc(*'mp4v'), 10, (192, 192))
    for _ in range(3):
        clip.write(scene)
    clip.release()
    (folder / 'my_config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n{hook}\n'
        'model = dict(test_cfg=dict(max_per_img=4))\n'
        # two scenes of two objects
        'test_dataloader = dict(num_workers=0, persistent_workers=False, '
        'dataset=dict(num_images=16, indices=[12, 15]))\n')
    (folder / 'other_config.py').write_text(f'_base_ = [{str(CONFIG)!r}]\n')
    for name in 'my_weights.pth', 'other_weights.pth':
        shutil.copy(WEIGHTS, folder / name)


def module(arguments):
    """Run a module in a process of its own."""
    process = apart(arguments, Path.cwd())
    process.join()
    return subprocess.CompletedProcess(arguments, process.exitcode,
                                       *said(Path.cwd()))


def follow(page):
    """Write the files of a page, and run its commands and its Python, in a
    folder that is prepared.

    A block of text after a command that begins with ``failed:`` is what the
    command says, and it fails.
    """
    names = {}
    page_blocks = blocks(page)
    answers = [text for _, text in page_blocks[1:]] + ['']
    for (language, text), answer in zip(page_blocks, answers):
        if language == 'python':
            file = re.match(r'# (\w+\.py)\n', text)
            if file:
                Path(file[1]).write_text(text)
            else:
                exec(text, names)
        if language != 'bash':
            continue
        if not answer.startswith('failed: '):
            answer = ''
        for command in text.replace('\\\n', ' ').strip().splitlines():
            command = command.removeprefix('PYTHONPATH=. ')
            if command.startswith(ELSEWHERE):
                continue
            print(command, flush=True)
            arguments = shlex.split(command)
            if arguments[0] == 'python':
                arguments = arguments[1:]
            if arguments[0] == '-c':
                exec(arguments[1], {})
                continue
            if arguments[0] == '-m':
                result = module(arguments)
            else:
                result = inside(arguments)
            assert result.returncode == bool(answer), \
                result.stdout + result.stderr
            assert ' '.join(answer.split()) in ' '.join(result.stderr.split())

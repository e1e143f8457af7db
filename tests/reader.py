"""Follows the pages of the documentation as a reader would, in one process.

Run as ``python reader.py PAGE`` in a folder that holds what pages take as
given; see :func:`given`.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What is not for each reader, or never ends.
ELSEWHERE = ('pip ', 'python3 -m venv', 'source ', 'tensorboard ')


def blocks(page):
    """The language and text of each block of a page."""
    return re.findall(r'^```(\w*)\n(.*?)^```$', page, re.S | re.M)


def given(folder, hook=''):
    """Put what pages take as given into a folder."""
    import cv2
    from demo import CONFIG, WEIGHTS

    from mmdet_diffmap.datasets import render_scene
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
        'test_dataloader = dict(num_workers=0, persistent_workers=False, '
        'dataset=dict(num_images=2))\n')
    shutil.copy(WEIGHTS, folder / 'my_weights.pth')


def follow(page):
    """Write the files of a page, and run its commands and its Python."""
    from programs import inside
    names = {}
    found = blocks(page)
    for number, (language, text) in enumerate(found):
        if language == 'python':
            file = re.match(r'# (\w+\.py)\n', text)
            if file:
                Path(file[1]).write_text(text)
            else:
                exec(text, names)
        if language != 'bash':
            continue
        answer = found[number + 1][1] if number + 1 < len(found) and \
            found[number + 1][1].startswith('failed: ') else ''
        for command in text.replace('\\\n', ' ').strip().splitlines():
            command = command.removeprefix('PYTHONPATH=. ')
            if command.startswith(ELSEWHERE):
                continue
            print(command, flush=True)
            arguments = shlex.split(command)
            if arguments[0] == 'python':
                arguments = arguments[1:]
            if arguments[0].startswith('-'):
                result = subprocess.run([sys.executable, *arguments],
                                        capture_output=True, text=True)
            else:
                result = inside(arguments)
            assert result.returncode == bool(answer), \
                result.stdout + result.stderr
            assert ' '.join(answer.split()) in ' '.join(result.stderr.split())


if __name__ == '__main__':
    sys.path.insert(0, os.getcwd())
    import mmdet_diffmap  # noqa: F401, before the page imports mmdet
    follow(Path(sys.argv[1]).read_text())

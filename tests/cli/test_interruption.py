"""Commands that their user ends by Ctrl-C."""
import os
import re
import signal
import time

import pytest
from demo import CONFIG
from programs import apart, inside, said

from mmdet_diffmap.cli import options
from mmdet_diffmap.io.progress import progress_bar

FEW = ('test_dataloader.num_workers=0',
       'test_dataloader.persistent_workers=False',
       'test_dataloader.dataset.num_images=300')


def interrupted(folder, pattern, *arguments):
    """Run a command until it has written a file, press Ctrl-C, and return
    what it says."""
    process = apart(['mmdet-diffmap', *arguments], folder)
    limit = time.monotonic() + 120
    while not any(path.stat().st_size for path in folder.glob(pattern)):
        assert process.is_alive(), said(folder)
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    out, errors = said(folder)
    assert process.exitcode == 130, out + errors
    assert 'Traceback' not in out + errors
    return errors.splitlines()[-1]


@pytest.mark.slow
def test_a_benchmark_is_ended_and_goes_on(tmp_path):
    arguments = ('benchmark', CONFIG, '--explainer', 'grad-cam', '--steps',
                 '2', '--work-dir', 'work')
    last = interrupted(tmp_path, 'work/journal/*.jsonl', *arguments,
                       '--cfg-options', *FEW)
    found = re.fullmatch(r'interrupted: (\d+) of 300 images are finished; the '
                         'same command with --resume goes on from there', last)
    assert found, last
    lines = sum(len(path.read_text().splitlines())
                for path in tmp_path.glob('work/journal/*.jsonl'))
    assert lines - 1 <= int(found[1]) <= lines
    count = str(lines + 1)
    again = inside(['mmdet-diffmap', *arguments, '--resume', '--num-images',
                    count, '--cfg-options', *FEW], tmp_path)
    assert f'on {count} images' in again.stdout.replace('\n', ' ') or \
        f'{count} images' in again.stdout, again.stderr


@pytest.mark.slow
def test_pictures_that_are_finished_are_kept(tmp_path):
    images = [f'scene://0/{number}' for number in range(200)]
    last = interrupted(tmp_path, 'outputs/vis/*.png', 'report', *images,
                       CONFIG)
    assert re.fullmatch(r'interrupted: \d+ of 200 images are finished', last)
    page = (tmp_path / 'outputs/report.html').read_text()
    assert page.rstrip().endswith('</html>')


@pytest.mark.slow
def test_mmdets_test_is_ended(tmp_path):
    last = interrupted(tmp_path, 'work/*/*.log', 'test', CONFIG,
                       CONFIG.with_suffix('.pth'), '--work-dir', 'work',
                       '--cfg-options', *FEW)
    assert last == 'interrupted'


@pytest.mark.parametrize('resume', [True, False])
def test_the_outermost_count_is_told(resume, capsys):
    def work():
        with progress_bar('images', 9, done=2) as advance:
            advance(1)
            with progress_bar('masks', 500):
                raise KeyboardInterrupt

    assert options.run(work, resume) == 130
    last = capsys.readouterr().err
    assert last.startswith('interrupted: 3 of 9 images are finished')
    assert ('--resume' in last) == resume and last.count('\n') == 1


def test_an_error_that_an_interruption_became(capsys):
    def work():
        try:
            raise KeyboardInterrupt
        except:  # noqa: E722, as mmengine does
            raise SyntaxError('no config')  # noqa: B904

    assert options.run(work, mistakes=()) == 130
    assert capsys.readouterr().err == 'interrupted\n'

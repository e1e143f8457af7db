"""Texts at the command line, with a random detector on disk."""
import json

import cv2
import pytest
from demo import CONFIG, WEIGHTS
from families import random_image
from matplotlib.figure import Figure
from prompted import PHRASES, SIZE

from mmdet_diffmap.__main__ import main
from mmdet_diffmap.lab.zoo.prompted import write_prompted_detector

TEXT = ('--texts', 'a red car . a zebra . the dog', '-c')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('prompted')
    write_prompted_detector(folder)
    cv2.imwrite(str(folder / 'image.png'), random_image(*SIZE))
    return folder


@pytest.fixture
def command(folder, tmp_path, capsys):
    """Runs ``explain`` with the random detector; gives the folder of the
    results, or what it says of a mistake."""

    def run(*options, expect=0, config=None, weights=None):
        arguments = ['explain', folder / 'image.png',
                     config or folder / 'config.py', '--weights',
                     weights or folder / 'weights.pth', '--score-thr', '0',
                     '--explainer', 'layer-cam', '--out-dir', tmp_path,
                     *options]
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr()
        assert status == expect, said.err
        return said.err if expect else tmp_path

    return run


def test_one_object_by_each_phrase(command):
    out = command(*TEXT, '--object', '1', '--phrases', '--report', '--json')
    found = json.loads((out / 'detections.json').read_text())
    assert [one['name'] for one in found['categories']] == list(PHRASES)
    assert [one['category_id'] for one in found['annotations']] == [1, 2, 3]
    assert len({tuple(one['bbox']) for one in found['annotations']}) == 1
    assert all(len(one['words']['layer-cam']['values']) > 6
               for one in found['annotations'])
    page = (out / 'report.html').read_text()
    assert f'{TEXT[1]} (phrases)' in page  # in the settings
    assert (out / 'vis/image.png').is_file()


def test_some_phrases_and_places(command):
    out = command('--texts', 'a red car and a dog', '--tokens-positive',
                  '[[[0, 9]], [[14, 19]]]', '--object', '0', '--phrases',
                  'a dog', '--json', '--no-pictures')
    found = json.loads((out / 'detections.json').read_text())
    assert [one['category_id'] for one in found['annotations']] == [2]


@pytest.mark.parametrize('options, message', [
    ((), 'GroundingDINO looks for what a text names: give texts'),
    (('-c', ), 'about the text: give it with --texts'),
    (('--texts', ' . ', '-c'), 'the text is empty'),
    (('--texts', 'a dog', '--tokens-positive', '[['), 'is no list: write it'),
    ((*TEXT, '--phrases'), 'give its number with --object'),
    ((*TEXT, '--phrases', '--object', '0', '--contrast'), 'goes neither with'),
    ((*TEXT, '--phrases', 'a cow', '--object', '0'), "no class 'a cow'"),
    ((*TEXT, '--phrases', '--object', '9'), 'there is no object 9'),
])
def test_mistakes(command, options, message):
    expect = 2 if 'give its' in message or 'give it' in message or \
        'goes neither' in message else 1
    said = command(*options, expect=expect)
    assert message in said and 'Traceback' not in said


def test_a_detector_that_takes_no_text(command):
    assert 'FCOS has no language branch, so it cannot take texts' in command(
        *TEXT, config=CONFIG, weights=WEIGHTS, expect=1)


def test_a_figure_has_a_row_for_each_phrase(folder, tmp_path, monkeypatch):
    drawn = []
    savefig = Figure.savefig

    def noted(figure, *arguments, **options):
        drawn.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, 'savefig', noted)
    status = main(list(map(str, [
        'figure', 3, folder / 'image.png', folder / 'config.py', '--weights',
        folder / 'weights.pth', '--score-thr', 0, '--explainer', 'layer-cam',
        '--out-dir', tmp_path, *TEXT, '--object', 1, '--phrases'])))
    texts = [text.get_text() for text in drawn[0].texts]
    assert status == 0 and (tmp_path / 'figure-3.pdf').is_file()
    labels = [text for text in texts if text.rpartition(' ')[0] in PHRASES]
    assert [text.rpartition(' ')[0] for text in labels] == list(PHRASES)
    assert sum(text.startswith('words, for and against')
               for text in texts) == len(PHRASES)

"""What ``explain`` writes, and which options of it go together."""
import json
import os

import numpy as np
import pypdfium2
import pytest
from demo import CONFIG, SCENE
from PIL import Image

from mmdet_diffmap.cli.explain import main


def explain(folder, *arguments):
    return main([SCENE, str(CONFIG), '--out-dir', str(folder), *arguments])


@pytest.mark.parametrize('picture, arguments', [
    ('vis', ['--max-rows', '1']), ('compare', ['--object', '1']),
    ('pair', ['--pair', '0', '1'])
])
def test_vector_files_say_what_made_them(picture, arguments, tmp_path):
    assert explain(tmp_path, '--format', 'pdf', '--score-thr', '0.4',
                   *arguments) == 0
    assert os.listdir(tmp_path / picture) == ['2.pdf']
    page = pypdfium2.PdfDocument(tmp_path / picture / '2.pdf')[0]
    text = page.get_textpage().get_text_bounded()
    for part in 'fcos_scenes', SCENE, 'score > 0.4', 'ODAM(':
        assert part in text, text


def test_rows_crops_and_formats(tmp_path):
    """More rows make a picture taller; crops of small objects are square."""
    sizes = {}
    for name, arguments in dict(
            all=['--max-rows', '0'], two=['--max-rows', '2'],
            crop=['--max-rows', '1', '--crop']).items():
        assert explain(tmp_path / name, '--format', 'jpg', *arguments) == 0
        with Image.open(tmp_path / name / 'vis/2.jpg') as image:
            assert image.format == 'JPEG'
            sizes[name] = image.size
    row = 360 + 26 + 8  # all five rows show all of a square image
    assert sizes['all'][1] - sizes['two'][1] == 3 * row - 18  # no line
    assert sizes['crop'][0] == sizes['two'][0]


def test_a_page_maps_and_data_without_pictures(tmp_path, capsys):
    assert explain(tmp_path, '--no-pictures', '--report', '--save-maps',
                   '--json') == 0
    assert sorted(os.listdir(tmp_path)) == [
        'detections.json', 'maps', 'report.html']
    assert f'{SCENE}: 5 objects (' in capsys.readouterr().out
    content = json.loads((tmp_path / 'detections.json').read_text())
    place = content['annotations'][4]['maps']['odam']
    assert place == dict(file='maps/2.npz', index=4)
    assert len(np.load(tmp_path / place['file'])['heatmaps']) == 5


@pytest.mark.parametrize('arguments, message', [
    (['--no-pictures'], '--no-pictures leaves nothing to write: add '
     '--save-maps or --report or --json or --fiftyone'),
    (['--no-pictures', '--json', '--crop'],
     '--crop does not go with --no-pictures'),
    (['--no-pictures', '--json', '--max-rows', '0'],
     '--max-rows does not go with --no-pictures'),
    (['--object', '0', '--json'], '--json does not go with --object'),
    (['--object', '0', '--max-rows', '3'],
     '--max-rows does not go with --object'),
    (['--pair', '0', '1', '--crop'], '--crop does not go with --pair'),
    (['--pair', '0', '1', '--no-pictures'],
     '--no-pictures does not go with --pair'),
    (['--format', 'gif'], "invalid choice: 'gif'"),
    (['--max-rows', '-1'], '-1'),
])
def test_options_that_do_not_go_together(arguments, message, tmp_path,
                                         capsys):
    with pytest.raises(SystemExit):
        explain(tmp_path / 'out', *arguments)
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('option', ['--crop', '--json', '--no-pictures'])
def test_videos_have_none_of_it(option, tmp_path, capsys):
    more = ['--json'] if option == '--no-pictures' else []
    assert main(['clip.mp4', str(CONFIG), option, *more, '--out-dir',
                 str(tmp_path / 'out')]) == 1
    assert 'is for images: explain clip.mp4 without it' in \
        capsys.readouterr().err

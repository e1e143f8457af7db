"""The figures of a paper as a user makes them."""
import json

import pytest
from demo import CONFIG, WEIGHTS
from PIL import Image
from programs import run

MODEL = (CONFIG, '--weights', WEIGHTS)
SCENE = 'scene://0/2'


def figure(*arguments, **options):
    return run('mmdet-diffmap', 'figure', *arguments, **options)


def texts_of(path):
    """Check a figure, and return the width of its PNG in pixels and the
    content of its PDF."""
    pdf = path.with_suffix('.pdf').read_bytes()
    # letters are those of an embedded font, as outlines that stay text
    assert b'/CIDFontType2' in pdf and b'/Type3' not in pdf
    with Image.open(path.with_suffix('.png')) as picture:
        assert picture.info['dpi'] == pytest.approx((300, 300), abs=.1)
        return picture.size[0], pdf


def images_in(pdf):
    return pdf.count(b'/Subtype /Image')


def test_one_object_by_several_detectors(tmp_path):
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = [{str(CONFIG)!r}]\n')
    result = figure(2, SCENE, 'scene://0/17', CONFIG, other, '--weights',
                    WEIGHTS, WEIGHTS, '--object', 1, 0, '--titles', 'FCOS',
                    'The same', '--out-dir', 'o', cwd=tmp_path)
    assert f'{tmp_path}/o/figure-2.pdf and .png' in result.stdout
    width, pdf = texts_of(tmp_path / 'o/figure-2')
    assert width == 2070
    # 2 detectors, 2 images, 3 maps, and 2 colour bars
    assert images_in(pdf) == 2 * 2 * 3 + 2


def test_objects_of_an_image(tmp_path):
    figure(3, SCENE, *MODEL, '--object', 0, 2, '--explainer', 'grad-cam',
           cwd=tmp_path)
    width, pdf = texts_of(tmp_path / 'outputs/figure-3')
    assert width == 990 and images_in(pdf) == 2 * 4 + 2


def test_one_object_by_several_methods(tmp_path):
    figure(4, SCENE, *MODEL, '--explainer', 'odam', 'grad-cam', 'd-rise',
           '--explainer-options', 'masks=8', '--width', 'column',
           cwd=tmp_path)
    width, pdf = texts_of(tmp_path / 'outputs/figure-4')
    assert width == 990 and images_in(pdf) == 3 * 3 + 2


@pytest.mark.slow
@pytest.mark.parametrize('number', [2, 3, 4])
def test_bundled_scenes_and_detectors(number, tmp_path):
    options = ('--explainer-options', 'masks=50') if number == 4 else ()
    figure(number, *options, cwd=tmp_path)
    texts_of(tmp_path / f'outputs/figure-{number}')


@pytest.mark.slow
def test_real_photographs(real, tmp_path):
    photos = sorted((real / 'images').glob('*.jpg'))
    figure(4, photos[1], photos[4], real / 'yolox_nano_coco.py', '--weights',
           real / 'yolox_nano_coco.pth', '--explainer', 'odam', 'grad-cam',
           cwd=tmp_path)
    assert images_in(texts_of(tmp_path / 'outputs/figure-4')[1]) == 14


RECORD = dict(num_images=3, num_objects=7, bases={'odam-diff': 'odam'},
              explainers={name: dict(
                  curves={direction: dict(target=[1, 2], others=[3, 4])
                          for direction in ('deletion', 'insertion')},
                  curves_ci95={direction: dict(target=[[0, 2], [1, 3]],
                                               others=[[2, 4], [3, 5]])
                               for direction in ('deletion', 'insertion')})
                  for name in ('odam', 'odam-diff', 'grad-cam')})


def measured(folder, **changes):
    (folder / 'del_ins.json').write_text(json.dumps(RECORD | changes))


def test_curves_of_a_benchmark(tmp_path):
    measured(tmp_path)
    result = figure(5, tmp_path, '--explainer', 'odam', 'odam-diff',
                    cwd=tmp_path)
    assert not result.stderr
    assert texts_of(tmp_path / 'outputs/figure-5')[0] == 2070
    figure(5, tmp_path, '--width', 'column', cwd=tmp_path)
    assert texts_of(tmp_path / 'outputs/figure-5')[0] == 990


def test_curves_of_an_older_benchmark(tmp_path):
    explainers = {name: dict(curves=figures['curves'])
                  for name, figures in RECORD['explainers'].items()}
    record = dict(RECORD, explainers=explainers)
    del record['bases']
    (tmp_path / 'del_ins.json').write_text(json.dumps(record))
    result = figure(5, tmp_path, cwd=tmp_path)
    assert 'mmdet-diffmap benchmark --resume adds them' in result.stderr
    texts_of(tmp_path / 'outputs/figure-5')


@pytest.mark.parametrize('content, message', [
    (None, 'del_ins.json cannot be read: No such file or directory; give the '
     '--work-dir of a finished benchmark'),
    ('{', 'is no result of a benchmark'),
    ('[]', 'is no result of a benchmark'),
    ('{"explainers": {"odam": {"localization": {}}}}',
     'holds no curves: measure del_ins'),
    (json.dumps(RECORD), "has no explainer 'd-rise', only odam, odam-diff"),
])
def test_mistakes_in_a_folder(content, message, tmp_path):
    if content is not None:
        (tmp_path / 'del_ins.json').write_text(content)
    result = figure(5, tmp_path, '--explainer', 'd-rise', cwd=tmp_path,
                    expect=1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('arguments, message', [
    ([1], 'invalid choice: 1'),
    ([5], 'figure 5 takes the --work-dir of one benchmark'),
    ([5, 'w', '--object', 1], 'give it without --object'),
    ([5, 'w', '--score-thr', 0.5], 'give it without --score-thr'),
    ([5, 'w', '--colours', 'classic'], 'give it without --colours'),
    ([2, SCENE], 'scene://0/2 alone: give images and a MODEL'),
    ([4, SCENE, 'a.py', 'b.py'], 'figure 4 takes one MODEL'),
    ([3, '--explainer', 'odam', 'd-rise'], 'figure 3 takes one explainer'),
    ([5, 'w', '--texts', 'a dog'], 'give it without --texts'),
    ([3, SCENE, *MODEL, '-c'], 'give it with --texts'),
    ([4, SCENE, *MODEL, '--object', 0, '--phrases', 'a dog'],
     'figure 4 shows an object once: --phrases is for figure 3'),
    ([3, SCENE, *MODEL, '--phrases'], 'give its number with --object'),
    ([2, '--titles', 'FCOS'], '1 --titles for 4 MODELs'),
    ([4, SCENE, *MODEL, WEIGHTS], '2 --weights for 1 MODELs'),
])
def test_mistakes_cost_no_work(arguments, message, tmp_path):
    assert message in figure(*arguments, cwd=tmp_path, expect=2).stderr


@pytest.mark.parametrize('arguments, message', [
    ([3, SCENE, *MODEL, '--object', 77],
     'there is no object 77 in scene://0/2: the detector finds'),
    ([4, SCENE, *MODEL, '--explainer', 'odam', '--object', 77],
     'there is no object 77: the detector finds'),
    ([4, SCENE, *MODEL, '--explainer', 'odam', '--object', 0, 1],
     '2 objects for 1 images: give one number'),
    ([3, SCENE, *MODEL, '--score-thr', 1], 'no object above the score'),
    ([3, SCENE, *MODEL, '--explainer', 'x'], "unknown explainer 'x'"),
])
def test_mistakes_get_one_clear_line(arguments, message, tmp_path):
    result = figure(*arguments, cwd=tmp_path, expect=1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / 'outputs').iterdir())

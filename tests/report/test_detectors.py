"""One page of several detectors, in a real browser."""
import numpy as np
import pytest
import torch
from demo import ROOT
from report_page import (
    act,
    box,
    close,
    drawn,
    opened,
    overlay,
    press,
    view,
)

from mmdet_diffmap import explain, load_detector
from mmdet_diffmap.apis import (
    ReportWriter,
    class_names,
    explain_files,
    read_image,
)
from mmdet_diffmap.apis.compare_files import Chosen
from mmdet_diffmap.report import Photo, Report

NAMES = ['fcos_scenes', 'faster-rcnn_scenes']
# the first has objects that the other one does not find
SCENES = ['scene://0/17', 'scene://0/2', 'missing.png']
METHODS = {'odam': 'ODAM', 'cam': 'SSGradCAM'}


@pytest.fixture(scope='module')
def models():
    return [load_detector(ROOT / f'configs/demo/{name}.py',
                          ROOT / f'configs/demo/{name}.pth', device='cpu')
            for name in NAMES]


@pytest.fixture(scope='module')
def out(models, tmp_path_factory):
    out = tmp_path_factory.mktemp('detectors')
    report = Report('two', (), {})
    for name, model in zip(NAMES, models):
        failures = explain_files(
            model, SCENES, out / name, METHODS,
            writers=[ReportWriter(report, name, out / 'report.html')])
        assert list(failures) == ['missing.png']
    assert [[one['name'] for one in photo['detectors']]
            for photo in report.photos] == [NAMES] * 2
    return out


@pytest.fixture
def two(chromium, out):
    with opened(chromium, out / 'report.html') as page:
        yield page


def instances(model, scene):
    return explain(model, scene, METHODS['odam']).pred_instances


def use_detector(page, name):
    act(page, lambda: page.select_option('#detector', label=name))


def test_each_detector_has_its_own_objects_and_maps(two, models):
    page = two
    for name, model in reversed(list(zip(NAMES, models))):
        use_detector(page, name)
        found = instances(model, SCENES[0])
        assert view(page)['detector'] == name
        assert page.locator('#objects tr').count() == len(found)
        press(page, 'Escape', 'k')  # the last one
        close(page, found.heatmaps[-1])
        line = box(page, len(found) - 1)
        assert float(line.get_attribute('x')) == pytest.approx(
            float(found.bboxes[-1, 0]), abs=1e-3)
    act(page, lambda: page.select_option('#method', label='cam'))
    close(page, explain(models[0], SCENES[0], METHODS['cam']
                        ).pred_instances.heatmaps[-1])


@pytest.mark.parametrize('scene', [0, 1])
def test_the_other_detector_s_object_is_chosen_too(two, models, scene):
    """As comparisons of detectors find it."""
    page = two
    press(page, *['n'] * scene)
    act(page, page.click, '#compare-detectors')
    found = [instances(model, SCENES[scene]) for model in models]
    names = class_names(models[0])
    counterparts = []
    for index in range(len(found[0])):
        press(page, 'j')
        same = Chosen.of(found[0], index, names).among(found[1], names)
        chosen = view(page).get('2.object')
        counterparts.append(chosen)
        title = page.text_content('#title-1')
        if len(same):
            assert torch.equal(found[1][int(chosen)].bboxes, same.bboxes)
            close(page, same.heatmaps[0], panel=1)
        else:
            assert chosen is None and not overlay(page, 1).any()
            assert f'does not find {index} ' in title
        assert title.startswith('faster-rcnn_scenes · odam')
    assert any(counterparts)


def test_the_rival_and_the_pointer_are_followed_too(two, models):
    page = two
    press(page, 'n')
    act(page, page.click, '#compare-detectors')
    first, second = (instances(model, SCENES[1]) for model in models)
    names = class_names(models[0])
    place = box(page, 0).bounding_box()
    page.mouse.move(place['x'] + place['width'] / 2,
                    place['y'] + place['height'] / 2)
    drawn(page)
    same = [Chosen.of(first, index, names).among(second, names)
            for index in (0, 1)]
    close(page, same[0].heatmaps[0], panel=1)
    page.mouse.move(2, 2)
    press(page, 'j', 'J')
    assert view(page)['2.mode'] == 'signed'
    close(page, same[0].heatmaps[0] - same[1].heatmaps[0], 0.024, panel=1)
    # a detector that is changed keeps to its find of the same objects
    before = overlay(page, 1)
    use_detector(page, NAMES[1])
    assert (overlay(page, 0) == before).all()


def test_an_address_names_the_detector(two, chromium, out):
    press(two, 'n', 'j')
    use_detector(two, NAMES[1])
    expected = overlay(two)
    page = chromium.new_page()
    page.goto(two.url)
    drawn(page)
    assert expected.any() and (overlay(page) == expected).all()
    assert page.input_value('#detector') == '1'
    page.close()


def test_failures_say_by_which_detector(two):
    assert '2 of 3 photographs: 2 failed.' in two.text_content('#incomplete')
    two.click('#open-missing')
    missing = two.text_content('#missing')
    for name in NAMES:
        assert f'missing.png by {name}' in missing


def test_a_page_of_one_detector_does_not_name_it(page):
    assert not page.locator('#detector').is_visible()
    assert not page.locator('#compare-detectors').is_visible()
    assert 'detector' not in view(page)


def photo(image, model):
    found = Photo('a.png', image)
    from mmdet_diffmap.apis.image_pipeline import image_pipeline
    from mmdet_diffmap.explainers.engine import Selection, explain_image
    (one, ) = explain_image(model, image_pipeline(model)(image).batch, 0,
                            ['ODAM'], Selection(), by_output=True)
    found.add('odam', one)
    return found


def test_detectors_that_read_an_image_in_other_sizes(models):
    image = read_image(SCENES[0])
    report = Report('two', class_names(models[0]), {})
    report.add(photo(image, models[0]), 'one')
    turned = np.ascontiguousarray(image[:100].transpose(1, 0, 2))
    with pytest.raises(ValueError, match=r'two reads a\.png in another size'):
        report.add(photo(turned, models[1]), 'two')
    report.add(photo(image, models[0]), 'one')  # once more: another one
    assert [len(one['detectors']) for one in report.photos] == [1, 1]

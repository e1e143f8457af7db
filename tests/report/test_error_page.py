"""The page of errors in a real browser, against the maps of the package."""
import base64
import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from browser import browser, resize
from demo import demo_detector
from PIL import Image

from mmdet_diffmap.apis.image_pipeline import image_pipeline
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.explainers import ODAM
from mmdet_diffmap.report import (
    ErrorEntry,
    ErrorPhoto,
    ErrorReport,
    Finding,
    MapsOfDetector,
    View,
)
from mmdet_diffmap.report.packed_maps import VISIBLE
from mmdet_diffmap.tracing.detector import DetectorAdapter

HOSTILE = '<img src=x onerror=document.hacked=1>&"\'.png'
CLASSES = [f'<b>{i}</b></script><script>document.hacked=1</script>'
           for i in range(3)]
KIND = '<u>wrong</u> class'
REASON = '<s>taken</s> for background'
OPACITY, KNEE = 0.85, 0.16  # of a value v: OPACITY v² (1 + KNEE) / (v² + KNEE)
# of a value that was packed in 8 bits, and is read back from the overlay's
# opacity in 8 bits; that hardly changes close to zero
TOLERANCE, AT_ZERO = 0.012, 0.04
LAYERS = 'neck', 'backbone'
DETECTORS = ['<i>first</i>', 'second']
VIEWS = [
    View('why 1 and not 0', 'signed', 1, above='<i>up</i>', below='down'),
    View('1 against 0', 'difference', 1, 0, above='1 only', below='0 only'),
    View('what 1 is made of', 'heat', 1),
]
FAR = [0., 0., 4., 4.]


def traced(folder, name, layer):
    """What an image's first two detections are, and their maps."""
    model = demo_detector()
    batch = image_pipeline(model)(str(folder / name)).batch
    trace = DetectorAdapter(model, layer).trace(batch).select([0, 1])
    explainer = ODAM(target_layer=layer)
    maps = explainer.maps(trace, by_output=True)
    return trace.detections.bboxes.tolist(), MapsOfDetector(
        maps.heatmaps, maps.grids['all'], explainer.weigh(trace), trace.frame)


def entries(boxes):
    """An error with all kinds of views, and one that is about nothing."""
    both = [Finding('found, 0.83', boxes[1], boxes[0], VIEWS)] * 2
    nothing = [Finding('missed: no box there', None, None, [])] * 2
    return [
        ErrorEntry(KIND, '', CLASSES[0], CLASSES[1], 0.8, 0.7, 0.1, boxes[0],
                   both),
        ErrorEntry('missed', REASON, CLASSES[0], '', None, 0., 2., FAR,
                   nothing),
    ]


def photo(folder, name, boxes, maps, errors):
    """An image on which an object is found by a detection of another class,
    and one is missed."""
    return ErrorPhoto(
        name, cv2.imread(str(folder / name)),
        [[(boxes[0], CLASSES[0], 'found'),
          (FAR, CLASSES[0], 'missed')]] * len(maps),
        [[(boxes[0], CLASSES[0], 0.9, 'right'),
          (boxes[1], CLASSES[1], 0.8, 'wrong')], []][:len(maps)],
        errors, maps)


def for_detectors(error, count):
    by = '' if count == 1 else f'<u>{error.kind}</u> only'
    return replace(error, findings=error.findings[:count], by=by)


@pytest.fixture(scope='module')
def maps_of(tmp_path_factory):
    """The maps of images, by name and layer."""
    folder = tmp_path_factory.mktemp('errors')
    scene = cv2.resize(render_scene(0, 2).image, (230, 150))
    cv2.imwrite(str(folder / HOSTILE), scene)
    # made smaller in the page
    cv2.imwrite(str(folder / 'large.png'),
                cv2.resize(render_scene(0, 3).image, (2000, 1000)))
    return folder, {
        (name, layer): traced(folder, name, layer)
        for name in (HOSTILE, 'large.png') for layer in LAYERS}


@pytest.fixture(scope='module')
def folder(maps_of):
    folder, found = maps_of
    for count, path in (1, 'one.html'), (2, 'two.html'):
        report = ErrorReport(
            '<i>title</i>', DETECTORS[:count], {'<u>setting</u>': '1'},
            [('<u>caption</u>', ['<u>kind</u>'], [['<u>text</u>']])])
        for name in HOSTILE, 'large.png':
            boxes, _ = found[name, 'neck']
            errors = [for_detectors(error, count) for error in entries(boxes)]
            maps = [found[name, layer][1] for layer in LAYERS[:count]]
            if name == 'large.png':
                # a method without grids, and another order of costs
                maps = [replace(one, grids=()) for one in maps]
                errors = [replace(errors[0], score=0.3, cost=0.5)]
            report.add(photo(folder, name, boxes, maps, errors))
        report.add(photo(folder, HOSTILE, boxes, maps, []))
        assert len(report.photos) == 2  # one without errors is left out
        report.save(folder / path, {'missing.png': 'does not exist'})
    return folder


@pytest.fixture(scope='module')
def chromium():
    with browser() as chromium:
        yield chromium


@pytest.fixture
def open_page(chromium, folder):
    """Opens pages; at the end they must not have complained, nor asked for
    anything outside of their file."""
    pages, complaints, requests = [], [], []

    def opened(name='one.html', address='', **options):
        page = chromium.new_page(
            viewport=dict(width=1300, height=800), **options)
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('request', lambda request: requests.append(request.url))
        page.goto((folder / name).as_uri() + address)
        drawn(page)
        pages.append(page)
        return page

    yield opened
    assert not complaints
    assert not [url for url in requests if not url.startswith(
        (folder.as_uri(), 'data:', 'blob:'))]
    for page in pages:
        assert page.evaluate('document.hacked') is None
        page.close()


@pytest.fixture
def page(open_page):
    return open_page()


def drawn(page):
    """Wait until all is drawn that was asked for."""
    page.wait_for_selector('#panels[aria-busy=false]')


def act(page, action, *arguments):
    """Do something, and wait until it is drawn."""
    action(*arguments)
    drawn(page)


def press(page, *keys):
    for key in keys:
        act(page, page.keyboard.press, key)


def overlay(page, panel=0):
    """The pixels of an overlay, RGBA (H, W, 4)."""
    png = page.evaluate(
        f'document.getElementById("overlay-{panel}").toDataURL()')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(
        png.partition(',')[2]))).convert('RGBA'))


def close(page, expected, panel=0, tolerance=TOLERANCE):
    """Compare an overlay with a map: the absolute values by its opacity, the
    signs by its colours."""
    found = overlay(page, panel).astype(float)
    assert found.shape[:2] == tuple(expected.shape)
    values = expected.numpy()
    opaque = found[..., 3] / (255 * OPACITY)
    off = np.abs(np.sqrt(KNEE * opaque / (1 + KNEE - opaque)) - np.abs(values))
    assert off.max() < AT_ZERO
    assert off[np.abs(values) > 0.1].max() < tolerance
    assert values.max() > 0.1  # there is something to be compared
    if values.min() < 0:
        red, blue = found[..., 0], found[..., 2]
        assert (red > blue)[values > 0.1].all()
        assert (blue > red)[values < -0.1].all()


def chosen(page):
    """The number of the chosen error, by the address of the page."""
    return int(page.evaluate(
        'new URLSearchParams(location.hash.slice(1)).get("error")'))


def views(page):
    """The numbers of the views, by the address."""
    return page.evaluate(
        'new URLSearchParams(location.hash.slice(1)).getAll("view")')


def listed(page):
    """The numbers of the errors in the list."""
    return page.evaluate('[...document.querySelectorAll("#list > div")]'
                         '.map(one => +one.dataset.error)')


def expected_maps(maps_of, layer='neck', name=HOSTILE):
    """The maps of ``VIEWS``."""
    _, maps = maps_of[1][name, layer]
    return [maps.evidence.maps[1], maps.heatmaps[1] - maps.heatmaps[0],
            maps.heatmaps[1]]


def test_the_views_of_an_error(open_page, maps_of):
    page = open_page(address='#error=0')
    radios = page.locator('#views-0 input')
    expected = expected_maps(maps_of)
    assert expected[0].min() < -0.1 and expected[1].min() < -0.1
    for number, heatmap in enumerate(expected):
        act(page, radios.nth(number).check)
        assert views(page) == [str(number)]
        close(page, heatmap)
    assert page.locator('#views-0 label').all_text_contents() == [
        f' {view.text}' for view in VIEWS]
    press(page, '1')
    assert page.text_content('#low-0') == '−1 down'
    assert page.text_content('#high-0') == '1 <i>up</i>'
    press(page, '3')
    assert page.text_content('#high-0') == '1'


def test_two_detectors_side_by_side(open_page, maps_of):
    page = open_page('two.html', '#error=0&view=0&view=2')
    assert page.locator('.panel h2').all_text_contents() == DETECTORS
    assert page.locator('.finding').all_text_contents() == ['found, 0.83'] * 2
    first, second = (expected_maps(maps_of, layer) for layer in LAYERS)
    close(page, first[0])
    close(page, second[2], panel=1)
    # maps of several levels, joined before they are subtracted
    act(page, page.locator('#views-1 input').first.check)
    assert views(page) == ['0', '0']
    close(page, second[0], panel=1)
    press(page, '2')  # of both
    close(page, first[1])
    close(page, second[1], panel=1)
    # each has its own detections
    assert [page.locator(f'#boxes-{panel} .detection').count()
            for panel in (0, 1)] == [2, 0]
    # as high as each other
    tops = [page.locator(f'#stage-{panel}').bounding_box()
            for panel in (0, 1)]
    assert tops[0]['y'] == tops[1]['y'] and tops[0]['x'] < tops[1]['x']


def test_whose_errors_are_shown(open_page):
    page = open_page('two.html')
    choices = page.locator('#by option').all_text_contents()
    assert choices == ['of either detector', f'<u>{KIND}</u> only',
                       '<u>missed</u> only']
    act(page, page.select_option, '#by', choices[2])
    assert page.text_content('#count') == '1 of 3 errors'
    assert page.locator('#list b').all_text_contents() == [
        'missed, <u>missed</u> only']
    assert not open_page().locator('#by').is_visible()


def test_maps_without_grids_and_of_a_large_photograph(open_page, maps_of):
    page = open_page(address='#error=2&view=2')
    (heatmap, ) = torch.nn.functional.interpolate(
        expected_maps(maps_of, name='large.png')[2][None, None], (800, 1600),
        mode='area')[0]
    close(page, heatmap, tolerance=TOLERANCE + VISIBLE)
    rect = page.locator('#boxes-0 .chosen.box')
    boxes, _ = maps_of[1]['large.png', 'neck']
    x1, y1, x2, y2 = (0.8 * value for value in boxes[1])
    assert [float(rect.get_attribute(name))
            for name in ('x', 'y', 'width', 'height')] == pytest.approx(
                [x1, y1, x2 - x1, y2 - y1], abs=1e-3)


def test_the_costliest_comes_first_and_other_orders(page):
    assert listed(page) == [1, 2, 0] and chosen(page) == 1
    act(page, page.select_option, '#order', 'score')
    assert listed(page) == [0, 2, 1]  # the last has none
    act(page, page.select_option, '#order', 'photo')
    assert listed(page) == [0, 1, 2]
    assert chosen(page) == 1  # it stays
    assert page.locator('#list [aria-selected=true]').get_attribute(
        'data-error') == '1'


def test_filters(page):
    count = page.locator('#count')
    assert count.text_content() == '3 of 3 errors'
    kind = page.get_by_label(KIND)
    assert page.locator('#kinds small').all_text_contents() == ['2', '1']
    act(page, kind.uncheck)
    assert listed(page) == [1] and count.text_content() == '1 of 3 errors'
    act(page, kind.check)
    # as the true or as the found class
    act(page, page.select_option, '#class', CLASSES[0])
    assert listed(page) == [1, 2, 0]
    act(page, page.select_option, '#class', CLASSES[1])
    assert listed(page) == [2, 0]
    assert page.locator('#kinds small').all_text_contents() == ['2', '0']
    act(page, page.select_option, '#class', '')
    act(page, page.select_option, '#reason', REASON)
    assert listed(page) == [1]
    act(page, page.select_option, '#reason', '')
    act(page, page.fill, '#score-from', '0.3')
    assert listed(page) == [2, 0]
    act(page, page.fill, '#score-to', '0.79')
    assert listed(page) == [2]
    act(page, page.fill, '#score-from', '0.5')
    assert listed(page) == [] and 'none of 3' in count.text_content()
    page.locator('#score-from').blur()
    press(page, 'j')  # there is no other
    assert chosen(page) == 1
    act(page, page.fill, '#score-from', '')
    assert listed(page) == [1, 2]


def test_keys(page):
    press(page, 'j')
    assert chosen(page) == 2
    press(page, 'ArrowDown')
    assert chosen(page) == 0
    press(page, 'ArrowRight')  # from the last to the first
    assert chosen(page) == 1
    assert not overlay(page).any()  # it has no map
    assert 'no map' in page.text_content('#views-0')
    press(page, '2')
    assert views(page) == ['0']
    press(page, 'k', 'ArrowUp', 'ArrowLeft', 'Home', 'End')
    assert chosen(page) == 0
    press(page, '2')
    assert views(page) == ['1']
    press(page, 'c')
    assert page.input_value('#colours-0') == 'inferno'
    assert page.locator('#boxes-0 rect').count() == 7
    press(page, 'b')
    assert page.locator('#boxes-0 rect').count() == 0
    press(page, 'b', 'h')
    assert not overlay(page).any()
    press(page, 'h', 'Escape')
    assert overlay(page).any()
    zoom = page.is_checked('#show-zoom')
    press(page, 'z')
    assert page.is_checked('#show-zoom') != zoom
    page.focus('#score-from')
    page.keyboard.press('3')  # is typed
    assert views(page) == ['1']
    page.locator('#score-from').blur()
    page.keyboard.press('?')
    assert page.locator('#keys').is_visible()


def test_the_list_is_reached_by_one_tab_and_left_by_the_next(page):
    page.focus('#order')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.dataset.error') == '1'
    press(page, 'ArrowDown')
    assert page.evaluate('document.activeElement.dataset.error') == '2'
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'opacity'
    act(page, page.locator('#list > div').last.click)
    assert chosen(page) == 0


def test_the_error_is_zoomed_to(open_page, maps_of):
    """The picture is as many times as large as the part that is shown, whose
    middle is the boxes' own, if it can be."""
    page = open_page(address='#error=1')
    assert page.is_checked('#show-zoom')  # a small one
    stage = page.locator('#stage-0').bounding_box()
    picture = page.locator('#photo-0').bounding_box()
    assert picture['width'] > 5 * stage['width']
    assert picture['x'] == pytest.approx(stage['x'], abs=1)  # the border
    box = page.locator('#boxes-0 .chosen.truth').bounding_box()
    scale = picture['width'] / 230
    assert box['width'] == pytest.approx(4 * scale, abs=6)  # and its line
    assert box['x'] - stage['x'] == pytest.approx(0, abs=6)
    act(page, page.uncheck, '#show-zoom')
    picture = page.locator('#photo-0').bounding_box()
    assert picture == pytest.approx(page.locator('#stage-0').bounding_box(),
                                    abs=1)
    press(page, 'j', 'k')
    assert not page.is_checked('#show-zoom')  # as people want it


def test_a_box_chooses_its_error(open_page, maps_of):
    page = open_page(address='#error=1')
    act(page, page.uncheck, '#show-zoom')
    place = page.locator('#boxes-0 .detection.wrong').bounding_box()
    act(page, page.mouse.click, place['x'] + place['width'] / 2,
        place['y'] + place['height'] / 2)
    assert chosen(page) == 0
    page.mouse.move(place['x'] + place['width'] / 2 + 1, place['y'] + 9)
    assert page.text_content('#readout').startswith('x ')
    assert ':' in page.text_content('#readout')
    place = page.locator('#boxes-0 .object.missed').bounding_box()
    act(page, page.mouse.click, place['x'] + 5, place['y'] + 5)
    assert chosen(page) == 1
    # right ones belong to no error, and there are names for all kinds
    assert page.locator('.detection.right[data-errors]').count() == 0
    assert page.locator('#boxes-0 .detection.right title').text_content() \
        == f'{CLASSES[0]} 0.90, right'
    assert page.locator('.tags .truth').text_content() == \
        f'annotated: {CLASSES[0]}'


def test_toggles(open_page):
    page = open_page(address='#error=0')
    svg = page.locator('#boxes-0')
    act(page, page.uncheck, '#show-objects')
    assert svg.locator('.object, .truth').count() == 0
    assert svg.locator('.detection').count() == 2
    act(page, page.uncheck, '#show-detections')
    assert svg.locator('rect').count() == 0
    act(page, page.fill, '#opacity', '0')
    assert not overlay(page).any()


def test_an_address_opens_its_error(open_page, folder):
    page = open_page(address='#error=2&view=1')
    assert chosen(page) == 2 and views(page) == ['1']
    assert 'large.png' in page.text_content('#caption')
    uri = (folder / 'one.html').as_uri()
    for given, there in ('#error=9&view=7', '#error=1&view=0'), (
            '#error=0&view=7', '#error=0&view=0'):
        page.goto(uri + given)
        page.wait_for_url(uri + there)


def test_names_are_text(open_page):
    page = open_page('two.html', '#error=0')
    assert page.locator('h1').text_content() == '<i>title</i>'
    caption = page.text_content('#caption')
    for text in KIND, CLASSES[0], CLASSES[1], HOSTILE, 'IoU 0.70', '0.10 AP':
        assert text in caption
    assert CLASSES[0] in page.locator('#list').text_content()
    for tag in 'u', 's', 'script', '#list i i', 'h2 i', 'title i', '.legend i':
        assert page.locator(f'main {tag}').count() == 0
    page.click('#open-settings')
    settings = page.locator('#settings').text_content()
    assert '<u>setting</u>' in settings and 'missing.png' in settings
    page.keyboard.press('Escape')
    page.click('#open-summary')
    assert page.locator('#summary caption').text_content() == '<u>caption</u>'
    assert page.locator('#summary td').text_content() == '<u>text</u>'
    assert page.locator('dialog u').count() == 0


def test_a_narrow_window_shows_all_below_each_other(open_page):
    page = open_page('two.html', '#error=0')
    resize(page, 700, 900)
    stages = [page.locator(f'#stage-{panel}').bounding_box()
              for panel in (0, 1)]
    assert all(stage['width'] > 600 for stage in stages)
    assert stages[1]['y'] > stages[0]['y'] + stages[0]['height']
    assert page.evaluate(
        'document.documentElement.scrollWidth <= innerWidth')


def test_no_errors(chromium, tmp_path):
    report = ErrorReport('none', ['one'], {}, [])
    report.save(tmp_path / 'e.html', {'a.png': 'is no image'})
    page = chromium.new_page()
    errors = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto((tmp_path / 'e.html').as_uri())
    caption = page.text_content('#caption')
    assert 'There are no errors to show. Some images failed' in caption
    assert not page.locator('#filters').is_visible()
    page.click('#open-settings')
    assert 'is no image' in page.locator('#settings').text_content()
    page.close()
    assert not errors


@pytest.mark.parametrize('change, complaint', [
    (dict(maps=[]), 'maps or boxes of 0 detectors, not of 1'),
    (dict(errors='findings'), '2 findings, not 1'),
    (dict(errors=View('x', 'heat', 2)), "no map for the view 'x'"),
    (dict(errors=View('x', 'difference', 0)), "no map for the view 'x'"),
    (dict(errors=View('x', 'signed', -1)), "no map for the view 'x'"),
    (dict(errors=View('x', 'cold', 0)), 'not cold'),
])
def test_what_cannot_be_shown(maps_of, change, complaint):
    folder, found = maps_of
    boxes, maps = found[HOSTILE, 'neck']
    error = entries(boxes)[0]
    if change.get('errors') == 'findings':
        change = dict(errors=[error])
    elif 'errors' in change:
        finding = Finding('', None, None, [change['errors']])
        change = dict(errors=[replace(error, findings=[finding])])
    with pytest.raises(ValueError, match=complaint):
        ErrorReport('', ['one'], {}, []).add(replace(
            photo(folder, HOSTILE, boxes, [maps], []), **change))

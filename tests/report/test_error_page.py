"""The page of errors in a real browser, against the maps of the package."""
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from browser import resize
from error_page import (
    CLASSES,
    DETECTORS,
    HOSTILE,
    KIND,
    LAYERS,
    REASON,
    VIEWS,
    entries,
    photo,
)
from report_page import (
    TOLERANCE,
    act,
    close_in_colour,
    drawn,
    opened,
    overlay,
    press,
)
from report_page import close as close_in_size

from mmdet_diffmap.report import ErrorReport, Finding, View
from mmdet_diffmap.report.packed_maps import VISIBLE


@pytest.fixture
def open_page(chromium, folder_of_errors):
    """Opens pages, of one detector's errors by default."""
    with ExitStack() as pages:
        def open_one(name='one.html', address=''):
            return pages.enter_context(
                opened(chromium, folder_of_errors / name, address))

        yield open_one


@pytest.fixture
def page(open_page):
    return open_page()


def close(page, expected, panel=0, tolerance=TOLERANCE):
    """Compare an overlay with a map, which must show something."""
    assert expected.max() > 0.1
    compare = close_in_colour if expected.min() < 0 else close_in_size
    compare(page, expected, tolerance, panel)


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


def test_an_address_opens_its_error(open_page, folder_of_errors):
    page = open_page(address='#error=2&view=1')
    assert chosen(page) == 2 and views(page) == ['1']
    assert 'large.png' in page.text_content('#caption')
    uri = (folder_of_errors / 'one.html').as_uri()
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
    assert '<u>setting</u>' in settings
    page.keyboard.press('Escape')
    page.click('#open-missing')
    assert 'missing.png' in page.locator('#missing').text_content()
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
    assert caption == 'There are no errors to show.'
    assert not page.locator('#filters').is_visible()
    assert '0 of 1 photographs: 1 failed.' in page.text_content('#incomplete')
    page.click('#open-missing')
    assert 'is no image' in page.locator('#missing').text_content()
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


def test_the_wheel_zooms_both_pictures(open_page):
    page = open_page('two.html')
    act(page, page.uncheck, '#show-zoom')
    stage = page.locator('#stage-1').bounding_box()
    x, y = stage['x'] + stage['width'] * 138.5 / 230, \
        stage['y'] + stage['height'] * 20.5 / 150
    page.mouse.move(x, y)
    before = page.text_content('#readout').split(':')[0]
    page.mouse.wheel(0, -400)
    page.wait_for_selector('#stage-1.zoomed')
    drawn(page)
    page.mouse.move(x + 0.2, y)
    assert page.text_content('#readout').split(':')[0] == before
    for panel in 0, 1:
        picture = page.locator(f'#photo-{panel}').bounding_box()
        assert picture['width'] > 1.3 * stage['width']
    press(page, '0')
    assert page.locator('#photo-1').bounding_box() == pytest.approx(
        stage, abs=1)

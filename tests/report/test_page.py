"""The page in a real browser, against the maps of the package."""
import base64
import io

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from browser import browser
from demo import demo_detector
from PIL import Image

from mmdet_diffmap import difference_map, explain
from mmdet_diffmap.apis import explain_files
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.report import Report
from mmdet_diffmap.report.packed_maps import VISIBLE

METHODS = {
    'odam': dict(type='ODAM'),
    # several levels take part
    'backbone': dict(type='ODAM', target_layer='backbone', outputs='score'),
    # no grids of the detector's
    'd-rise': dict(type='DRISE', masks=40),
}
HOSTILE = '<img src=x onerror=document.hacked=1>&"\'.png'
CLASSES = [f'<b>{i}</b></script><script>document.hacked=1</script>'
           for i in range(8)]
OPACITY = 0.8
# of a value that is read back from the overlay's opacity in 8 bits, which is
# OPACITY times its root, and was packed in 8 bits
TOLERANCE = 0.012


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    # resized by the test pipeline, and padded
    scene = cv2.resize(render_scene(0, 2).image, (230, 150))
    cv2.imwrite(str(folder / HOSTILE), scene)
    cv2.imwrite(str(folder / 'empty.png'), np.full((50, 80, 3), 128, np.uint8))
    cv2.imwrite(str(folder / 'large.png'),
                cv2.resize(render_scene(0, 3).image, (2000, 1000)))
    report = Report('<i>title</i>', CLASSES, {'<u>setting</u>': '<u>1</u>'})
    paths = [str(folder / name) for name in (HOSTILE, 'empty.png', 'large.png',
                                             'missing.png')]
    failures = explain_files(demo_detector(), paths, folder, METHODS,
                             report=report)
    assert list(failures) == paths[3:]
    return folder


@pytest.fixture(scope='module')
def chromium():
    with browser() as chromium:
        yield chromium


@pytest.fixture
def page(chromium, folder):
    """The open page; at the end it must not have complained, nor asked for
    anything outside of its file."""
    page = chromium.new_page(viewport=dict(width=1300, height=800))
    complaints, requests = [], []
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto((folder / 'report.html').as_uri())
    drawn(page)
    yield page
    assert not complaints
    outside = [url for url in requests if not url.startswith(
        ((folder / 'report.html').as_uri(), 'data:', 'blob:'))]
    assert not outside
    assert page.evaluate('document.hacked') is None
    page.close()


def drawn(page):
    """Wait until all is drawn that was asked for."""
    page.wait_for_selector('#stage[aria-busy=false]')


def act(page, action, *arguments):
    """Do something, and wait until it is drawn."""
    action(*arguments)
    drawn(page)


def press(page, *keys):
    for key in keys:
        act(page, page.keyboard.press, key)


def overlay(page):
    """The overlay's pixels, RGBA (H, W, 4)."""
    png = page.evaluate('document.getElementById("overlay").toDataURL()')
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(
        png.partition(',')[2]))).convert('RGBA'))


def values(page):
    """The absolute values that the overlay shows, by its opacity."""
    return (overlay(page)[..., 3] / (255 * OPACITY))**2


def box(page, index):
    """Where a box can be clicked: a corner of it that no other covers."""
    return page.locator(f'#boxes rect[data-object="{index}"]')


def click(page, index):
    """Click into a box near its upper left corner."""
    place = box(page, index).bounding_box()
    act(page, page.mouse.click, place['x'] + place['width'] / 2,
        place['y'] + place['height'] / 2)


def view(page):
    """What the page shows, by its address."""
    return page.evaluate(
        'Object.fromEntries(new URLSearchParams(location.hash.slice(1)))')


def maps(folder, method, **options):
    result = explain(demo_detector(), folder / HOSTILE,
                     dict(METHODS[method], **options))
    return result.pred_instances.heatmaps


def close(page, expected, tolerance=TOLERANCE):
    found = values(page)
    assert found.shape == tuple(expected.shape)
    assert np.abs(found - expected.abs().numpy()).max() < tolerance


def test_two_clicks_show_a_heat_map_and_the_difference_of_two(page, folder):
    heatmaps = maps(folder, 'odam')
    assert page.locator('#boxes rect').count() == len(heatmaps) >= 3
    assert not overlay(page).any()
    click(page, 1)
    assert view(page)['object'] == '1' and view(page)['mode'] == 'heat'
    close(page, heatmaps[1])
    click(page, 0)
    assert view(page)['against'] == '0' and view(page)['mode'] == 'signed'
    pair = heatmaps[1] - heatmaps[0]
    close(page, pair)
    red, _, blue, _ = np.moveaxis(overlay(page).astype(int), 2, 0)
    strong = pair.numpy()
    assert (red > blue)[strong > 0.1].all()
    assert (blue > red)[strong < -0.1].all()
    click(page, 0)  # once more: the first alone again
    assert 'against' not in view(page) and view(page)['mode'] == 'heat'
    close(page, heatmaps[1])
    act(page, page.click, 'text=difference map')
    close(page, difference_map(heatmaps)[1])
    act(page, page.click, 'text=its positive part')
    close(page, difference_map(heatmaps, positive=True)[1])
    click(page, 1)  # the chosen object itself: nothing is chosen
    assert 'object' not in view(page)


@pytest.mark.parametrize('method', METHODS)
def test_every_method(page, folder, method):
    press(page, 'j')
    if method != 'odam':
        act(page, lambda: page.select_option('#method', label=method))
    heatmaps = maps(folder, method)
    tolerance = TOLERANCE + VISIBLE * (method == 'd-rise')
    close(page, heatmaps[0], tolerance)
    press(page, '2')
    # each of two maps may be off
    close(page, difference_map(heatmaps)[0], 2 * tolerance)
    assert page.locator('#outputs').is_visible() == (method == 'odam')


def test_maps_of_single_outputs(page, folder):
    press(page, 'j', 'j')
    for name in 'score', 'x1', 'y1', 'x2', 'y2':
        act(page, page.check, f'#outputs input[value={name}]')
        close(page, maps(folder, 'odam', outputs=name)[1])
    shares = page.locator('#outputs small').all_text_contents()
    # the highest of them is that of all joined
    assert max(int(one.split()[0]) for one in shares if one) == 100


def test_a_method_without_outputs_shows_all_joined(page, folder):
    press(page, 'j')
    act(page, page.check, '#outputs input[value=y2]')
    press(page, 'm')
    assert view(page)['output'] == 'all' and view(page)['method'] == 'backbone'
    close(page, maps(folder, 'backbone')[0])


def test_sliders(page, folder):
    heatmap = maps(folder, 'odam')[0].numpy()
    press(page, 'j')
    act(page, page.fill, '#threshold', '0.5')
    shown = overlay(page)[..., 3] > 0
    assert not shown[heatmap < 0.49].any() and shown[heatmap > 0.51].all()
    act(page, page.fill, '#threshold', '0')
    act(page, page.fill, '#opacity', '0.4')
    opacity = overlay(page)[..., 3] / 255
    assert np.abs(opacity**2 / 0.4**2 - heatmap).max() < 2 * TOLERANCE
    act(page, page.fill, '#opacity', '0')
    assert not overlay(page).any()


@pytest.mark.parametrize('name, keys', [
    ('viridis', ['1']), ('PuOr_r', ['2']), ('bwr', ['2'])])
def test_colours_are_those_of_the_map(page, folder, name, keys):
    heatmaps = maps(folder, 'odam')
    press(page, 'j', *keys)
    act(page, page.select_option, '#colours', name)
    act(page, page.fill, '#opacity', '1')
    shown = heatmaps[0] if keys == ['1'] else \
        (difference_map(heatmaps)[0] + 1) / 2
    colours = 255 * matplotlib.colormaps[name](shown.numpy())[..., :3]
    found = overlay(page).astype(float)
    # where little is opaque, the canvas keeps few bits of a colour
    opaque = found[..., 3] > 200
    assert opaque.sum() > 30
    assert np.abs(found[..., :3] - colours)[opaque].max() < 8
    signed = keys == ['2']
    assert page.locator('#middle').text_content() == ('0' if signed else '')
    assert 'colour-blind safe' in page.locator('#colours').text_content()


def test_keys(page, folder):
    press(page, 'j', 'ArrowDown')
    assert view(page)['object'] == '1'
    press(page, 'k')
    assert view(page)['object'] == '0'
    press(page, 'J', 'J')
    assert (view(page)['against'], view(page)['mode']) == ('2', 'signed')
    press(page, 'K')
    assert view(page)['against'] == '1'
    press(page, '3')
    assert view(page)['mode'] == 'positive'
    press(page, '1', 'o', 'o')
    assert (view(page)['mode'], view(page)['output']) == ('heat', 'x1')
    press(page, 'm')
    assert view(page)['method'] == 'backbone'
    press(page, 'c')
    assert page.input_value('#colours') == 'inferno'
    press(page, '-', '.')
    assert page.input_value('#opacity') == '0.7'
    assert page.input_value('#threshold') == '0.05'
    press(page, '+', ',')
    assert page.input_value('#opacity') == '0.8'
    press(page, 'g', 'b', 'h')
    assert not overlay(page).any()
    assert [page.is_checked(f'#show-{name}')
            for name in ('colour', 'boxes', 'overlay')] == [True, False, False]
    press(page, 'Escape')
    assert 'object' not in view(page)
    press(page, 'ArrowRight')
    assert view(page)['photo'] == '1'
    page.keyboard.press('j')  # there is no object
    assert 'No object above the score threshold' in page.text_content(
        '#caption')
    press(page, 'p', 'ArrowLeft')
    assert view(page)['photo'] == '2'
    page.keyboard.press('?')
    assert page.locator('#keys').is_visible()


def test_the_table_works_by_keys_and_clicks(page):
    rows = page.locator('#objects tr')
    rows.nth(1).focus()
    press(page, 'Enter')
    assert view(page)['object'] == '1'
    act(page, rows.nth(2).locator('button').click)
    assert view(page)['against'] == '2'
    act(page, rows.nth(0).click)
    assert view(page)['object'] == '0' and 'against' not in view(page)


def test_a_box_under_the_pointer_shows_its_map(page, folder):
    place = box(page, 0).bounding_box()
    act(page, page.mouse.move, place['x'] + place['width'] / 2,
        place['y'] + place['height'] / 2)
    close(page, maps(folder, 'odam')[0])
    assert 'object' not in view(page)
    page.mouse.move(place['x'] + place['width'] / 2 + 1, place['y'] + 5)
    assert page.text_content('#readout').startswith('x ')


def test_an_address_opens_its_view(chromium, folder):
    page = chromium.new_page()
    page.goto((folder / 'report.html').as_uri() +
              '#photo=0&object=2&against=1&mode=signed&method=odam&output=x1')
    drawn(page)
    heatmaps = maps(folder, 'odam', outputs='x1')
    close(page, heatmaps[2] - heatmaps[1])
    page.goto((folder / 'report.html').as_uri() + '#photo=9&object=x&mode=y')
    drawn(page)
    assert view(page) == dict(photo='0', mode='heat', method='odam',
                              output='all')
    page.close()


def test_no_image_could_be_explained(chromium, tmp_path):
    Report('empty', [], {}).save(tmp_path / 'e.html', {'a.png': 'is no image'})
    page = chromium.new_page()
    errors = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto((tmp_path / 'e.html').as_uri())
    assert 'No image could be explained' in page.text_content('#caption')
    page.click('#open-settings')
    assert 'is no image' in page.locator('#settings').text_content()
    page.close()
    assert not errors


def test_the_address_is_a_convenience(page, folder):
    """Browsers refuse to change it too often."""
    page.evaluate("() => { history.replaceState = () => { throw 'no'; }; }")
    press(page, 'j')
    close(page, maps(folder, 'odam')[0])


def test_a_narrow_window_shows_a_large_photograph(page):
    for width in (800, 790, 780):
        page.set_viewport_size(dict(width=width, height=1000))
    stage = page.locator('#stage').bounding_box()
    assert stage['width'] > 600


def test_names_are_text(page, folder):
    assert page.locator('h1').text_content() == '<i>title</i>'
    assert HOSTILE in page.locator('#gallery').text_content()
    assert CLASSES[0][:3] in page.locator('#objects').text_content()
    assert page.locator('main b, main script, main i').count() == 0
    page.click('#open-settings')
    settings = page.locator('#settings').text_content()
    assert '<u>setting</u>' in settings and 'mmdet 3' in settings
    assert 'missing.png' in settings and 'does not exist' in settings
    assert page.locator('#settings u').count() == 0


def test_a_large_photograph_is_made_smaller_and_its_boxes_too(page, folder):
    act(page, page.locator('#gallery button').nth(2).click)
    result = explain(demo_detector(), folder / 'large.png')
    boxes = result.pred_instances.bboxes
    assert len(boxes)
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        found = [float(box(page, index).get_attribute(name))
                 for name in ('x', 'y', 'width', 'height')]
        expected = [0.8 * one for one in (x1, y1, x2 - x1, y2 - y1)]
        assert found == pytest.approx(expected, abs=1e-3)
    press(page, 'j')
    assert values(page).shape == (800, 1600)
    smaller = torch.nn.functional.interpolate(
        result.pred_instances.heatmaps[:1][None], (800, 1600), mode='area')
    close(page, smaller[0, 0])
    assert boxes[0].round().int().tolist() == [
        int(one) for one in page.locator('#objects td').nth(3).text_content()
        .split(', ')]

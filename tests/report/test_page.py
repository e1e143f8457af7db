"""The page in a real browser, against the maps of the package."""
import matplotlib
import numpy as np
import pytest
import torch
from browser import resize
from demo import demo_detector
from report_page import (
    BOTH,
    CLASSES,
    HOSTILE,
    KNEE,
    METHODS,
    TOLERANCE,
    act,
    box,
    click,
    close,
    close_in_colour,
    drawn,
    go,
    maps,
    overlay,
    press,
    values,
    view,
)

from mmdet_diffmap import difference_map, explain, separation_map
from mmdet_diffmap.report import Report
from mmdet_diffmap.report.packed_maps import VISIBLE


def modes(page):
    """The modes that are offered."""
    return [one.get_attribute('value')
            for one in page.locator('input[name=mode]').all()
            if one.is_visible() and one.is_enabled()]


def close_to_common(page, first, second):
    """The page shows what two heat maps have in common."""
    expected = separation_map(first, second)
    assert (expected > 0.3).sum() > 30
    # the smaller values are stretched, and the rounding of their packing too
    close(page, expected,
          TOLERANCE + 0.5 / 255 / torch.minimum(first, second).max().item())


def ends(page):
    """What the ends of the colour bar say."""
    return [page.text_content(f'#{name}') for name in ('low', 'high')]


def test_two_clicks_show_a_heat_map_and_the_difference_of_two(page, folder):
    heatmaps = maps(folder, 'odam')
    assert page.locator('#boxes-0 .line').count() == len(heatmaps) >= 3
    assert not overlay(page).any()
    click(page, 1)
    assert view(page)['object'] == '1' and view(page)['mode'] == 'heat'
    close(page, heatmaps[1])
    click(page, 0)
    assert view(page)['against'] == '0' and view(page)['mode'] == 'signed'
    pair = heatmaps[1] - heatmaps[0]
    close_in_colour(page, pair)
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


def test_what_two_objects_have_in_common(page, folder):
    radio = page.locator('input[value=common]')
    press(page, '5')  # nothing is chosen
    press(page, 'j', 'j', '5')  # and now one object
    assert radio.is_visible() and radio.is_disabled()
    assert view(page)['mode'] == 'heat'
    click(page, 2)
    assert radio.is_enabled()
    press(page, '5')
    assert view(page)['mode'] == 'common' and radio.is_checked()
    heatmaps = maps(folder, 'odam')
    close_to_common(page, heatmaps[1], heatmaps[2])
    caption = page.locator('#caption')
    first, second = caption.locator('span').all_text_contents()
    assert first.startswith('1 <b>') and second.startswith('2 <b>')
    assert caption.text_content() == (
        f'what {first} and {second} have in common: why they are two, and '
        'not one')
    assert page.text_content('#middle') == ''  # the colours of heat maps
    click(page, 2)  # once more: the first alone again
    assert view(page)['mode'] == 'heat' and radio.is_disabled()
    close(page, heatmaps[1])


def test_what_two_have_in_common_is_of_the_output_and_method(page, folder):
    press(page, 'j', 'j', 'J', 'J')
    act(page, page.check, 'input[value=common]')
    assert view(page)['against'] == '2'
    for name in 'score', 'x1':
        act(page, page.check, f'#outputs input[value={name}]')
        close_to_common(page, *maps(folder, 'odam', outputs=name)[1:3])
    press(page, 'm')
    close_to_common(page, *maps(folder, 'backbone')[1:3])
    press(page, 'J')  # another rival
    assert (view(page)['against'], view(page)['mode']) == ('3', 'common')
    press(page, 'Escape', 'j')  # the focused choice is off now
    assert view(page) == dict(photo='0', mode='heat', method='backbone',
                              output='all', object='0')


@pytest.mark.parametrize('keys, mode', [
    (['1', '5'], 'heat'), (['2', '5'], 'signed'),
    (['3', '5', '5'], 'positive'), (['5'], 'evidence'),
    (['4', '5'], 'evidence')])
def test_what_two_have_in_common_is_left_with_the_rival(
        page_of_both, keys, mode):
    page = page_of_both
    press(page, 'j', 'J', *keys)
    assert view(page)['mode'] == 'common'
    press(page, 'j')
    assert view(page)['mode'] == mode and 'against' not in view(page)


@pytest.mark.parametrize('chosen, mode', [
    ('object=2&against=1', 'common'), ('object=2', 'heat'),
    ('against=1', 'heat'), ('object=2&against=2', 'heat')])
@pytest.mark.parametrize('out', ['folder', 'both'])
def test_an_address_opens_what_two_have_in_common(
        chromium, folder, request, out, chosen, mode):
    page = chromium.new_page()
    file = request.getfixturevalue(out) / 'report.html'
    page.goto(f'{file.as_uri()}#photo=0&method=odam&mode=common&{chosen}')
    drawn(page)
    assert view(page)['mode'] == mode
    if mode == 'common':
        close_to_common(page, *maps(folder, 'odam')[1:3])
        press(page, 'k')  # no mode was left for this one
        assert view(page)['mode'] == 'heat'
    page.close()


def test_sliders(page, folder):
    heatmap = maps(folder, 'odam')[0].numpy()
    press(page, 'j')
    act(page, page.fill, '#threshold', '0.5')
    shown = overlay(page)[..., 3] > 0
    assert not shown[heatmap < 0.49].any() and shown[heatmap > 0.51].all()
    act(page, page.fill, '#threshold', '0')
    act(page, page.fill, '#opacity', '0.4')
    opaque = overlay(page)[..., 3] / 255
    expected = 0.4 * heatmap**2 * (1 + KNEE) / (heatmap**2 + KNEE)
    assert np.abs(opaque - expected).max() < TOLERANCE
    act(page, page.fill, '#opacity', '0')
    assert not overlay(page).any()


@pytest.mark.parametrize('name, colour_map, keys', [
    ('viridis', 'viridis', ['1']), ('inferno', 'PuOr_r', ['2']),
    ('classic', 'bwr', ['2'])])
def test_colours_are_those_of_the_map(page, folder, name, colour_map, keys):
    heatmaps = maps(folder, 'odam')
    press(page, 'j', *keys)
    act(page, page.select_option, '#colours', name)
    act(page, page.fill, '#opacity', '1')
    shown = heatmaps[0].numpy()
    if keys == ['2']:  # the pale middle of a colour map is not used
        signed = difference_map(heatmaps)[0].numpy()
        shown = (1 + np.sign(signed) * (0.4 + 0.6 * np.abs(signed))) / 2
    colours = 255 * matplotlib.colormaps[colour_map](shown)[..., :3]
    found = overlay(page).astype(float)
    # where little is opaque, the canvas keeps few bits of a colour
    opaque = found[..., 3] > 200
    assert opaque.sum() > 30
    assert np.abs(found[..., :3] - colours)[opaque].max() < 8
    signed = keys == ['2']
    assert page.locator('#middle').text_content() == ('0' if signed else '')
    group = page.locator('#colours optgroup', has=page.locator(
        f'option[value={name}]'))
    assert group.get_attribute('label') == (
        'others' if name == 'classic' else 'colour-blind safe')


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
    assert page.input_value('#colours') == 'safe'
    press(page, 'c')
    assert page.input_value('#colours') == 'inferno'
    press(page, '-', '.')
    assert page.input_value('#opacity') == '0.75'
    assert page.input_value('#threshold') == '0.05'
    press(page, '+', ',')
    assert page.input_value('#opacity') == '0.85'
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
    rows.nth(1).locator('td').first.focus()
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
    go(page, 'photo=9&object=x&mode=y')
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
    page.click('#open-missing')
    assert 'is no image' in page.locator('#missing').text_content()
    page.close()
    assert not errors


def test_the_address_is_a_convenience(page, folder):
    """Browsers refuse to change it too often."""
    page.evaluate("() => { history.replaceState = () => { throw 'no'; }; }")
    press(page, 'j')
    close(page, maps(folder, 'odam')[0])


def test_a_narrow_window_shows_a_large_photograph(page):
    for width in (800, 790, 780):
        resize(page, width, 1000)
    stage = page.locator('#stage-0').bounding_box()
    assert stage['width'] > 600


def test_names_are_text(page, folder):
    assert page.locator('h1').text_content() == '<i>title</i>'
    assert HOSTILE in page.locator('#gallery').text_content()
    assert CLASSES[0][:3] in page.locator('#objects').text_content()
    assert page.locator('main b, main script, main i').count() == 0
    page.click('#open-settings')
    settings = page.locator('#settings').text_content()
    assert '<u>setting</u>' in settings and 'mmdet 3' in settings
    assert page.locator('#settings u').count() == 0
    page.keyboard.press('Escape')
    page.click('#open-missing')
    missing = page.locator('#missing').text_content()
    assert 'missing.png' in missing and 'does not exist' in missing


def test_a_large_photograph_is_made_smaller_and_its_boxes_too(page, folder):
    act(page, page.locator('#photographs button').nth(2).click)
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
    # the page's pixels are places in the map, and not means of its pixels
    smaller = torch.nn.functional.interpolate(
        result.pred_instances.heatmaps[:1][None], (800, 1600),
        mode='bilinear')
    close(page, smaller[0, 0])
    assert boxes[0].round().int().tolist() == [
        int(one) for one in page.locator('#objects td').nth(3).text_content()
        .split(', ')]


@pytest.mark.parametrize('method', ['why', 'two'])
def test_what_speaks_for_objects_and_what_against(
        page_of_both, folder, detector, method):
    page = page_of_both
    assert view(page)['mode'] == 'evidence'  # it was asked for
    act(page, lambda: page.select_option('#method', label=method))
    instances = explain(detector, folder / HOSTILE,
                        BOTH[method]).pred_instances
    assert len(instances) >= 3
    assert (instances.evidence_maps.amin((1, 2)) < -0.3).any()
    for expected in instances.evidence_maps:
        press(page, 'j')
        close_in_colour(page, expected, 2 * TOLERANCE)  # one for each side
    press(page, '1')
    close(page, instances.heatmaps[-1])
    press(page, '4')
    close_in_colour(page, instances.evidence_maps[-1], 2 * TOLERANCE)


def test_both_sides_of_a_large_photograph(page_of_both, folder, detector):
    page = page_of_both
    press(page, 'n', 'n', 'j')
    assert (view(page)['photo'], view(page)['mode']) == ('2', 'evidence')
    result = explain(detector, folder / 'large.png', BOTH['why'])
    smaller = torch.nn.functional.interpolate(
        result.pred_instances.evidence_maps[:1][None], (800, 1600),
        mode='area')
    close_in_colour(page, smaller[0, 0], 2 * TOLERANCE)


def test_what_both_sides_mean(page_of_both, folder, detector):
    page = page_of_both
    assert ends(page) == ['−1 against', '1 for']  # of nothing yet
    result = explain(detector, folder / HOSTILE, BOTH['why'])
    label, meaning = CLASSES[result.pred_instances.labels[0]], \
        result.pred_instances.meanings[0]
    assert meaning.above == label and meaning.below in CLASSES
    press(page, 'j')
    assert page.text_content('#caption') == (
        f'0 {label}: why {label} and not {meaning.below}. Click a second '
        'object for a difference map')
    assert ends(page) == [f'−1 {meaning.below}', f'1 {label}']
    assert page.text_content('#middle') == '0'
    assert page.locator('main b, main script').count() == 0
    press(page, 'm')
    assert ': for and against its score and x1.' in page.text_content(
        '#caption')
    assert ends(page) == ['−1 lowers score and x1', '1 raises score and x1']
    press(page, '2')
    assert ends(page) == ['−1 others only', '1 this object only']


def test_both_sides_are_of_all_outputs(page_of_both):
    page = page_of_both
    press(page, 'j', 'm', 'o')
    assert view(page)['output'] == 'all'
    assert not page.locator('#outputs').is_visible()
    press(page, '1')
    assert [one.get_attribute('value')
            for one in page.locator('#outputs input').all()] == [
                'all', 'score', 'x1']
    press(page, 'o', '4', 'o', '1')
    assert view(page)['output'] == 'score'


def test_only_methods_that_were_asked_have_both_sides(page_of_both, folder):
    page = page_of_both
    press(page, 'j')
    assert modes(page) == ['heat', 'signed', 'positive', 'evidence']
    act(page, lambda: page.select_option('#method', label='odam'))
    assert modes(page) == ['heat', 'signed', 'positive']
    assert view(page)['mode'] == 'heat'
    assert page.is_checked('input[value=heat]')
    close(page, maps(folder, 'odam')[0])
    press(page, '2')
    page.keyboard.press('4')
    drawn(page)
    assert view(page)['mode'] == 'signed'
    press(page, 'm')  # the first one again
    assert view(page)['mode'] == 'signed' and 'evidence' in modes(page)
    act(page, page.check, 'input[value=evidence]')
    assert view(page)['mode'] == 'evidence'


def test_a_page_without_both_sides(page):
    assert modes(page) == ['heat', 'signed', 'positive']
    assert page.locator('script[id^=data-evidence]').count() == 0
    page.keyboard.press('4')
    drawn(page)
    assert view(page)['mode'] == 'heat'
    page.keyboard.press('?')
    assert 'against the next object' in page.text_content('#key-list')
    assert 'what both objects have in common' in page.text_content(
        '#key-list')
    assert 'what speaks for it' not in page.text_content('#key-list')


def test_both_sides_are_left_for_the_difference_of_two(
        page_of_both, folder, detector):
    page = page_of_both
    heatmaps = explain(detector, folder / HOSTILE,
                       BOTH['why']).pred_instances.heatmaps
    click(page, 1)
    assert view(page)['mode'] == 'evidence'
    click(page, 0)
    assert (view(page)['mode'], view(page)['against']) == ('signed', '0')
    close(page, heatmaps[1] - heatmaps[0])
    click(page, 0)  # once more: the first alone again
    assert view(page)['mode'] == 'evidence' and 'against' not in view(page)
    click(page, 0)
    act(page, lambda: page.select_option('#method', label='odam'))
    assert view(page)['mode'] == 'signed'
    click(page, 0)  # of this method there are no two sides to go back to
    assert view(page)['mode'] == 'heat'
    close(page, maps(folder, 'odam')[1])


def test_an_address_opens_both_sides(page_of_both):
    page = page_of_both
    press(page, 'j', 'j', 'm')
    before, address = overlay(page), page.url.partition('#')[2]
    assert 'mode=evidence' in address
    press(page, '1')
    go(page, address)
    assert (overlay(page) == before).all()
    for given, mode in [('mode=evidence&method=odam', 'heat'),
                        ('method=odam', 'heat'), ('method=two', 'evidence'),
                        ('method=two&mode=heat', 'heat')]:
        go(page, f'photo=0&object=0&{given}')
        assert view(page)['mode'] == mode


def test_both_sides_are_kept_from_photograph_to_photograph(page_of_both):
    page = page_of_both
    press(page, 'ArrowRight')  # there is no object
    assert view(page)['mode'] == 'evidence'
    assert 'No object above the score threshold' in page.text_content(
        '#caption')
    press(page, 'ArrowRight', 'j')
    assert view(page)['mode'] == 'evidence' and overlay(page).any()


def test_long_words_find_room(page_of_both):
    page = page_of_both
    press(page, 'j')
    for width in (1300, 400):
        resize(page, width, 900)
        for one in '#caption', '#low', '#high', '#modes label:last-child':
            place = page.locator(one).bounding_box()
            assert 0 <= place['x'] <= place['x'] + place['width'] <= width
        low, high = (page.locator(f'#{name}').bounding_box()
                     for name in ('low', 'high'))
        assert low['y'] == high['y'] and low['x'] < high['x']

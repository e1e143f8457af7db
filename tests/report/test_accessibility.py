"""Both pages without a mouse, without colours, without sight, in small windows
and on paper."""
import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import focused, resize
from demo import demo_detector
from report_page import TOLERANCE, act, drawn, opened, press, view

from mmdet_diffmap import difference_map, explain

#: All of them together take minutes.
pytestmark = pytest.mark.slow

SIZES = [(1100, 700), (901, 600), (740, 360), (360, 740), (650, 400)]


@pytest.fixture(scope='module')
def paths(photographs, folder_of_errors):
    return dict(report=photographs[0], errors=folder_of_errors / 'one.html')


@pytest.fixture
def page(chromium, photographs):
    with opened(chromium, photographs[0], '#photo=1') as page:
        yield page


@pytest.fixture
def error_page(chromium, paths):
    with opened(chromium, paths['errors'], '#error=0') as page:
        yield page


@pytest.fixture(scope='module')
def instances(photographs):
    """What is found on the photograph that is open."""
    path, _ = photographs
    return explain(demo_detector(), path.parent / 'Aa.png').pred_instances


def cells(page, row):
    return page.locator('#objects tr').nth(row).locator('td')


def has_focus(locator):
    return locator.evaluate('one => one.contains(document.activeElement)')


# ---- What a checker finds

STATES = {
    'as it opens': lambda page: None,
    'an object is chosen': lambda page: press(page, 'j', 'J'),
    'how to read': lambda page: page.click('#open-reading'),
    'keys': lambda page: page.keyboard.press('?'),
    'settings': lambda page: page.click('#open-settings'),
    'narrow': lambda page: resize(page, 360, 740),
}


@pytest.mark.parametrize('scheme, states', [
    ('light', STATES), ('dark', ['an object is chosen', 'keys'])])
@pytest.mark.parametrize('name', ['report', 'errors'])
def test_axe_finds_nothing(chromium, paths, name, scheme, states):
    with opened(chromium, paths[name], color_scheme=scheme) as page:
        for state in states:
            STATES[state](page)
            results = Axe().run(page)
            assert not results.violations_count, \
                f'{state}: {results.generate_report()}'
            page.keyboard.press('Escape')  # out of a dialog


def test_axe_finds_nothing_where_photographs_are_looked_for(page):
    act(page, page.select_option, '#class', 'cat')
    assert page.locator('tr.unwanted').count()
    assert not Axe().run(page).violations_count


# ---- Keys

@pytest.mark.parametrize('name, link, place', [
    ('report', 'Skip to the photographs', '#photographs'),
    ('report', 'Skip to the choice of maps', '#controls'),
    ('report', 'Skip to the objects', '#objects'),
    ('errors', 'Skip to the list of errors', '#list'),
    ('errors', 'Skip to the maps', '#controls')])
def test_links_skip_to_parts(chromium, paths, name, link, place):
    with opened(chromium, paths[name]) as page:
        address = page.url
        first = page.locator('#skips a').first
        assert first.bounding_box()['width'] <= 1
        page.keyboard.press('Tab')
        assert has_focus(first) and first.bounding_box()['width'] > 50
        page.get_by_text(link).focus()
        page.keyboard.press('Enter')
        assert has_focus(page.locator(place))
        assert page.url == address  # it says what is shown


def test_the_table_is_a_grid(page, instances):
    count = len(instances)
    table = page.get_by_role('grid', name='Objects')
    assert table.locator('th').evaluate_all(
        'heads => heads.every(one => one.scope === "col" && one.innerText)')
    page.focus('#show-colour')
    page.keyboard.press('Tab')
    assert has_focus(cells(page, 0).nth(0))
    for key, (row, column) in {
            'ArrowUp': (0, 0), 'ArrowDown': (1, 0), 'ArrowRight': (1, 1),
            'End': (1, 4), 'ArrowRight ': (1, 4), 'ArrowDown ': (2, 4),
            'Home': (2, 0), 'ArrowLeft': (2, 0), 'Control+Home': (0, 0),
            'Control+End': (count - 1, 4), 'ArrowLeft ': (count - 1, 3),
    }.items():
        press(page, key.strip())
        assert has_focus(cells(page, row).nth(column)), key
        assert 'object' not in view(page)
    page.keyboard.press('Tab')  # leaves it
    assert not has_focus(page.locator('#objects'))
    page.keyboard.press('Shift+Tab')
    assert has_focus(cells(page, count - 1).nth(3))
    press(page, 'Enter')
    assert view(page)['object'] == str(count - 1)
    assert page.locator('#objects [aria-selected=true] td').first \
        .text_content() == str(count - 1)
    press(page, 'Control+Home', 'End')
    assert focused(page, 'textContent') == 'vs'
    press(page, 'Enter')
    assert view(page)['against'] == '0'
    assert page.locator('[aria-pressed=true]', has_text='vs').count() == 1
    press(page, 'Control+End', 'Enter')  # with itself
    assert (view(page)['object'], view(page)['against']) == (
        str(count - 1), '0')


def test_the_focus_shows_the_map_of_a_row(page):
    cells(page, 1).first.focus()
    drawn(page)
    assert page.text_content('#words-0').startswith('heat map of 1 ')
    assert page.locator('#boxes-0 .hover').get_attribute('data-object') == '1'
    press(page, 'ArrowDown')
    assert page.text_content('#words-0').startswith('heat map of 2 ')
    page.locator('#find').focus()
    drawn(page)
    assert page.text_content('#words-0') == ''
    assert page.locator('#boxes-0 .hover').count() == 0


def test_the_focus_is_never_lost(page):
    # the chosen object's own button does nothing, and stays
    cells(page, 1).nth(4).locator('button').focus()
    press(page, 'j', 'j')
    assert has_focus(cells(page, 1).nth(4))
    press(page, 'j')  # and the focus goes with what is chosen
    assert has_focus(cells(page, 2).nth(4))
    # another photograph has other rows
    press(page, 'n')
    assert view(page)['photo'] == '2'
    assert page.locator('#objects tr').count() == 0
    assert focused(page, 'tagName') != 'BODY'
    press(page, 'n', 'j', 'J')
    # a choice that is off with the second object
    page.focus('input[value=common]')
    act(page, page.check, 'input[value=common]')
    press(page, 'j')
    assert focused(page, 'value') == view(page)['mode']


def test_the_focus_leaves_outputs_that_a_method_has_not(chromium, folder):
    with opened(chromium, folder / 'report.html') as page:
        press(page, 'j')
        page.focus('#outputs input[value=y1]')
        press(page, 'm', 'm')
        assert page.locator('#outputs').is_hidden()
        assert focused(page, 'tagName') != 'BODY'


def test_the_focus_of_the_list_of_errors_is_not_lost(error_page):
    page = error_page
    page.locator('#list [tabindex="0"]').focus()
    press(page, 'j', 'End', '2', 'b')
    assert has_focus(page.locator('#list'))
    page.focus('#views-0 input')
    press(page, 'j')  # these are others
    assert focused(page, 'tagName') != 'BODY'


def test_keys_of_a_character_can_be_switched_off(page):
    press(page, 'j')
    assert view(page)['object'] == '0'
    page.keyboard.press('?')
    page.uncheck('#characters')
    page.keyboard.press('Escape')
    for key in 'j', 'J', '2', 'n', 'm', '.', '?':
        page.keyboard.press(key)
        drawn(page)
    assert (view(page)['object'], view(page)['photo']) == ('0', '1')
    assert view(page)['mode'] == 'heat'
    assert not page.locator('#keys').is_visible()
    press(page, 'ArrowDown')
    assert view(page)['object'] == '1'
    page.click('#open-keys')
    page.check('#characters')
    page.keyboard.press('Escape')
    press(page, 'j')
    assert view(page)['object'] == '2'


def test_fields_keep_the_keys_that_are_theirs(page):
    before = view(page)
    page.focus('#find')
    page.keyboard.type('bjn?2')
    assert page.input_value('#find') == 'bjn?2'
    assert not page.locator('#keys').is_visible()
    page.keyboard.press('Control+a')
    page.keyboard.press('Delete')
    page.focus('#sort')
    page.keyboard.type('hi')  # the first letters of a choice
    assert page.input_value('#sort') == 'highest'
    page.focus('#from')
    page.keyboard.type('0.5')
    page.keyboard.press('ArrowUp')
    assert page.input_value('#from') == '0.55'
    drawn(page)
    for name in 'photo', 'mode', 'output':
        assert view(page)[name] == before[name]
    page.focus('input[value=heat]')
    press(page, 'ArrowDown', 'j')  # moves the choice; letters are free
    assert (view(page)['mode'], view(page)['object']) == ('signed', '0')


@pytest.mark.parametrize('name', ['report', 'errors'])
@pytest.mark.parametrize('button', ['reading', 'settings', 'keys'])
def test_dialogs_begin_at_the_top_and_give_the_focus_back(
        chromium, paths, name, button):
    with opened(chromium, paths[name]) as page:
        resize(page, 500, 400)
        page.focus(f'#open-{button}')
        page.keyboard.press('Enter')
        dialog = page.locator(f'#{button}')
        assert dialog.is_visible()
        assert dialog.evaluate('one => one.scrollTop') == 0
        assert focused(page) == f'{button}-title'
        page.keyboard.press('Escape')
        assert focused(page) == f'open-{button}'


# ---- Words

def told(place, box):
    """Where a place (x, y) is, as seen from a box: in which third, or on
    which side of it."""
    (x, y), (x1, y1, x2, y2) = place, box
    if x1 <= x <= x2 and y1 <= y <= y2:
        column, row = min(2, 3 * (x - x1) // (x2 - x1)), \
            min(2, 3 * (y - y1) // (y2 - y1))
        return {
            (0, 0): 'at the upper left of', (1, 0): 'at the top of',
            (2, 0): 'at the upper right of', (0, 1): 'at the left of',
            (1, 1): 'in the middle of', (2, 1): 'at the right of',
            (0, 2): 'at the lower left of', (1, 2): 'at the bottom of',
            (2, 2): 'at the lower right of'}[column, row] + ' its box'
    sides = {'above': y < y1, 'below': y > y2, 'left of': x < x1,
             'right of': x > x2}
    return ' and '.join(side for side in sides if sides[side]) + ' its box'


def places_of(heatmap, box):
    """Where the strongest pixel may be, for a map in eight bits, and where the
    centre of mass, as seen from a box; and how much of the map lies in it."""
    rows, columns = torch.meshgrid(
        *[torch.arange(side) + 0.5 for side in heatmap.shape], indexing='ij')
    strong = heatmap > 1 - TOLERANCE
    centre = [float((heatmap * axis).sum() / heatmap.sum())
              for axis in (columns, rows)]
    inside = (columns >= box[0]) & (columns <= box[2]) & \
        (rows >= box[1]) & (rows <= box[3])
    return {told(place, box) for place in zip(
        columns[strong].tolist(), rows[strong].tolist())}, \
        told(centre, box), float(heatmap[inside].sum() / heatmap.sum())


def test_maps_are_told_in_words(page, photographs, instances):
    assert page.locator('#words-0').get_attribute('aria-live') == 'polite'
    names = [f'{index} {one["label"]}' for index, one in enumerate(
        photographs[1].photos[1]['detectors'][0]['objects'])]
    for index, heatmap in enumerate(instances.heatmaps):
        press(page, 'j')
        text = page.text_content('#words-0')
        assert text.startswith(f'heat map of {names[index]}: ')
        strongest, centre, share = places_of(
            heatmap, instances.bboxes[index].tolist())
        first, _, second = text.partition('centre of mass ')
        assert second.startswith(centre)
        assert first.endswith(('and ', *(f'{one}, ' for one in strongest)))
        assert not first.endswith('and ') or centre in strongest
        percent = int(second.rsplit(', ', 1)[1].split(' %')[0])
        assert abs(percent - 100 * share) < 1.5
    press(page, 'J', '2')
    rival = view(page)['against']
    text = page.text_content('#words-0')
    assert text.startswith(
        f'difference map of {names[-1]} against {names[int(rival)]}: above '
        'zero (this object only) strongest place (')
    difference = instances.heatmaps[-1] - instances.heatmaps[int(rival)]
    for value in difference.max(), difference.min():
        assert any(f'({float(value) + off:.2f})' in text
                   for off in (-0.01, 0, 0.01))
    press(page, 'h')  # it is off
    assert page.text_content('#words-0') == ''


def test_words_know_the_sides_of_a_box(page, instances):
    """What lies outside is said to be above, below, left or right of it."""
    press(page, 'j', '2')
    difference = difference_map(instances.heatmaps)[0]
    assert difference.min() < -0.5
    y, x = divmod(int(difference.argmin()), difference.shape[1])
    where = told((x + 0.5, y + 0.5), instances.bboxes[0].tolist())
    assert where.startswith(('above', 'below', 'left', 'right'))
    below = page.text_content('#words-0').partition('below zero')[2]
    assert below.partition('centre of mass')[0].endswith(
        (f') {where}, ', ') and '))


def test_what_a_joint_map_is_made_of(page):
    press(page, 'j')
    peaks = dict(zip(['score', 'x1', 'y1', 'x2', 'y2'], page.locator(
        '#outputs small').all_text_contents()[1:]))
    page.click('#open-reading')
    text = page.text_content('#shares')
    assert f'0 fish’s joint map, the map of the score reaches ' \
        f'{peaks["score"]}, those of the sides x1 {peaks["x1"]}, ' in text
    assert 'mostly about the box' in text
    page.keyboard.press('Escape')
    assert 'mostly about the box' in page.text_content('#mostly')
    act(page, page.check, '#outputs input[value=score]')
    assert page.text_content('#mostly') == ''


def test_an_error_is_told_in_words(error_page):
    text = error_page.text_content('#words-0')
    assert text.startswith('found, 0.83. why 1 and not 0: above zero '
                           '(<i>up</i>) strongest place (')
    assert '; below zero (down)' in text and 'the detection’s box' in text
    press(error_page, '3')
    text = error_page.text_content('#words-0')
    assert 'what 1 is made of: strongest place ' in text


# ---- Colours

def contrast(first, second):
    """Of two colours, as WCAG 2 defines it."""
    def luminance(colour):
        values = [int(value) / 255 for value in
                  colour[colour.index('(') + 1:-1].split(',')[:3]]
        linear = [value / 12.92 if value <= 0.04045 else
                  ((value + 0.055) / 1.055)**2.4 for value in values]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    dark, light = sorted(map(luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def style(locator, name):
    return locator.evaluate('(one, name) => getComputedStyle(one)[name]', name)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_marks_of_what_is_chosen_are_seen(chromium, paths, scheme):
    with opened(chromium, paths['report'], '#photo=1&object=0&against=1',
                color_scheme=scheme) as page:
        panel = style(page.locator('aside'), 'backgroundColor')
        option = page.locator('#photographs [aria-selected=true]')
        marks = [
            (style(cells(page, 0).first, 'borderLeftColor'), panel),
            (style(cells(page, 1).first, 'borderLeftColor'), panel),
            (style(option, 'borderTopColor'),
             style(option, 'backgroundColor')),
            (style(option, 'borderTopColor'),
             style(page.locator('body'), 'backgroundColor'))]
        assert all(contrast(*mark) >= 3 for mark in marks), marks
        page.keyboard.press('Tab')
        outline = style(page.locator(':focus'), 'outlineColor')
        for around in 'body', 'aside', '#photographs button':
            assert contrast(outline, style(page.locator(around).first,
                                           'backgroundColor')) >= 3
    with opened(chromium, paths['errors'], color_scheme=scheme) as page:
        chosen = page.locator('#list [aria-selected=true]')
        shadow = style(chosen, 'boxShadow')
        assert contrast(shadow[:shadow.index(')') + 1],
                        style(chosen, 'backgroundColor')) >= 3


@pytest.mark.parametrize('name', ['report', 'errors'])
def test_what_is_chosen_is_seen_in_forced_colours(chromium, paths, name):
    with opened(chromium, paths[name], forced_colors='active') as page:
        chosen = page.locator('[role=option][aria-selected=true]')
        assert style(chosen, 'outlineStyle') == 'solid'
        page.keyboard.press('Tab')
        assert style(page.locator(':focus'), 'outlineStyle') == 'solid'
        if name == 'report':
            press(page, 'j', 'J')
            styles = [style(cells(page, row).first, 'borderLeftStyle')
                      for row in (0, 1)]
            assert styles == ['solid', 'double']


# ---- Windows and paper

@pytest.mark.parametrize('name', ['report', 'errors'])
def test_all_is_seen_in_small_windows(chromium, paths, name):
    parts = ['header', '#gallery', '#view', 'main > aside'] \
        if name == 'report' else ['header', '#view', 'main > aside']
    with opened(chromium, paths[name]) as page:
        press(page, 'j')
        for width, height in SIZES:
            resize(page, width, height)
            drawn(page)
            assert page.evaluate(
                'document.documentElement.scrollWidth') <= width
            boxes = [page.locator(part).bounding_box() for part in parts]
            for i, one in enumerate(boxes):
                assert one['x'] >= 0 and one['x'] + one['width'] <= width
                for other in boxes[:i]:
                    assert apart(one, other), (width, parts[i])
            cut = page.evaluate('''() => [...document.querySelectorAll(
                'main :is(button, input, select, td)')].filter(one =>
                one.checkVisibility() && one.clientWidth &&
                !one.closest('#photographs, .views') &&
                (one.getBoundingClientRect().right > innerWidth + 1 ||
                 one.getBoundingClientRect().left < 0)).map(
                one => one.outerHTML.slice(0, 99))''')
            assert not cut, (width, cut)
            stage = page.locator('#stage-0').bounding_box()
            assert stage['width'] > 150 and stage['height'] > 100, width


def apart(one, other):
    return one['x'] + one['width'] <= other['x'] + 1 or \
        other['x'] + other['width'] <= one['x'] + 1 or \
        one['y'] + one['height'] <= other['y'] + 1 or \
        other['y'] + other['height'] <= one['y'] + 1


@pytest.mark.parametrize('name, there, gone', [
    ('report', ['#stage-0', '#caption', '.legend', '#objects', '#settings',
                '#photographs [aria-selected=true]'],
     ['#filters', '#modes', '#bar', '#open-keys', '#reading']),
    ('errors', ['#stage-0', '#caption', '.legend', '#settings', '#summary',
                '#marks', '#finding-0'],
     ['#filters', '#list', '#controls', '#open-keys', '#reading'])])
def test_a_view_on_paper(chromium, paths, name, there, gone):
    with opened(chromium, paths[name], color_scheme='dark') as page:
        press(page, 'j')
        picture = page.locator('#photo-0').bounding_box()
        page.emulate_media(media='print', color_scheme='dark')
        page.set_viewport_size(dict(width=700, height=1000))  # of A4
        for part in there:
            assert page.locator(part).is_visible(), part
            box = page.locator(part).bounding_box()
            assert 0 <= box['x'] <= box['x'] + box['width'] <= 700
        for part in gone:
            assert not page.locator(part).is_visible(), part
        on_paper = page.locator('#photo-0').bounding_box()
        assert on_paper['width'] / on_paper['height'] == pytest.approx(
            picture['width'] / picture['height'], rel=0.02)
        paper = style(page.locator('body'), 'backgroundColor')
        assert paper == 'rgb(255, 255, 255)'
        assert contrast(style(page.locator('body'), 'color'), paper) > 10
        assert page.pdf().startswith(b'%PDF')


def test_nothing_moves_by_itself(page):
    assert page.evaluate('document.getAnimations().length') == 0

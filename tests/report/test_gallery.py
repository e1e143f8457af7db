"""The gallery of a page: which photographs are listed, in which order, and
what the page says of those that it lacks."""
from pathlib import Path
from urllib.parse import quote

import cv2
import pytest
from browser import focused
from demo import demo_detector
from report_page import act, opened, press, view

from mmdet_diffmap.apis import explain_files
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.report import ErrorReport, Photo, Report
from mmdet_diffmap.report.missing import MissingImages

#: All of them together take minutes.
pytestmark = pytest.mark.slow


@pytest.fixture
def page(chromium, photographs):
    with opened(chromium, photographs[0]) as page:
        yield page


def listed(page):
    """The names in the gallery, in their order."""
    return page.locator('#photographs span').all_text_contents()


def scores(report, label=None, lowest=0):
    """The scores of the objects of each photograph, by its name."""
    return {
        Path(photo['name']).name: [
            one['score'] for one in photo['detectors'][0]['objects']
            if label in (None, one['label']) and one['score'] >= lowest]
        for photo in report.photos}


def test_photographs_are_found_by_their_file_names(page):
    count = page.locator('#found')
    assert len(listed(page)) == 5
    assert count.text_content() == '5 of 5 photographs'
    act(page, page.fill, '#find', 'B-')  # in whatever case
    assert listed(page) == ['b-10.png', 'b-9.png']
    assert count.text_content() == '2 of 5 photographs'
    act(page, page.fill, '#find', '<b>')
    assert listed(page) == ['<b>é.png']
    act(page, page.fill, '#find', 'photographs')  # the folder
    assert listed(page) == []
    assert 'none of 5 photographs' in count.text_content()
    act(page, page.click, 'text=all photographs')
    assert len(listed(page)) == 5 and page.input_value('#find') == ''
    assert not page.locator('#any').is_visible()
    assert focused(page) == 'find'  # the button that had it is gone


def test_photographs_are_found_by_class_and_score(page, photographs):
    _, report = photographs
    names = page.locator('#class option').all_text_contents()
    assert names[0] == 'any class' and 'fish (3)' in names
    for label in 'fish', 'cat':
        act(page, page.select_option, '#class', label)
        assert listed(page) == [
            name for name, found in scores(report, label).items() if found]
    act(page, page.fill, '#from', '0.74')
    found = scores(report, 'cat', 0.74)
    assert listed(page) == [name for name in found if found[name]] == [
        'Aa.png']
    both = len(scores(report)['Aa.png'])
    assert page.locator('#photographs small').all_text_contents() == [
        f'1 of {both} objects']
    act(page, page.select_option, '#class', '')
    found = scores(report, lowest=0.74)
    assert listed(page) == [name for name in found if found[name]]
    act(page, page.fill, '#from', '')
    assert len(listed(page)) == 5


def test_orders(page, photographs):
    found = scores(photographs[1])
    names = list(found)
    assert listed(page) == names
    for order, key in {
            'objects': lambda name: -len(found[name]),
            'highest': lambda name: -max(found[name], default=-1),
            'lowest': lambda name: min(found[name], default=2)}.items():
        act(page, page.select_option, '#sort', order)
        assert listed(page) == sorted(names, key=key), order
        assert listed(page)[-1] == 'nothing.png'
    act(page, page.select_option, '#sort', 'name')
    # 9 before 10, as people count
    assert listed(page) == ['<b>é.png', 'Aa.png', 'b-9.png', 'b-10.png',
                            'nothing.png']
    act(page, page.select_option, '#sort', 'given')
    assert listed(page) == names


def test_an_order_is_that_of_the_objects_that_are_looked_for(
        page, photographs):
    act(page, page.select_option, '#class', 'cat')
    act(page, page.select_option, '#sort', 'highest')
    found = {name: of_name for name, of_name in
             scores(photographs[1], 'cat').items() if of_name}
    assert listed(page) == sorted(found, key=lambda name: -max(found[name]))
    assert len(found) > 1


def test_arrows_go_through_the_listed(page):
    act(page, page.fill, '#find', 'b-')
    page.locator('#find').blur()
    assert view(page)['photo'] == '0'
    press(page, 'ArrowRight')
    assert view(page)['photo'] == '3'
    press(page, 'n')  # from the last to the first
    assert view(page)['photo'] == '0'
    press(page, 'p')
    assert view(page)['photo'] == '3'
    act(page, page.fill, '#find', 'aa')
    assert view(page)['photo'] == '3'  # it stays open
    page.locator('#find').blur()
    press(page, 'p')
    assert view(page)['photo'] == '1'
    press(page, 'j', 'n')  # there is no other
    assert (view(page)['photo'], view(page)['object']) == ('1', '0')
    act(page, page.fill, '#find', 'there is none')
    page.locator('#find').blur()
    press(page, 'n')
    assert (view(page)['photo'], view(page)['object']) == ('1', '0')


def test_a_link_finds_the_same(page, chromium, photographs):
    assert 'find' not in view(page)
    act(page, page.fill, '#find', '.png')
    act(page, page.select_option, '#class', 'fish')
    act(page, page.fill, '#from', '0.5')
    act(page, page.select_option, '#sort', 'lowest')
    expected = listed(page)
    assert len(expected) == 3
    path, _ = photographs
    # browsers do not like the address to change with every key
    page.wait_for_function('() => location.hash.includes("lowest")')
    with opened(chromium, path, page.evaluate('location.hash')) as other:
        assert listed(other) == expected
        assert [other.input_value(f'#{name}') for name in (
            'find', 'class', 'from', 'sort')] == [
                '.png', 'fish', '0.5', 'lowest']
        assert other.locator('#any').is_visible()
    unknown = '#class=zebra&from=-1&sort=x&find=' + quote('é')
    with opened(chromium, path, unknown) as other:
        assert listed(other) == ['<b>é.png']
        assert view(other)['photo'] == '4'  # one that is listed
        other.wait_for_function('() => !location.hash.includes("zebra")')
        assert view(other)['find'] == 'é'
        assert not {'class', 'from', 'sort'} & set(view(other))
        other.goto(path.as_uri() + '#photo=1')
        other.wait_for_function(
            '() => document.querySelectorAll("#photographs span").length > 1')


def test_objects_that_are_not_looked_for_are_grey(page, photographs):
    rows = page.locator('#objects tr')
    (detector, ) = photographs[1].photos[0]['detectors']
    labels = [one['label'] for one in detector['objects']]

    def colour(index):
        return rows.nth(index).evaluate('row => getComputedStyle(row).color')

    assert len({colour(index) for index in range(len(labels))}) == 1
    ink = colour(0)
    act(page, page.select_option, '#class', 'boat')
    assert [colour(index) == ink for index in range(len(labels))] == [
        label == 'boat' for label in labels]
    press(page, 'Escape')
    other = labels.index('flower')
    act(page, rows.nth(other).locator('td').first.click)  # chosen all the same
    assert view(page)['object'] == str(other)


def test_the_gallery_is_reached_once_by_tab(page):
    page.focus('#sort')
    page.keyboard.press('Tab')
    assert focused(page, 'title').endswith('b-10.png')  # the open one
    for key, name in {
            'ArrowDown': 'Aa.png', 'ArrowRight': 'nothing.png',
            'ArrowUp': 'Aa.png', 'End': '<b>é.png', 'ArrowDown ': '<b>é.png',
            'Home': 'b-10.png', 'ArrowLeft': 'b-10.png'}.items():
        page.keyboard.press(key.strip())
        assert focused(page, 'title').endswith(name), key
    assert view(page)['photo'] == '0'
    press(page, 'End', 'Enter')
    assert view(page)['photo'] == '4'
    option = page.locator('#photographs [aria-selected=true]')
    assert option.get_attribute('title').endswith('é.png')
    assert focused(page, 'title').endswith('é.png')
    press(page, 'n')  # the focus goes with what is open
    assert focused(page, 'title').endswith('b-10.png')
    page.keyboard.press('Tab')
    assert not page.evaluate(
        'document.activeElement.closest("#photographs") !== null')
    page.keyboard.press('Shift+Tab')
    assert focused(page, 'title').endswith('b-10.png')


@pytest.fixture(scope='module')
def hundred(photographs, tmp_path_factory):
    """A page with a hundred photographs."""
    report = Report('Hundred', [], {})
    template, payloads = photographs[1].photos[0], photographs[1].payloads
    for number in range(100):
        report.photos.append(dict(template, name=f'{number}.png'))
        for name in 'photo', 'maps':
            end = '-0-0' * (name == 'maps')
            report.payloads[f'{name}-{number}{end}'] = \
                payloads[f'{name}-0{end}']
    path = tmp_path_factory.mktemp('hundred') / 'report.html'
    report.save(path)
    return path


def test_of_a_hundred_photographs_those_in_sight_are_drawn(
        chromium, hundred):
    with opened(chromium, hundred, '#photo=40') as page:
        drawn_ones = page.evaluate('''() =>
            [...document.querySelectorAll('#photographs img')]
            .map((one, index) => [one.checkVisibility(
                {contentVisibilityAuto: true}), index])
            .filter(([isDrawn]) => isDrawn).map(([, index]) => index)''')
        assert 40 in drawn_ones and len(drawn_ones) < 40
        option = page.locator('#photographs button').nth(40).bounding_box()
        gallery = page.locator('#photographs').bounding_box()
        assert gallery['y'] <= option['y']
        assert option['y'] + option['height'] <= \
            gallery['y'] + gallery['height'] + 1
        act(page, page.fill, '#find', '7')
        assert len(listed(page)) == 19


def test_a_single_photograph_needs_no_search(chromium, photographs, tmp_path):
    report = Report('One', [], {})
    report.photos = photographs[1].photos[:1]
    report.payloads = photographs[1].payloads
    report.save(tmp_path / 'one.html')
    with opened(chromium, tmp_path / 'one.html') as page:
        assert not page.locator('#filters').is_visible()
        assert page.text_content('#found') == '1 of 1 photograph'


class InterruptedReport(Report):
    """Is left by Ctrl-C at the third image."""

    def add(self, photo: Photo, *args) -> None:
        if len(self.photos) == 2:
            raise KeyboardInterrupt
        super().add(photo, *args)


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp('interrupted')
    names = [f'{number}.png' for number in range(5)]
    for name in names:
        cv2.imwrite(str(folder / name), render_scene(0, 0).image)
    (folder / names[1]).write_text('<i>no image</i>')
    names[4] = '<i>last</i>.png'
    with pytest.raises(KeyboardInterrupt):
        explain_files(demo_detector(), [str(folder / name) for name in names],
                      folder, report=InterruptedReport('Cut', [], {}))
    return folder / 'report.html'


def test_an_interrupted_run_says_so(chromium, interrupted):
    with opened(chromium, interrupted) as page:
        banner = page.locator('#incomplete')
        assert banner.is_visible()
        assert '2 of 5 photographs: the run was interrupted, 1 failed.' in \
            banner.text_content()
        page.click('text=Which, and why')
        missing = page.locator('#missing')
        assert [Path(text).name for text in missing.locator(
            'li').all_text_contents()] == ['3.png', 'i>.png']
        assert missing.locator('dt').text_content().endswith('1.png')
        assert 'whole' in missing.locator('dd').text_content() or \
            'image' in missing.locator('dd').text_content()
        assert missing.locator('i').count() == 0  # names are text
        page.keyboard.press('Escape')
        assert focused(page) == 'open-missing'


def test_a_whole_run_says_nothing(page):
    assert page.locator('#incomplete, #missing').count() == 0


@pytest.mark.parametrize('failures, asked, text', [
    ({'a': 'x', 'b': 'y'}, (), '0 of 2 photographs: 2 failed.'),
    ({'a': 'x'}, ['a', 'a', 'b'],
     '0 of 3 photographs: the run was interrupted, 1 failed.'),
    ({}, ['a'], '0 of 1 photographs: the run was interrupted.')])
@pytest.mark.parametrize('make', [
    lambda: Report('r', [], {}), lambda: ErrorReport('e', ['one'], {}, [])])
def test_what_is_missing_of_a_page_without_photographs(
        tmp_path, make, failures, asked, text):
    make().save(tmp_path / 'r.html', failures, asked)
    assert text in (tmp_path / 'r.html').read_text()


def test_what_is_missing_of_several_detectors():
    missing = MissingImages()
    missing.note(['a', 'b', 'c'], ['a', 'c'], {'b': 'bad'}, 'first')
    missing.note(['a', 'b', 'c'], ['a'], {}, 'second')
    described = missing.described()
    assert described['text'] == \
        '1 of 3 photographs: the run was interrupted, 1 failed.'
    assert described['failed'] == {'b by first': 'bad'}
    assert described['unreached'] == ['b by second', 'c by second']
    missing.note(['a', 'b', 'c'], ['a', 'b', 'c'], {}, 'second')  # goes on
    assert missing.described()['text'] == '2 of 3 photographs: 1 failed.'

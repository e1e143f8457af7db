"""Zoom, labels and clicks of a photograph, in a real browser."""
import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image
from report_page import act, box, close, drawn, maps, opened, press, view

from mmdet_diffmap.report.page_file import (
    base64_text,
    described_picture,
    jpeg,
    write_page,
)

#: All of them together take minutes.
pytestmark = pytest.mark.slow

SIZE = (250, 200)  # of a photograph whose colours say where a pixel is
NESTED = [(0, 0, 120, 100), (20, 20, 110, 90), (40, 40, 90, 80)]
APART = (150, 120, 240, 190)


def write_boxes(path, boxes, labels=None):
    """Write a page with boxes and without maps. Red is x, and green is y."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[..., 2] = np.arange(SIZE[0])
    image[..., 1] = np.arange(SIZE[1])[:, None]
    frame = dict(input=SIZE[::-1], content=SIZE[::-1], image=SIZE[::-1],
                 corner=(0, 0))
    method = dict(name='none', frame=frame, groups=dict(
        all=[dict(peak=0, parts=[])] * len(boxes)))
    objects = [dict(label=(labels or ['thing'] * len(boxes))[index],
                    score=0.9 - index / 100, box=list(map(float, one)))
               for index, one in enumerate(boxes)]
    photo = dict(
        described_picture('a.png', image, SIZE[::-1]),
        detectors=[dict(name='', objects=objects, methods=[method])])
    payloads = {'photo-0': jpeg(image, SIZE[::-1]),
                'maps-0-0-0': base64_text(zlib.compress(b''))}
    write_page(path, 'page', dict(photos=[photo]), payloads, {}, None,
               title='boxes')
    return path


@pytest.fixture
def open_boxes(chromium, tmp_path):
    """Opens a page with boxes."""
    contexts = []

    def open_page(boxes, labels=None):
        contexts.append(opened(
            chromium, write_boxes(tmp_path / 'boxes.html', boxes, labels)))
        return contexts[-1].__enter__()

    yield open_page
    for one in contexts:
        one.__exit__(None, None, None)


def picture(page, panel=0):
    """Where the whole photograph is, also outside of what is seen."""
    return page.locator(f'#photo-{panel}').bounding_box()


def stage(page, panel=0):
    return page.locator(f'#stage-{panel}').bounding_box()


def place_of(page, x, y, size=SIZE):
    """Where the middle of a pixel of the photograph is in the window."""
    whole = picture(page)
    return (whole['x'] + (x + 0.5) * whole['width'] / size[0],
            whole['y'] + (y + 0.5) * whole['height'] / size[1])


def click_at(page, x, y, **options):
    """Click a pixel of the photograph."""
    act(page, lambda: page.mouse.click(*place_of(page, x, y), **options))
    return chosen(page)


def shift_click_at(page, x, y):
    page.keyboard.down('Shift')
    found = click_at(page, x, y)
    page.keyboard.up('Shift')
    return found


def chosen(page):
    """The chosen object and the one that it is compared with."""
    return tuple(int(view(page)[name]) if name in view(page) else None
                 for name in ('object', 'against'))


def wheel(page, x, y, by):
    page.mouse.move(x, y)
    page.mouse.wheel(0, by)
    page.wait_for_timeout(50)
    drawn(page)


def readout(page):
    """The pixel that the page names."""
    return tuple(map(int, re.match(
        r'x (\d+), y (\d+)', page.text_content('#readout')).groups()))


def colour_at(page, x, y):
    """The red and the green of the window at a place."""
    shot = page.screenshot(clip=dict(x=int(x), y=int(y), width=1, height=1))
    return np.asarray(Image.open(io.BytesIO(shot)).convert('RGB'))[0, 0, :2]


def test_the_readout_names_the_pixel_under_the_pointer(open_boxes):
    page = open_boxes([])
    room = stage(page)
    for _ in range(4):
        for across, down in (.3, .3), (.5, .7), (.71, .45):
            x = int(room['x'] + across * room['width'])
            y = int(room['y'] + down * room['height'])
            page.mouse.move(x + 0.5, y + 0.5)
            # JPEG moves colours a little
            assert np.abs(colour_at(page, x, y).astype(int) -
                          readout(page)).max() <= 4
        wheel(page, room['x'] + 0.6 * room['width'],
              room['y'] + 0.4 * room['height'], -300)
    assert picture(page)['width'] > 4 * room['width']


def test_the_wheel_zooms_around_the_pointer(open_boxes):
    page = open_boxes([])
    room = stage(page)
    x, y = (room['x'] + 0.6 * room['width'], room['y'] + 0.35 * room['height'])
    page.mouse.move(x, y)
    before, width = readout(page), picture(page)['width']
    for _ in range(3):
        wheel(page, x, y, -200)
    assert picture(page)['width'] > 2 * width
    page.mouse.move(x + 0.1, y)
    assert np.abs(np.subtract(readout(page), before)).max() <= 1
    for _ in range(5):  # and back, until all is seen again
        wheel(page, x, y, 200)
    assert picture(page)['width'] == pytest.approx(width)


def test_values_under_zoom_are_those_of_the_map(page, folder):
    heatmap = maps(folder, 'odam')[0].numpy()
    press(page, 'j', 'z')
    room, found = stage(page), []
    for across in np.linspace(0.1, 0.9, 7):
        for down in np.linspace(0.1, 0.9, 5):
            page.mouse.move(room['x'] + across * room['width'],
                            room['y'] + down * room['height'])
            x, y = readout(page)
            value = float(page.text_content('#readout').split(': ')[1])
            assert value == pytest.approx(heatmap[y, x], abs=0.012)
            found.append(value)
    assert max(found) > 0.5
    close(page, maps(folder, 'odam')[0])  # zoom changes no map


def test_boxes_stay_where_they_are_in_the_photograph(open_boxes):
    page = open_boxes([*NESTED, APART])
    for key in ']', ']', 'd', 's', '[':
        press(page, key)
        whole = picture(page)
        scale = whole['width'] / SIZE[0]
        for index, (x1, y1, x2, _) in enumerate([*NESTED, APART]):
            place = box(page, index).bounding_box()
            assert place['x'] == pytest.approx(
                whole['x'] + x1 * scale, abs=3)  # a stroke
            assert place['y'] == pytest.approx(whole['y'] + y1 * scale, abs=3)
            assert place['width'] == pytest.approx((x2 - x1) * scale, abs=5)
    assert page.evaluate('''getComputedStyle(document.querySelector(
        '#boxes-0 .line')).vectorEffect''') == 'non-scaling-stroke'


def test_keys_zoom_and_move(open_boxes):
    page = open_boxes([APART])
    whole = picture(page)
    press(page, ']')
    assert picture(page)['width'] == pytest.approx(1.5 * whole['width'])
    assert page.text_content('#zoom') == '150 %'
    for key, axis, by in [('a', 'x', 1), ('d', 'x', -1), ('w', 'y', 1),
                          ('s', 'y', -1)]:
        before = picture(page)[axis]
        press(page, key)
        assert (picture(page)[axis] - before) * by > 5
    press(page, '[', '[')  # there is nothing outside of the photograph
    assert picture(page) == pytest.approx(whole)
    press(page, 'j', 'z')
    room, place = stage(page), box(page, 0).bounding_box()
    assert room['x'] < place['x'] and room['y'] < place['y']
    assert place['height'] > 0.5 * room['height']
    press(page, '0')
    assert picture(page) == pytest.approx(whole)


def test_a_drag_moves_and_does_not_choose(open_boxes):
    page = open_boxes([(0, 0, *SIZE)])
    press(page, ']', ']')
    before, (x, y) = picture(page), place_of(page, 125, 100)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=4)
    act(page, page.mouse.up)
    assert picture(page)['x'] - before['x'] == pytest.approx(30, abs=1)
    assert picture(page)['y'] - before['y'] == pytest.approx(20, abs=1)
    assert chosen(page) == (None, None)
    assert click_at(page, 125, 100) == (0, None)


def test_two_fingers_zoom(chromium, tmp_path):
    path = write_boxes(tmp_path / 'a.html', [(0, 0, *SIZE)])
    page = chromium.new_page(has_touch=True,
                             viewport=dict(width=1300, height=800))
    page.goto(path.as_uri())
    drawn(page)
    width = picture(page)['width']
    x, y = place_of(page, 125, 100)
    fingers = page.context.new_cdp_session(page)
    for kind, apart in [('touchStart', 40), ('touchMove', 70),
                        ('touchMove', 100)]:
        fingers.send('Input.dispatchTouchEvent', dict(
            type=kind, touchPoints=[
                dict(x=x - apart, y=y, id=0), dict(x=x + apart, y=y, id=1)]))
    fingers.send('Input.dispatchTouchEvent',
                 dict(type='touchEnd', touchPoints=[]))
    page.wait_for_timeout(100)
    drawn(page)
    assert picture(page)['width'] == pytest.approx(2.5 * width, rel=0.03)
    assert chosen(page) == (None, None)
    page.close()


def test_a_double_click_beside_boxes_shows_all(open_boxes):
    page = open_boxes([APART])
    width = picture(page)['width']
    press(page, ']')
    act(page, lambda: page.mouse.dblclick(*place_of(page, 100, 80)))
    assert picture(page)['width'] == pytest.approx(width)
    press(page, ']')
    act(page, lambda: page.mouse.dblclick(*place_of(page, 180, 140)))
    assert picture(page)['width'] == pytest.approx(1.5 * width)


def test_a_link_holds_what_is_seen(open_boxes):
    page = open_boxes([APART])
    press(page, ']', ']', 'd', 's')
    before = picture(page)
    page.wait_for_timeout(400)  # the address follows
    assert 'zoom' in view(page)
    page.reload()
    drawn(page)
    assert picture(page) == pytest.approx(before, abs=0.5)


# ---- Clicks


def test_clicks_at_one_place_go_through_all_boxes_there(open_boxes):
    page = open_boxes([*NESTED, APART])
    found = [click_at(page, 60 + step % 2, 60)[0] for step in range(6)]
    assert found == [2, 1, 0, None, 2, 1]


def test_clicks_at_another_place_compare(open_boxes):
    page = open_boxes([*NESTED, APART])
    assert click_at(page, 200, 150) == (3, None)
    assert [click_at(page, 60, 60) for _ in range(5)] == [
        (3, 2), (3, 1), (3, 0), (3, None), (3, 2)]
    assert click_at(page, 200, 150) == (None, None)  # the chosen one
    assert click_at(page, 60, 60) == (2, None)
    assert click_at(page, 5, 5) == (2, 0)
    assert click_at(page, 130, 110) == (None, None)  # no box is there


def test_a_click_with_shift_compares_at_the_same_place(open_boxes):
    page = open_boxes([*NESTED, APART])
    assert click_at(page, 60, 60) == (2, None)
    assert [shift_click_at(page, 60, 60) for _ in range(4)] == [
        (2, 1), (2, 0), (2, None), (2, 1)]
    press(page, 'Escape')
    assert shift_click_at(page, 200, 150) == (3, None)  # nothing was chosen


def test_the_chosen_object_is_left_for_those_below_it(open_boxes):
    page = open_boxes(NESTED)
    assert click_at(page, 60, 60) == (2, None)
    assert [click_at(page, 80, 70)[0] for _ in range(4)] == [None, 1, 0, 2]


@pytest.mark.parametrize('seed', [0, 1])
def test_every_box_of_a_crowd_is_met_by_clicks(open_boxes, seed):
    """Also those of one place, within others, and of no size."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 0.7, (20, 2)) * SIZE
    size = random.choice([0, 2, 8, 30, 70], (20, 2))
    boxes = np.concatenate([corner, corner + size], 1)
    boxes = [*boxes[:16], boxes[3], boxes[7], (0, 0, *SIZE), (0, 0, *SIZE)]
    page = open_boxes(boxes)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        press(page, 'Escape')
        page.mouse.move(2, 2)
        found = []
        while index not in found and len(found) <= len(boxes):
            found.append(
                click_at(page, (x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5)[0])
        assert index in found


def test_a_small_box_is_met_near_it(open_boxes):
    page = open_boxes([(0, 0, *SIZE), (100, 100, 102, 102)])
    x, y = place_of(page, 100.5, 100.5)
    for away, expected in (11, 1), (14, 0):
        press(page, 'Escape')
        act(page, page.mouse.click, x + away, y - away)
        assert chosen(page) == (expected, None)


# ---- Labels


def labels(page, panel=0):
    """Texts and places of all labels."""
    return [(one.text_content(), one.bounding_box()) for one in
            page.locator(f'#stage-{panel} .tags span').all()]


def covered(a, b):
    """The area that two places have in common."""
    across, down = (
        min(a[start] + a[length], b[start] + b[length]) -
        max(a[start], b[start])
        for start, length in (('x', 'width'), ('y', 'height')))
    return max(0, across) * max(0, down)


def test_labels_of_few_boxes_are_all_there_and_cover_nothing(open_boxes):
    boxes = [*NESTED, APART, (200, 0, 250, 60), (0, 150, 60, 200)]
    page = open_boxes(boxes, ['cat', 'a very long name of a thing'] * 3)
    for keys in [], ['j'], ['J'], [']'], [']', 'd', 's']:
        press(page, *keys)
        room, found = stage(page), labels(page)
        assert len(found) == sum(
            covered(room, box(page, index).bounding_box()) > 9
            for index in range(len(boxes)))
        for index, (text, place) in enumerate(found):
            assert re.match(r'\d (cat|a very)', text)
            assert covered(place, room) == pytest.approx(
                place['width'] * place['height'])
            assert not any(covered(place, other) > 1
                           for _, other in found[:index])


def test_which_boxes_have_labels(open_boxes):
    page = open_boxes([(10 * i, 10 * i, 10 * i + 60, 10 * i + 60)
                       for i in range(12)])
    assert not labels(page)  # there are many
    page.mouse.move(*place_of(page, 5, 5))
    drawn(page)
    assert [text for text, _ in labels(page)] == ['0 thing 0.90']
    click_at(page, 5, 5)
    page.mouse.move(2, 2)
    press(page, 'J')
    assert [text for text, _ in labels(page)] == [
        '0 thing 0.90', '1 thing 0.89']
    act(page, page.check, '#show-labels')
    assert len(labels(page)) == 12
    press(page, 'l')
    assert len(labels(page)) == 2 and not page.is_checked('#show-labels')
    press(page, 'b')
    assert not labels(page)


def test_lines_and_labels_are_seen_on_white_and_on_black(open_boxes):
    """Somewhere across a line, something differs from what is below it."""
    page = open_boxes([(60, 60, 190, 140)])
    for grey in 0, 128, 255:
        page.evaluate('''grey => {
            const photo = document.getElementById('photo-0');
            photo.style.background = `rgb(${grey} ${grey} ${grey})`;
            photo.style.objectPosition = '9999px';
        }''', grey)
        place = box(page, 0).bounding_box()
        shot = page.screenshot(clip=dict(
            x=int(place['x']) - 10, y=int(place['y'] + place['height'] / 2),
            width=24, height=1))
        line = np.asarray(Image.open(io.BytesIO(shot)).convert('L'))[0]
        assert abs(int(line[0]) - grey) < 3
        assert np.abs(line.astype(int) - grey).max() > 60
        (_, label), = labels(page)
        shot = page.screenshot(clip={
            key: int(value) for key, value in label.items()})
        text = np.asarray(Image.open(io.BytesIO(shot)).convert('L'))
        assert int(text.max()) - int(np.median(text)) > 110


def test_a_page_of_photographs_of_many_objects(chromium, real, tmp_path):
    """Every object that a detector finds in a crowd is met by clicks."""
    from mmdet_diffmap import load_detector
    from mmdet_diffmap.apis import class_names, explain_files
    from mmdet_diffmap.report import Report
    model = load_detector(real / 'yolox_nano_coco.py',
                          real / 'yolox_nano_coco.pth', device='cpu')
    report = Report('crowd', class_names(model), {})
    assert not explain_files(
        model, [str(real / 'images/000000329323.jpg')], tmp_path,
        dict(odam=dict(type='ODAM', outputs='score')), report=report)
    with opened(chromium, tmp_path / 'report.html') as page:
        boxes = report.photos[0]['detectors'][0]['objects']
        size = report.photos[0]['original']
        assert len(boxes) > 15
        for index, one in enumerate(boxes):
            press(page, 'Escape')
            found, (x1, y1, x2, y2) = [], one['box']
            x, y = place_of(page, (max(x1, 0) + min(x2, size[0])) / 2,
                            (max(y1, 0) + min(y2, size[1])) / 2, size)
            while index not in found and len(found) <= len(boxes):
                act(page, page.mouse.click, x, y)
                found.append(chosen(page)[0])
            assert index in found

"""Views that leave the page: as a picture, and as a link."""
import numpy as np
import pytest
from report_page import (
    drawn,
    enlarged,
    find,
    opened,
    pixels_of,
    press,
    save,
    shown,
    view,
)

from mmdet_diffmap.report.page_file import BOX_COLOURS

#: All of them together take minutes.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize('keys', [['j', 'b'], ['j', 'J', 'b'],
                                  ['j', 'b', 'g'], ['b']])
def test_the_pixels_are_those_of_the_view(page, keys):
    press(page, *keys)
    page.mouse.move(2, 2)
    drawn(page)
    picture, _ = save(page)
    expected = enlarged(shown(page), pixels_of(page))
    y, x = find(picture, expected)
    found = picture[y:y + len(expected), x:x + expected.shape[1]]
    off = np.abs(found - expected)
    assert off.mean() < 1.5 and np.percentile(off, 99) < 12


def test_all_panels_are_in_the_picture(page):
    press(page, 'j', 'v', 'b')
    page.mouse.move(2, 2)
    drawn(page)
    picture, _ = save(page)
    places = []
    for panel in range(3):
        expected = enlarged(shown(page, panel), pixels_of(page, panel))
        y, x = find(picture, expected)
        off = np.abs(picture[y:y + len(expected), x:x + expected.shape[1]] -
                     expected)
        assert off.mean() < 1.5
        places.append((y, x))
    assert places[0][0] == places[1][0] < places[2][0]
    assert places[0][1] == places[2][1] < places[1][1]


def test_boxes_labels_legend_and_text_are_in_the_picture(page):
    press(page, 'b', 'j')
    page.mouse.move(2, 2)
    bare, name = save(page)
    assert name.endswith('-odam-heat-0.png')
    press(page, 'b')
    picture, _ = save(page)
    assert picture.shape == bare.shape
    pixels, photo = pixels_of(page), shown(page)
    y, x = find(bare, enlarged(photo, pixels))
    height, width = (side * pixels for side in photo.shape[:2])
    rest = np.ones(picture.shape[:2], bool)
    rest[y:y + height, x:x + width] = False
    assert (picture[rest] == bare[rest]).all()  # the rest is no box
    # the chosen object's line has its colour
    line = page.locator('#boxes-0 .target .line')
    left, top, high = (float(line.get_attribute(name)) * pixels
                       for name in ('x', 'y', 'height'))
    for at in 0.3, 0.6, 0.9:
        row, column = round(y + top + at * high), round(x + left)
        assert np.abs(picture[row, column] - BOX_COLOURS['target']).max() < 8
    assert (picture != bare).any(2).sum() > 500
    # above and below the photograph there is text on white, and the legend
    assert (bare[0, 0] == 255).all()
    assert bare[:y].min() < 100
    below = bare[y + height:]
    assert (np.ptp(below, axis=2) > 60).any(1).sum() > 5  # colours
    assert below[-30:].min() < 100


def test_what_is_zoomed_to_is_in_the_picture(page):
    press(page, 'j', 'b', 'z')
    page.mouse.move(2, 2)
    drawn(page)
    picture, _ = save(page)
    whole, seen = (page.locator(f'#{name}-0').bounding_box()
                   for name in ('photo', 'stage'))
    photo, pixels = shown(page), pixels_of(page)
    scale = whole['width'] / photo.shape[1]
    left, top = ((seen[axis] - whole[axis]) / scale for axis in 'xy')
    width, height = (seen[side] / scale for side in ('width', 'height'))
    assert width < 0.8 * photo.shape[1]
    whole_pixels = np.repeat(np.repeat(photo, pixels, 0), pixels, 1)
    expected = whole_pixels[round((top + 1) * pixels):
                            round((top + height - 1) * pixels),
                            round((left + 1) * pixels):
                            round((left + width - 1) * pixels)]
    y, x = find(picture, expected)
    off = np.abs(picture[y:y + len(expected), x:x + expected.shape[1]] -
                 expected)
    assert off.mean() < 6  # smooth, and here in steps


def test_names_in_the_picture_do_no_harm(page_of_both):
    press(page_of_both, 'j')
    picture, name = save(page_of_both)
    assert picture.shape[0] > 300
    assert not set('<>&"\'/= ') & set(name)


@pytest.mark.parametrize('has_clipboard', [True, False])
def test_a_link_to_the_view_is_copied(chromium, folder, has_clipboard):
    context = chromium.new_context(
        permissions=['clipboard-read', 'clipboard-write'])
    page, reader = context.new_page(), context.new_page()
    if not has_clipboard:
        page.add_init_script('Object.defineProperty('
                             'navigator, "clipboard", {value: undefined})')
    page.bring_to_front()
    page.goto((folder / 'report.html').as_uri())
    drawn(page)
    press(page, 'j', ']')
    page.click('#copy-link')
    page.wait_for_selector('#copy-link[data-said=Copied]')
    assert page.text_content('#said') == 'Copied'
    page.wait_for_timeout(400)
    address = page.url
    assert 'zoom' in view(page)
    page.wait_for_selector('#copy-link:not([data-said])')
    reader.goto((folder / 'report.html').as_uri())
    reader.bring_to_front()
    assert reader.evaluate('navigator.clipboard.readText()') == address
    context.close()


def test_a_saved_view_says_so(chromium, folder):
    with opened(chromium, folder / 'report.html') as page:
        press(page, 'j')
        with page.expect_download():
            page.keyboard.press('e')
        page.wait_for_selector('#save-picture[data-said=Saved]')

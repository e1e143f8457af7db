"""Several panels side by side, in a real browser."""
import pytest
from browser import resize
from report_page import (
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
    view,
)

from mmdet_diffmap import difference_map

#: All of them together take minutes.
pytestmark = pytest.mark.slow


def panels(page):
    """The panels that are shown."""
    return page.locator('.panel:visible')


def use_panels(page, count):
    act(page, page.click, f'#counts button[value="{count}"]')
    assert panels(page).count() == count


def activate(page, panel):
    act(page, page.locator(f'#panel-{panel}').focus)
    assert page.locator('.panel.active').get_attribute('id') == \
        f'panel-{panel}'


def test_each_panel_has_its_own_method_mode_and_output(page, folder):
    press(page, 'j')
    use_panels(page, 3)
    close(page, maps(folder, 'odam')[0], panel=2)  # as the one before
    activate(page, 1)
    act(page, lambda: page.select_option('#method', label='backbone'))
    activate(page, 2)
    press(page, '2')
    act(page, page.check, '#outputs input[value=x1]')
    close(page, maps(folder, 'odam')[0], panel=0)
    close(page, maps(folder, 'backbone')[0], panel=1)
    close(page, difference_map(maps(folder, 'odam', outputs='x1'))[0],
          2 * 0.012, panel=2)
    titles = panels(page).locator('h2').all_text_contents()
    assert titles[0].startswith('odam heat map of 0')
    assert titles[1].startswith('backbone heat map of 0')
    assert titles[2].startswith('odam x1 difference map of 0')
    # the controls are those of the active one
    assert page.is_checked('input[value=signed]')
    activate(page, 0)
    assert page.is_checked('input[value=heat]')


def test_a_link_opens_all_panels(page, chromium, folder):
    press(page, 'j')
    use_panels(page, 2)
    activate(page, 1)
    act(page, lambda: page.select_option('#method', label='backbone'))
    act(page, page.uncheck, '#show-together')
    click_in(page, 1, 2)  # another object in the second panel alone
    press(page, ']', ']', '-', 'g')
    page.wait_for_timeout(400)  # the address follows
    address, expected = page.url, [overlay(page, index) for index in (0, 1)]
    assert view(page)['object'] == '0' and view(page)['2.against'] == '2'
    other = chromium.new_page(viewport=dict(width=1300, height=800))
    other.goto(address)
    drawn(other)
    assert panels(other).count() == 2
    for index, pixels in enumerate(expected):
        assert pixels.any()
        assert (overlay(other, index) == pixels).all()
    for name in 'photo-0', 'photo-1':
        assert other.locator(f'#{name}').bounding_box() == pytest.approx(
            page.locator(f'#{name}').bounding_box(), abs=0.5)
    assert view(other) == view(page)
    assert other.locator('.panel.active').get_attribute('id') == 'panel-1'
    other.close()


def click_in(page, panel, index):
    place = box(page, index, panel).bounding_box()
    act(page, page.mouse.click, place['x'] + place['width'] / 2,
        place['y'] + place['height'] / 2)


def test_what_is_chosen_is_chosen_in_all_panels_until_it_is_not(page, folder):
    use_panels(page, 2)
    click_in(page, 0, 1)
    assert (view(page)['object'], view(page)['2.object']) == ('1', '1')
    click_in(page, 1, 0)
    assert (view(page)['against'], view(page)['2.against']) == ('0', '0')
    assert (view(page)['mode'], view(page)['2.mode']) == ('signed', 'signed')
    heatmaps = maps(folder, 'odam')
    for panel in 0, 1:
        close(page, heatmaps[1] - heatmaps[0], panel=panel)
    act(page, page.uncheck, '#show-together')
    press(page, 'j')
    assert (view(page)['object'], view(page)['2.object']) == ('1', '2')
    close(page, heatmaps[2], panel=1)


def test_all_panels_show_the_same_part(page):
    use_panels(page, 4)
    place = page.locator('#stage-2').bounding_box()
    page.mouse.move(place['x'] + 30, place['y'] + 30)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    drawn(page)
    boxes = []
    for panel in range(4):
        outer, inner = (page.locator(f'#{name}-{panel}').bounding_box()
                        for name in ('stage', 'photo'))
        boxes.append([inner['x'] - outer['x'], inner['y'] - outer['y'],
                      inner['width'] - outer['width']])
    assert boxes[0][2] > 50
    for one in boxes[1:]:
        assert one == pytest.approx(boxes[0], abs=0.5)


def test_all_methods_of_an_object_in_one_step(page, folder):
    press(page, 'j', 'j')
    act(page, page.click, '#compare-methods')
    assert panels(page).count() == 3
    for panel, method in enumerate(['odam', 'backbone', 'd-rise']):
        close(page, maps(folder, method)[1], 0.012 + 4 / 255 * (panel == 2),
              panel)
    press(page, 'v')  # and back
    assert panels(page).count() == 1
    press(page, 'v', 'x')
    assert page.locator('.panel.active').get_attribute('id') == 'panel-1'
    press(page, '2')
    assert view(page)['mode'] == 'heat' and view(page)['2.mode'] == 'signed'


def test_the_readout_has_the_values_of_all_panels(page, folder):
    press(page, 'j', 'v')
    press(page, 'x')
    heatmaps = [maps(folder, method)[0] for method in ('odam', 'backbone')]
    place = box(page, 0, panel=1).bounding_box()
    page.mouse.move(place['x'] + place['width'] / 3,
                    place['y'] + place['height'] / 3)
    drawn(page)
    where, shown = page.text_content('#readout').split(': ')
    x, y = (int(one[2:]) for one in where.split(', '))
    for text, heatmap in zip(shown.split(' | '), heatmaps):
        assert float(text) == pytest.approx(float(heatmap[y, x]), abs=0.012)


def test_panels_of_one_photograph_after_another(page):
    press(page, 'j', 'v', 'n', 'n', 'j')
    assert view(page)['photo'] == '2'
    assert [view(page)[name] for name in (
        'method', '2.method', '3.method')] == ['odam', 'backbone', 'd-rise']
    assert all(overlay(page, panel).any() for panel in range(3))
    go(page, 'photo=0&object=1')  # a link of one panel
    assert panels(page).count() == 1 and view(page)['method'] == 'odam'


@pytest.mark.parametrize('width', [1300, 700])
def test_panels_have_the_same_size(page, width):
    resize(page, width, 900)
    use_panels(page, 4)
    press(page, 'j')
    sizes = [one.bounding_box() for one in page.locator('.stage').all()]
    for one in sizes[1:]:
        assert one['width'] == pytest.approx(sizes[0]['width'], abs=1)
        assert one['height'] == pytest.approx(sizes[0]['height'], abs=1)
    assert sizes[0]['height'] > 150


def test_nothing_moves_when_an_object_is_chosen(page):
    press(page, 'Escape')
    before = [page.locator(one).bounding_box()
              for one in ('#stage-0', '#caption', '#readout', '#controls')]
    click(page, 1)
    press(page, 'J', '3')
    assert before == [page.locator(one).bounding_box() for one in (
        '#stage-0', '#caption', '#readout', '#controls')]


def test_a_difference_against_all_others_in_a_second_panel(page, folder):
    press(page, 'j')
    use_panels(page, 2)
    press(page, 'x', '2')
    close_in_colour_of = overlay(page, 1)
    assert close_in_colour_of.any()
    activate(page, 0)
    press(page, '2')
    close_in_colour(page, difference_map(maps(folder, 'odam'))[0])
    assert (overlay(page, 0) == close_in_colour_of).all()

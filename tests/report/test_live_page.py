"""The page over a running detector, in a real browser."""
import base64
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import cv2
import pytest
from demo import demo_detector
from live_server import serving
from report_page import (
    AT_ZERO,
    HOSTILE,
    TOLERANCE,
    click,
    close,
    drawn,
    press,
    view,
)

from mmdet_diffmap import explain
from mmdet_diffmap.datasets import render_scene
from mmdet_diffmap.serve.uploads import Limits

#: All of them together take minutes.
pytestmark = pytest.mark.slow

DROP = '''([files, kind]) => {
  const transfer = new DataTransfer();
  for (const {name, text} of files) transfer.items.add(new File(
    [Uint8Array.from(atob(text), char => char.charCodeAt(0))], name));
  document.body.dispatchEvent(kind === 'drop' ?
    new DragEvent('drop', {dataTransfer: transfer, bubbles: true}) :
    new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true}));
}'''


@pytest.fixture(scope='module')
def live():
    with serving(Limits(upload=2_000_000, photos=8),
                 both=dict(type='ODAM', evidence='both')) as live:
        yield live


@contextmanager
def opened(chromium, live):
    """The open page; at the end it must not have asked for anything outside
    of its server, nor have run anything that is not its own."""
    page = chromium.new_page(viewport=dict(width=1300, height=800))
    errors, requests = [], []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(live.address)
    yield page
    assert not errors
    assert all(url.startswith((live.address, 'data:', 'blob:'))
               for url in requests)
    assert page.evaluate('document.hacked') is None
    page.close()


@pytest.fixture
def page(chromium, live):
    with opened(chromium, live) as page:
        yield page
    live.worker.stop()
    live.wait_until_idle()
    live.session.clear()


def scene(number, size=(230, 150)):
    return cv2.resize(render_scene(0, number).image, size)


def encoded(picture):
    return cv2.imencode('.png', picture)[1].tobytes()


def give(page, files, kind='drop'):
    """Drop, or paste, files by their names, and wait until all are done."""
    page.evaluate(DROP, [[
        dict(name=name, text=base64.b64encode(content).decode())
        for name, content in files.items()], kind])
    done(page)


def done(page):
    page.wait_for_selector('#jobs[aria-busy=false]', state='attached',
                           timeout=60_000)
    if not page.locator('body.empty').count():
        drawn(page)


def rows(page):
    """What the list of work says."""
    return page.locator('#jobs .state').all_text_contents()


def heatmaps(picture, method='odam', **options):
    return explain(demo_detector(), picture, method,
                   **options).pred_instances.heatmaps


@pytest.mark.parametrize('kind', ['drop', 'paste'])
def test_a_photograph_is_explained_and_objects_are_clicked(page, kind):
    assert page.text_content('#caption') == \
        'Drop photographs here, paste one, or add files'
    assert page.is_disabled('#again') and not page.is_visible('#objects')
    give(page, {HOSTILE: encoded(scene(2))}, kind)
    maps = heatmaps(scene(2))
    assert page.locator('#boxes-0 [data-object]').count() == len(maps) >= 3
    (said, ) = rows(page)
    assert said.startswith(f'{len(maps)} objects above 0.3 by odam, in ')
    assert HOSTILE in page.text_content('#gallery')
    assert page.locator('main img[src=x]').count() == 0
    click(page, 1)
    assert view(page)['object'] == '1'
    close(page, maps[1])
    click(page, 0)
    close(page, maps[1] - maps[0], 2 * TOLERANCE)


def test_one_more_method_layer_and_another_threshold(page):
    give(page, {'a.png': encoded(scene(2))})
    click(page, 1)
    page.select_option('#ask-method', 'grad-cam')
    page.fill('#ask-layer', 'backbone.layer3')
    page.click('#again')
    done(page)
    # the object stays, and the new method is shown
    assert view(page)['object'] == '1'
    assert view(page)['method'] == 'grad-cam, backbone.layer3'
    assert page.locator('#method option').all_text_contents() == [
        'odam', 'grad-cam, backbone.layer3']
    close(page, heatmaps(scene(2), dict(
        type='GradCAM', target_layer='backbone.layer3'))[1])
    press(page, 'm')
    close(page, heatmaps(scene(2))[1])
    page.fill('#ask-layer', '')
    page.fill('#ask-score', '0.05')
    page.keyboard.press('Enter')
    done(page)
    maps = heatmaps(scene(2), 'grad-cam', score_thr=0.05)
    assert page.locator('#boxes-0 [data-object]').count() == len(maps)
    assert page.locator('#method option').all_text_contents() == ['grad-cam']
    page.locator('#objects tr').last.click()
    drawn(page)
    close(page, maps[-1])


def test_several_photographs_stay_also_in_a_page_opened_later(
        page, chromium, live):
    files = {f'{number}.png': encoded(scene(number)) for number in (2, 3, 17)}
    give(page, files)
    assert page.locator('#gallery span').all_text_contents() == list(files)
    assert view(page)['photo'] == '0'  # the first one is opened
    press(page, 'ArrowRight', 'j')
    close(page, heatmaps(scene(3))[0])
    give(page, {'new.png': encoded(scene(5))})
    assert view(page)['photo'] == '3'
    with opened(chromium, live) as other:
        assert other.locator('#photographs button').count() == 4
        other.locator('#photographs button').nth(2).click()
        press(other, 'j')
        close(other, heatmaps(scene(17))[0])
        # one that the first page does not know of
        give(other, {'other.png': encoded(scene(2))})
    give(page, {'last.png': encoded(scene(2))})
    page.locator('#photographs button').nth(5).wait_for()
    page.click('#clear')
    page.wait_for_selector('body.empty')
    assert page.locator('#photographs button').count() == 0
    assert not live.session.kept


def test_what_fails_is_said_and_the_rest_is_done(page):
    whole = encoded(scene(2))
    give(page, {
        'text.png': b'no image', 'half.png': whole[:len(whole) // 2],
        'large.png': bytes(2_000_001), 'good.png': whole})
    said = rows(page)
    assert len(said) == 4
    assert said[0].startswith('the file is no image of a known kind')
    assert 'half.png is damaged' in said[1]
    assert said[2] == ('the file has more than 2 MB, which is the most that '
                       'is taken')
    assert 'objects above 0.3 by odam' in said[3]
    assert page.locator('#photographs button').count() == 1
    page.fill('#ask-layer', 'neck.no')
    page.click('#again')
    done(page)
    assert "target layer 'neck.no' does not exist" in rows(page)[-1]
    for _ in range(4):
        page.locator('#jobs button').first.click()
    assert not rows(page)


def test_work_is_shown_and_can_be_stopped(page, live):
    give(page, {'a.png': encoded(scene(2))})
    page.select_option('#ask-method', 'd-rise')
    assert page.is_disabled('#ask-layer')
    page.click('#again')
    page.locator('#jobs', has_text=re.compile(
        r'explained by d-rise\d+ s, \d+ %')).wait_for()
    assert page.locator('#jobs progress').count() == 1
    page.select_option('#ask-method', 'odam')
    page.evaluate(DROP, [[dict(name='b.png', text=base64.b64encode(
        encoded(scene(3))).decode())], 'drop'])
    assert rows(page)[1] == 'waits; 1 before it'
    page.locator('#jobs button').first.click()
    done(page)
    assert len(rows(page)) == 1 and 'by odam' in rows(page)[0]
    assert page.locator('#photographs button').count() == 2
    live.wait_until_idle()


def test_both_sides_of_a_photograph(page):
    """Everything that the report shows is here, also its keys."""
    page.select_option('#ask-method', 'both')
    give(page, {'a.png': encoded(scene(2))})
    press(page, 'j', '1', '4')
    assert view(page)['mode'] == 'evidence'
    signed = explain(demo_detector(), scene(2), dict(
        type='ODAM', evidence='both')).pred_instances.evidence_maps[0]
    close(page, signed, 2 * AT_ZERO)  # each side may be off


def test_a_view_is_saved_as_a_picture(page):
    give(page, {'a.png': encoded(scene(2))})
    press(page, 'j')
    with page.expect_download() as download:
        page.click('#save-picture')
    assert cv2.imread(download.value.path()) is not None


def test_what_is_typed_is_no_key_of_the_page(page):
    give(page, {'a.png': encoded(scene(2)), 'b.png': encoded(scene(3))})
    page.focus('#ask-layer')
    page.keyboard.type('jnm5')
    assert page.input_value('#ask-layer') == 'jnm5'
    assert 'object' not in view(page) and view(page)['photo'] == '0'


def test_only_the_pages_own_script_runs(page, live):
    give(page, {'a.png': encoded(scene(2))})
    page.evaluate('''() => {
        document.body.append(Object.assign(document.createElement('script'),
            {textContent: 'document.hacked = 1'}));
        document.body.insertAdjacentHTML('beforeend',
            '<img src="data:," onerror="document.hacked = 1">');
    }''')
    page.wait_for_timeout(100)
    assert page.evaluate('''async address => {
        try { await fetch(address, {mode: 'no-cors'}); } catch { return true; }
    }''', live.address.replace('127.0.0.1', 'localhost'))


class ForeignPage(BaseHTTPRequestHandler):
    """An empty page of another site."""

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def foreign_page(chromium):
    """An open page of another site."""
    site = HTTPServer(('127.0.0.1', 0), ForeignPage)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    page = chromium.new_page()
    page.goto(f'http://127.0.0.1:{site.server_port}/')
    yield page
    page.close()
    site.shutdown()
    thread.join()
    site.server_close()


def test_a_page_of_another_site_can_do_nothing(foreign_page, live):
    """Not even one that has got hold of the address."""
    failures = []
    foreign_page.on('requestfailed',
                    lambda request: failures.append(request.failure))
    text = base64.b64encode(encoded(scene(2))).decode()
    query = 'photographs?method=odam&layer=&score_thr=0.3&name=a'
    assert foreign_page.evaluate('''async ([address, text]) => {
        const body = new Blob([Uint8Array.from(atob(text),
            char => char.charCodeAt(0))]);
        for (const mode of ['no-cors', 'cors']) try {
            await fetch(address, {method: 'POST', mode, body});
            return 'answered';
        } catch {}
    }''', [live.address + query, text]) is None
    # the server answered, and the browser kept the answer to itself
    assert 'BLOCKED_BY_RESPONSE' in failures[0] and len(failures) == 2
    assert not live.session.kept and not live.worker.line
    foreign_page.evaluate('''address => document.body.append(Object.assign(
        document.createElement('iframe'), {src: address}))''', live.address)
    foreign_page.wait_for_timeout(300)
    assert 'photograph' not in foreign_page.frames[-1].content()

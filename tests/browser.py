"""A headless Chromium, in which pages are tried."""
import shutil
from contextlib import contextmanager

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
# the last keep it from looking for a network
ARGUMENTS = ('--no-sandbox', '--disable-gpu', '--disable-quic',
             '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync')


@contextmanager
def browser():
    """Opens pages; skips where there is no browser to do so."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f'no browser: {", ".join(NAMES)} are not installed')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium, path, address='', **options):
    """The open page; at the end it must not have complained, nor asked for
    anything outside of its file."""
    page = chromium.new_page(**{
        'viewport': dict(width=1300, height=800), **options})
    complaints, requests = [], []
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(path.as_uri() + address)
    drawn(page)
    yield page
    assert not complaints
    assert not [url for url in requests if not url.startswith(
        (path.as_uri(), 'data:', 'blob:'))]
    assert page.evaluate('document.hacked') is None
    page.close()


def drawn(page):
    """Wait until all is drawn that was asked for."""
    page.wait_for_selector('[aria-busy=false]')


def act(page, action, *arguments):
    """Do something, and wait until it is drawn."""
    action(*arguments)
    drawn(page)


def press(page, *keys):
    for key in keys:
        act(page, page.keyboard.press, key)


def focused(page, what='id'):
    """A property of what has the focus."""
    return page.evaluate('what => document.activeElement[what]', what)


def resize(page, width, height):
    """Give the page's window a size, and wait until the page has answered: a
    browser tells of it with the next frame."""
    page.set_viewport_size(dict(width=width, height=height))
    page.wait_for_function('width => innerWidth === width', arg=width)
    page.evaluate('() => new Promise(done => requestAnimationFrame('
                  '() => requestAnimationFrame(done)))')

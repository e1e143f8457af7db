"""A headless Chromium, in which pages are tried."""
import shutil
from contextlib import contextmanager

import pytest

# the first is the same browser without windows, and opens a page in a third of
# the time
NAMES = ('chromium-headless-shell', 'chromium', 'chromium-browser',
         'google-chrome')
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


def focused(page, name='id'):
    """A property of what has the focus."""
    return page.evaluate('name => document.activeElement[name]', name)


def resize(page, width, height):
    """Give the page's window a size, and wait until the page has answered: a
    browser tells of it with the next frame."""
    page.set_viewport_size(dict(width=width, height=height))
    page.wait_for_function('width => innerWidth === width', arg=width)
    page.evaluate('() => new Promise(done => requestAnimationFrame('
                  '() => requestAnimationFrame(done)))')

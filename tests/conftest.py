from pathlib import Path

import pytest
from browser import browser

import mmdet_diffmap  # noqa: F401, before the tests import mmdet

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / 'shared/real'


@pytest.fixture
def real() -> Path:
    """Return the folder of real photographs and a detector trained on
    COCO."""
    if not REAL.is_dir():
        pytest.skip(f'{REAL} with real photographs is missing')
    return REAL


@pytest.fixture(scope='session')
def chromium():
    """One browser for all tests of a process, which has room for no more."""
    with browser() as chromium:
        yield chromium

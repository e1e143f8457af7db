from pathlib import Path

import pytest

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

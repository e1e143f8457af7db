import sys
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


@pytest.fixture
def module_folder(tmp_path, monkeypatch) -> Path:
    """A folder from which modules are imported; nothing that they register
    is left, nor they themselves."""
    from mmdet.registry import MODELS, TRANSFORMS

    from mmdet_diffmap.registry import EXPLAINERS
    monkeypatch.syspath_prepend(tmp_path)
    for registry in EXPLAINERS, MODELS, TRANSFORMS:
        monkeypatch.setattr(registry, '_module_dict',
                            dict(registry.module_dict))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, '__file__', None) or '/').is_relative_to(
                tmp_path):
            del sys.modules[name]

"""The examples in docstrings run, and give what they say."""
import doctest
import importlib

import pytest
from demo import ROOT
from reader import prepare

MODULES = [
    '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in sorted((ROOT / 'mmdet_diffmap').rglob('*.py'))
    if '.mim' not in path.parts and '>>> ' in path.read_text()
]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name, tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        importlib.import_module(name),
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_what_users_call_first_has_an_example():
    import mmdet_diffmap
    for name in mmdet_diffmap.__all__:
        if name != '__version__':
            assert '>>> ' in getattr(mmdet_diffmap, name).__doc__, name

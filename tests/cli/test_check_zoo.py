"""The check of mmdet's model zoo, as a user starts it."""
import json

import pytest
from demo import ROOT
from programs import run

MARKS = '\n'.join(
    f'<!-- table {name} -->\nto be replaced\n<!-- end -->'
    for name in ('count', 'families', 'excluded'))


def check(folder, *arguments, expect=0):
    return run(ROOT / 'tools/check_zoo.py', *arguments, '--work-dir', 'w',
               cwd=folder, expect=expect)


@pytest.mark.slow
def test_results_are_kept_and_a_page_gets_its_tables(tmp_path):
    (tmp_path / 'page.md').write_text(f'before\n{MARKS}\nafter\n')
    broken = tmp_path / 'broken.py'
    broken.write_text("model = dict(type='Nothing')\n")
    check(tmp_path, 'rtmdet')
    again = check(tmp_path, 'rtmdet', broken, '--resume', '--update',
                  'page.md', expect=1)
    assert '[1/1]' in again.stdout and 'rtmdet:' not in again.stdout
    assert '1 of 2 families work' in again.stdout
    first, second = json.loads(
        (tmp_path / 'w/results.json').read_text())['configs']
    assert (first['status'], first['strategy']) == ('works', 'window')
    assert second['status'] == 'fails'
    page = (tmp_path / 'page.md').read_text()
    assert page.startswith('before\n') and page.endswith('after\n')
    assert 'to be replaced' not in page
    assert '| rtmdet | rtmdet_tiny_8xb32-300e_coco | works | window |' in page
    assert '| reid | tells persons apart and finds none |' in page
    refused = check(tmp_path, 'rtmdet', expect=1)
    assert 'holds an earlier run: go on with it (--resume)' in refused.stderr


def test_another_package(tmp_path, monkeypatch):
    """Its tables have names of their own on a page."""
    zoo = tmp_path / 'other_zoo'
    (zoo / '.mim/configs/broken').mkdir(parents=True)
    (zoo / '.mim/configs/broken/nothing.py').write_text(
        "model = dict(type='Nothing')\n")
    (zoo / '__init__.py').touch()
    (tmp_path / 'page.md').write_text(MARKS.replace('table ',
                                                    'table other_zoo '))
    monkeypatch.syspath_prepend(tmp_path)
    result = check(tmp_path, '--package', 'other_zoo', '--page', 'page.md',
                   expect=1)
    assert '0 of 1 families work' in result.stdout
    page = (tmp_path / 'page.md').read_text()
    assert '| broken | nothing | fails |' in page
    assert '| _base_ | holds parts of configs only |' in page
    refused = check(tmp_path, '--package', 'nobody', expect=1)
    assert refused.stderr == 'error: nobody is no installed package\n'


def test_wrong_arguments_are_one_line(tmp_path):
    (tmp_path / 'page.md').write_text('nothing here')
    for arguments, message in (
        (['reid'], 'reid is left out: it tells persons apart'),
        (['nothing'], 'nothing is no config file, and no folder of mmdet'),
        (['fcos', '--update', 'page.md'], 'no place for the table count')):
        result = check(tmp_path, *arguments, expect=1)
        assert message in result.stderr
        assert result.stderr.count('\n') == 1
    assert not (tmp_path / 'w').exists()
    for option in '--jobs', '--time-limit':
        result = check(tmp_path, 'fcos', option, 0, expect=2)
        assert f'argument {option}: 0 is not a' in result.stderr
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w/results.json').write_text('{')
    result = check(tmp_path, 'fcos', '--resume', expect=1)
    assert 'results.json cannot be read' in result.stderr

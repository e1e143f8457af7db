"""The pages of the documentation."""
import re
import subprocess
import sys

import pytest
from demo import ROOT
from reader import blocks, given

PAGES = ['README.md', *(f'docs/{one.name}'
                        for one in sorted(ROOT.glob('docs/*.md')))]
#: Those whose commands take minutes, and those that are tried elsewhere.
MEASURED = ('README.md', 'docs/benchmark.md', 'docs/methods.md',
            'docs/benchmark-figures.md', 'docs/scale.md', 'docs/speed.md',
            'docs/scenes.md', 'docs/zoo.md')
FOLLOWED = [page for page in PAGES if page not in MEASURED and any(
    language in ('bash', 'python')
    for language, _ in blocks((ROOT / page).read_text()))]


@pytest.mark.slow
@pytest.mark.parametrize('page', FOLLOWED)
def test_every_command_and_all_python_of_a_page(page, tmp_path):
    given(tmp_path)
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', ROOT / 'tests/reader.py',
         ROOT / page], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_pages_are_followed():
    assert {'docs/tour.md', 'docs/concepts.md', 'docs/adding-a-method.md'} <= \
        set(FOLLOWED)


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / page).read_text()):
        if not target.startswith('http'):
            assert (ROOT / page).parent.joinpath(target).exists(), target

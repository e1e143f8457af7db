"""The pages of the documentation."""
import ast
import re

import pytest
from demo import ROOT
from reader import blocks, follow, prepare

PAGES = ['README.md', *(f'docs/{path.name}'
                        for path in sorted(ROOT.glob('docs/*.md')))]
#: Those whose commands take minutes, and those that are tried elsewhere.
MEASURED = ('README.md', 'docs/benchmark.md', 'docs/methods.md',
            'docs/benchmark-figures.md', 'docs/scale.md', 'docs/speed.md',
            'docs/scenes.md', 'docs/zoo.md', 'docs/usage.md')
FOLLOWED = [page for page in PAGES if page not in MEASURED and any(
    language in ('bash', 'python')
    for language, _ in blocks((ROOT / page).read_text()))]


@pytest.fixture
def folder(module_folder, monkeypatch):
    """Stand in a folder as a reader would."""
    prepare(module_folder)
    monkeypatch.chdir(module_folder)
    return module_folder


@pytest.mark.slow
@pytest.mark.parametrize('page', FOLLOWED)
def test_every_command_and_all_python_of_a_page(page, folder):
    follow((ROOT / page).read_text())


def test_pages_are_followed():
    assert {'docs/tour.md', 'docs/concepts.md', 'docs/adding-a-method.md'} <= \
        set(FOLLOWED)


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / page).read_text()):
        if not target.startswith('http'):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def messages():
    """Yield each text of the package's code, with … for what is filled in."""
    for path in (ROOT / 'mmdet_diffmap').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield ''.join(part.value if isinstance(part, ast.Constant)
                              else '…' for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(
                    node.value, str):
                yield node.value


def test_messages_that_the_answers_quote_are_those_of_the_code():
    page = re.sub('```.*?```', '', (ROOT / 'docs/faq.md').read_text(),
                  flags=re.S)
    quotes = [quote for quote in re.findall('`([^`]+)`', page)
              if quote.count(' ') > 2 and
              not quote.startswith(('-', 'mmdet', 'CUDA'))]
    assert len(quotes) > 10
    texts = list(messages())
    for quote in quotes:
        parts = re.sub(r'(float)?[\d.]*\d', '…', ' '.join(quote.split()))
        assert any(all(part.strip() in text for part in parts.split('…'))
                   for text in texts), quote

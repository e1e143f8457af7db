import csv
import io
import re
import shutil
import subprocess

import pytest

from mmdet_diffmap.io.tables import (
    BOLD,
    UNDERLINED,
    Name,
    Number,
    Table,
    csv_text,
    latex_text,
    write_tables,
)

#: All that LaTeX reads as something else.
ODD = r'a_b & 50 % #1 {x} ~y^2 $3 \z <|>'


@pytest.fixture
def tables():
    rows = [
        [Name('my_map', 'My map & mine', dict(method=ODD, against='')),
         Number(1 / 3, 2, (-.125, .5), BOLD), Number(2, published=3.)],
        [Name('other', keys=dict(method='other', against='')),
         Number(-2 / 3, 2, (None, None), UNDERLINED), Number(None)]]
    second = [[Name('other', keys=dict(method='other', against='')),
               Number(.25, 1, (.1, .9), half_width=True)],
              [Name('a - b', keys=dict(method='a', against='b')),
               Number(-.01, 1, (-1., .96), signed=True)]]
    return [Table('First, 95 %', ['map', Name('x_y ↑'), 'n'], rows,
                  ['x', 'n']),
            Table('Second', ['map', 'z'], second, ['z']),
            Table('Not in CSV', ['map', 'text'], [['p|q', 'r_s']])]


def test_markdown(tables):
    first, second, third = (table.markdown() for table in tables)
    assert first == ('## First, 95 %\n\n| map | x_y ↑ | n |\n'
                     '| --- | --- | --- |\n'
                     '| my_map | **0.33** (-0.12 – 0.50) | 2, published 3 |\n'
                     '| other | <u>-0.67</u> | - |\n')
    assert '| other | 0.2 ± 0.4 |' in second
    assert '| a - b | 0.0 (-1.0 – +1.0) |' in second  # zero has no sign
    assert '| p\\|q | r_s |' in third


def test_csv_is_read_back_in_full_precision(tables):
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert [(row['method'], row['against']) for row in rows] == [
        (ODD, ''), ('other', ''), ('a', 'b')]
    first, other, pair = rows
    assert float(first['x']) == 1 / 3
    assert (float(first['x_low']), float(first['x_high'])) == (-.125, .5)
    assert (first['n'], first['n_published']) == ('2', '3.0')
    # a row of two tables is one, and what has no value is empty
    assert (float(other['x']), other['x_low'], other['n']) == (-2 / 3, '', '')
    assert [float(other[name]) for name in ('z', 'z_low', 'z_high')] == [
        .25, .1, .9]
    assert pair['x'] == '' and float(pair['z']) == -.01


def test_a_row_without_keys_is_an_error(tables):
    with pytest.raises(TypeError, match='row p of the table T has no keys'):
        csv_text([Table('T', ['map', 'n'], [['p', Number(1)]], ['n'])])


def braces(text):
    """Count open braces at the end of a text, escaped ones left out."""
    text = re.sub(r'\\[{}]', '', text)
    return text.count('{') - text.count('}')


def test_latex(tables):
    page = tables[0].latex('A note.')
    assert braces(page) == 0
    assert [page.count(word) for word in (
        r'\toprule', r'\midrule', r'\bottomrule', r'\end{tabular}')] == [1] * 4
    assert r'\begin{tabular}{lrr}' in page
    assert r'\caption{First, 95 \%. A note.}' in page
    head, *rows = re.findall(r'^(.*) \\\\$', page, flags=re.M)
    assert head == r'map & x\_y $\uparrow$ & n'
    assert rows == [
        r'My map \& mine & \textbf{0.33} {\scriptsize ($-$0.12--0.50)} & '
        r'2, published 3', r'other & \underline{$-$0.67} & -']
    assert r'{\scriptsize $\pm$ 0.4}' in tables[1].latex()


def test_nothing_of_a_text_is_read_as_a_command():
    text = latex_text(ODD)
    assert braces(text) == 0
    # what is left when all escapes are taken away is plain
    plain = re.sub(r'\\text[a-z]+\{\}|\\[%&#_{}$]|\$[<>|]\$', '', text)
    assert not set(plain) & set('\\{}$&#^_%~')


def test_three_files(tables, tmp_path):
    write_tables(tmp_path / 'new', tables, 'Of 3 images.')
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == [
        'table.csv', 'table.md', 'table.tex']
    page = (tmp_path / 'new/table.md').read_text()
    assert page.startswith('Of 3 images.\n\n## First') and \
        page.count('## ') == 3
    latex = (tmp_path / 'new/table.tex').read_text()
    assert latex.count(r'\begin{table*}') == 3 == latex.count('Of 3 images.')
    assert (tmp_path / 'new/table.csv').read_text() == csv_text(tables)


@pytest.mark.skipif(not shutil.which('pdflatex'), reason='needs pdflatex')
def test_latex_is_compiled(tables, tmp_path):
    write_tables(tmp_path, tables, ODD)
    (tmp_path / 'paper.tex').write_text(
        '\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n'
        '\\input{table}\n\\end{document}\n')
    subprocess.run(['pdflatex', '-halt-on-error', 'paper'], cwd=tmp_path,
                   check=True, capture_output=True)
    assert (tmp_path / 'paper.pdf').is_file()

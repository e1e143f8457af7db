import csv
import io

import pytest

from mmdet_diffmap.evaluation.intervals import Estimate
from mmdet_diffmap.evaluation.measured_image import CURVES
from mmdet_diffmap.evaluation.summary import (
    Figures,
    MethodFigures,
    Pair,
    RunRecord,
)
from mmdet_diffmap.evaluation.tables import (
    DEL_INS,
    emphasis,
    note,
    result_rows,
    tables,
)
from mmdet_diffmap.io.tables import BOLD, UNDERLINED, Number, Table, csv_text


def figures_of(*methods, differences=None):
    """Return figures of methods, each with one estimate of all quantities."""
    return Figures(
        2, 5, 1, {
            name: MethodFigures(dict.fromkeys(CURVES, estimate))
            for name, estimate in methods}, {
                Pair(*pair): dict.fromkeys(CURVES, estimate)
                for pair, estimate in (differences or {}).items()})


FIGURES = figures_of(
    ('x', Estimate(60, 55, 65.125)), ('y', Estimate(70, 68, 72)),
    ('z', Estimate(60.001, 50, 70)), ('gone', Estimate(None, None, None)),
    differences={('y', 'x'): Estimate(10, 4, 16),
                 ('z', 'x'): Estimate(0.001, -5, 5)})


@pytest.mark.parametrize('values, more_is_better, marks', [
    ([3, 1, 2], True, [BOLD, '', UNDERLINED]),
    ([3, 1, 2], False, ['', BOLD, UNDERLINED]),
    ([3, 1, 2], None, ['', '', '']),
    ([1.001, 1.004, 2], False, [BOLD, BOLD, UNDERLINED]),  # equal in print
    ([None, 5], True, ['', BOLD]),
    ([None, None], True, ['', '']),
])
def test_emphasis(values, more_is_better, marks):
    assert emphasis(values, more_is_better, 2) == marks


def test_rows_of_methods():
    published = {'y': dict(insertion=dict(target=71.5))}
    x, y, z, gone = Table('', [''] * 5, result_rows(
        FIGURES.methods, published, DEL_INS)).texts()[2]
    # deletion of the target and insertion of others: less is better
    assert x == ['x', '**60.00** (55.00 – 65.12)',
                 '<u>60.00</u> (55.00 – 65.12)',
                 '<u>60.00</u> (55.00 – 65.12)', '**60.00** (55.00 – 65.12)']
    assert y[2] == '**70.00** (68.00 – 72.00), published 71.50'
    assert y[1] == '<u>70.00</u> (68.00 – 72.00)'
    assert z[1].startswith('**60.00**') and gone == ['gone', *'----']


def test_a_difference_is_bold_where_its_interval_leaves_out_zero():
    (_, _, rows), (title, head, differences) = (
        table.texts() for table in tables(RunRecord({}, {}, {}, FIGURES)))
    assert len(rows) == 4 and title.endswith(': differences')
    assert head == ['pair', *DEL_INS.head]
    assert differences == [['y - x'] + ['**+10.00** (+4.00 – +16.00)'] * 4,
                           ['z - x'] + ['0.00 (-5.00 – +5.00)'] * 4]


def test_what_was_not_measured_has_no_table():
    figures = Figures(1, 2, 0, {'x': MethodFigures()}, {})
    assert tables(RunRecord({}, {}, {}, figures)) == []


def test_csv_has_a_row_for_each_method_and_pair():
    text = csv_text(tables(RunRecord({}, {}, {}, FIGURES)))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row['explainer'], row['against']) for row in rows] == [
        ('x', ''), ('y', ''), ('z', ''), ('gone', ''), ('y', 'x'), ('z', 'x')]
    assert rows[0].keys() == {'explainer', 'against', *(
        f'{"_".join(quantity)}{end}' for quantity in CURVES
        for end in ('', '_low', '_high'))}
    assert [float(rows[0][f'insertion_others{end}'])
            for end in ('', '_low', '_high')] == [60, 55, 65.125]
    assert rows[3]['deletion_target'] == rows[3]['deletion_others_low'] == ''


def test_papers_have_the_names_of_papers():
    figures = figures_of(('odam', Estimate(1, 0, 2)),
                         ('odam-diff', Estimate(3, 2, 4)),
                         differences={('odam-diff', 'odam'):
                                      Estimate(2, 1, 3)})
    result, differences = tables(RunRecord({}, {}, {}, figures))
    assert '\nODAM + Diff & ' in result.latex()
    assert '\nODAM + Diff $-$ ODAM & \\textbf{$+$2.00}' in \
        differences.latex()
    assert '| odam-diff |' in result.markdown()


def test_the_note_counts():
    assert note(RunRecord({}, {}, {}, FIGURES)).startswith(
        '5 objects on 2 images; the best value')


def test_zero_has_no_sign():
    assert [Number(value, 1, signed=True).markdown()
            for value in (0.04, -0.04, 0.06, -1)] == [
        '0.0', '0.0', '+0.1', '-1.0']

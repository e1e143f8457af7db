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
    markdown_tables,
    result_rows,
    signed,
    tables,
)


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
    ([3, 1, 2], True, ['**', '', 'u']),
    ([3, 1, 2], False, ['', '**', 'u']),
    ([3, 1, 2], None, ['', '', '']),
    ([1.001, 1.004, 2], False, ['**', '**', 'u']),  # equal in print
    ([None, 5], True, ['', '**']),
    ([None, None], True, ['', '']),
])
def test_emphasis(values, more_is_better, marks):
    assert emphasis(values, more_is_better, 2) == marks


def test_rows_of_methods():
    published = {'y': dict(insertion=dict(target=71.5))}
    x, y, z, gone = result_rows(FIGURES.methods, published, DEL_INS)
    # deletion of the target and insertion of others: less is better
    assert x == ['x', '**60.00** (55.00 – 65.12)',
                 '<u>60.00</u> (55.00 – 65.12)',
                 '<u>60.00</u> (55.00 – 65.12)', '**60.00** (55.00 – 65.12)']
    assert y[2] == '**70.00** (68.00 – 72.00), published 71.50'
    assert y[1] == '<u>70.00</u> (68.00 – 72.00)'
    assert z[1].startswith('**60.00**') and gone == ['gone', *'----']


def test_a_difference_is_bold_where_its_interval_leaves_out_zero():
    (_, _, rows), (title, head, differences) = tables(
        RunRecord({}, {}, {}, FIGURES))
    assert len(rows) == 4 and title.endswith(': differences')
    assert head == ['pair', *DEL_INS.head]
    assert differences == [['y - x'] + ['**+10.00** (+4.00 – +16.00)'] * 4,
                           ['z - x'] + ['0.00 (-5.00 – +5.00)'] * 4]


def test_what_was_not_measured_has_no_table():
    figures = Figures(1, 2, 0, {'x': MethodFigures()}, {})
    assert tables(RunRecord({}, {}, {}, figures)) == []


def test_the_page():
    page = markdown_tables(RunRecord({}, {}, {}, FIGURES))
    assert page.startswith('5 objects on 2 images; the best value')
    assert page.count('## ') == 2 and '| y - x | **+10.00**' in page


def test_zero_has_no_sign():
    assert [signed(value, 1) for value in (0.04, -0.04, 0.06, -1)] == [
        '0.0', '0.0', '+0.1', '-1.0']

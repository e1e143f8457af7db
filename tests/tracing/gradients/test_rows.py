import pytest
import torch

from mmdet_diffmap.tracing.gradients.rows import batches, few_rows


@pytest.mark.parametrize('rows', [0, 1, 7, 100, 333])
@pytest.mark.parametrize('columns', [1, 5, 40])
def test_rows_are_those_of_a_loop(rows, columns):
    """Wherever in a row, and however few of its columns, are not zero."""
    generator = torch.Generator().manual_seed(rows * columns)
    for count in range(rows // 4 + 1):
        cotangent = torch.zeros(rows, columns)
        for row in torch.randperm(rows, generator=generator)[:count]:
            column = torch.randint(columns, (1, ), generator=generator)
            cotangent[row, column] = -1e-30
        expected = [row for row in range(rows)
                    if any(value != 0 for value in cotangent[row].tolist())]
        assert len(expected) == count
        assert few_rows(cotangent).tolist() == expected


def test_many_rows_are_no_few():
    for count in (26, 60, 100):
        cotangent = torch.zeros(100, 3)
        cotangent[:count, 2] = 1
        assert few_rows(cotangent) is None


def test_what_is_not_a_number_is_not_zero():
    cotangent = torch.zeros(9, 3)
    cotangent[4, 1] = float('nan')
    assert few_rows(cotangent).tolist() == [4]


def test_nobody_looks_into_a_batch():
    with batches():
        assert few_rows(torch.zeros(9, 3)) is None
    assert few_rows(torch.zeros(9, 3)).tolist() == []


def test_no_device_is_waited_for():
    assert few_rows(torch.zeros(9, 3, device='meta')) is None

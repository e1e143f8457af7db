# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""Products with sparse matrices that have the same number of entries in each
row, on a CPU: what samples at any places are made of."""
import warnings

import torch
from scipy.sparse import csr_matrix
from torch import Tensor


def has_sparse_products(values: Tensor) -> bool:
    """Whether torch has these products for some values."""
    return torch.backends.mkl.is_available() and \
        values.device.type == 'cpu' and \
        values.dtype in (torch.float32, torch.float64)


def matrix(columns: Tensor, values: Tensor, width: int) -> Tensor:
    """Return a matrix, shape (rows, width).

    Args:
        columns (Tensor): Of the entries of each row, integers, shape (rows,
            k); entries at one place are added.
        values (Tensor): Of the entries, shape (rows, k).
        width (int): The number of columns.
    """
    rows, count = columns.shape
    return by_rows(torch.arange(rows + 1) * count, columns.flatten(),
                   values.flatten(), (rows, width))


def transposed(columns: Tensor, values: Tensor, width: int) -> Tensor:
    """Return the same as :func:`matrix`, transposed, shape (width, rows).

    >>> transposed(torch.tensor([[0, 2]]), torch.tensor([[3., 4.]]),
    ...            3).to_dense().tolist()
    [[3.0], [0.0], [4.0]]
    """
    rows, count = columns.shape
    by_columns = csr_matrix(
        (values.detach().flatten().numpy(), columns.flatten().numpy(),
         (torch.arange(rows + 1) * count).numpy()), (rows, width)).tocsc()
    starts, numbers, sorted_values = map(torch.from_numpy, (
        by_columns.indptr, by_columns.indices, by_columns.data))
    return by_rows(starts, numbers, sorted_values, (width, rows))


def products_at(columns: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Compute the entries of ``left @ right.T`` at some places.

    Args:
        columns (Tensor): The columns wanted of each row, integers, shape
            (rows, k).
        left (Tensor): Shape (rows, C).
        right (Tensor): Shape (columns, C).

    Returns:
        Tensor: Shape (rows, k).

    >>> products_at(torch.tensor([[0, 0, 0]]), torch.tensor([[2.]]),
    ...             torch.tensor([[3.]])).tolist()  # one cell, three times
    [[6.0, 6.0, 6.0]]
    """
    if len(right) < columns.shape[1]:  # more entries than places: not sparse
        return (left @ right.T).gather(1, columns.long())
    places = matrix(columns, left.new_zeros(columns.shape), len(right))
    return torch.sparse.sampled_addmm(
        places, left, right.T, beta=0).values().view(columns.shape)


def by_rows(starts: Tensor, columns: Tensor, values: Tensor,
            shape: tuple[int, int]) -> Tensor:
    """Return a matrix by the entries of its rows, which begin at
    ``starts``."""
    if max(len(values), *shape) < 2**31:  # else MKL makes a copy at each use
        starts, columns = starts.int(), columns.int()
    with warnings.catch_warnings():  # that torch's interface may change
        warnings.simplefilter('ignore', UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, shape)

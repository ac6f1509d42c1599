"""Sparse tables: rows become dense when they are read, a block or a training step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.readers import table_shape
from skdgm.sources import Batch, Source, Subset, at


class SparseReader:
    """Rows of a sparse matrix in memory; cells that are not stored are 0.

    Parameters
    ----------
    matrix : csr_array or csr_matrix of shape (n_rows, n_columns)
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.shape, self.dtype = matrix, table_shape(matrix), matrix.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Make the rows at ``indices`` dense."""
        rows: np.ndarray = self.matrix[indices].toarray()
        return rows


class SparseSource:
    """Rows of a sparse matrix on the device, made dense for each step.

    Parameters
    ----------
    starts : Tensor of int of shape (n_rows + 1,)
        Where the cells of each row begin, and where those of the last row end.
    columns : Tensor of int32 of shape (n_stored,)
        Column of each stored cell, once per row.
    values : Tensor of shape (n_stored,)
        NaN marks a missing cell.
    n_columns : int
    y, weight : Tensor of shape (n_rows,), default=None
    """

    def __init__(
        self,
        starts: Tensor,
        columns: Tensor,
        values: Tensor,
        n_columns: int,
        y: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        self.n_rows, self.n_columns, self.y, self.weight = len(starts) - 1, n_columns, y, weight
        self.starts, self.lengths = starts[:-1], starts.diff()
        # one more cell, to which those of rows with fewer cells than others point
        self.columns, self.values = torch.cat([columns, columns.new_zeros(1)]), torch.cat([values, values.new_zeros(1)])
        self.places = torch.arange(int(self.lengths.max()), device=starts.device)
        self.misses_cells = bool(values.isnan().any())

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Make the rows dense, without waiting for the device: each gets as many cells as the longest."""
        is_cell = self.places < self.lengths[indices][:, None]
        cells = torch.where(is_cell, self.starts[indices][:, None] + self.places, len(self.values) - 1)
        columns, values = self.columns[cells].long(), self.values[cells]
        observed = None
        if self.misses_cells:
            missing = values.isnan()
            observed = self.dense(columns, missing.to(values.dtype)) == 0
            values = values.masked_fill(missing, 0)
        return Batch(self.dense(columns, values), observed, at(self.y, indices), at(self.weight, indices))

    def dense(self, columns: Tensor, values: Tensor) -> Tensor:
        """Rows with these values in these columns, and 0 elsewhere; a 0 for a column changes nothing."""
        return values.new_zeros(len(values), self.n_columns).scatter_add_(1, columns, values)

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random permutation."""
        n_rows = self.n_rows if indices is None else len(indices)
        return torch.randperm(n_rows, generator=rng, device=self.values.device)

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows, without a copy."""
        return Subset(self, indices)

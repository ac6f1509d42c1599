"""Tables that are not in memory as dense arrays: memmaps and other files larger than memory, and sparse matrices.

They become lazy ``Rows``, which are read block by block. A ``Stream`` holds what ``fit`` needs to know of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skdgm.estimators._arrays import CHUNK
from skdgm.readers import RowReader, Rows, as_reader

# Tables that take more float32 bytes than this stay where they are and are read in blocks.
RESIDENT_BYTES = 4 << 30
# Bytes of the blocks in which a stream is read, and of the rows from which columns are described, at most so many rows.
BLOCK_BYTES, LOOK_BYTES, MAX_ROWS = 8 << 20, 64 << 20, 20_000
# Likelihoods that hold zeros and do not move them.
OF_SPARSE = ("bernoulli", "poisson", "negative_binomial", "multinomial", "zero_inflated_lognormal")

Table = np.ndarray | Rows


def fits_in_memory(shape: tuple[int, ...]) -> bool:
    """Tell whether a table of this shape is small enough to be in memory."""
    return 4 * shape[0] * shape[1] <= RESIDENT_BYTES


def is_stream(X: Any) -> bool:
    """Tell whether X is sparse, or a table in a file that is not an array or too large to become one."""
    if issparse(X) or isinstance(X, Rows):
        return True
    reader = as_reader(X)
    if isinstance(X, np.ndarray):
        return reader is not None and reader.dtype.kind in "biuf" and not fits_in_memory(reader.shape)
    return reader is not None


def is_sparse(rows: Any) -> bool:
    """Tell whether rows are those of a sparse matrix."""
    return matrix_of(rows) is not None


def header_of(X: Any) -> Any:
    """Return what has the width and the column names of X: an empty frame for Parquet files, otherwise X itself."""
    table = X.reader if isinstance(X, Rows) else X
    schema = getattr(table, "schema", None)
    return schema.empty_table() if schema is not None and isinstance(table, RowReader) else X


def matrix_of(rows: Any) -> Any:
    """Return the sparse matrix of lazy rows, None for others."""
    return getattr(rows.reader, "matrix", None) if isinstance(rows, Rows) else None


def rows_of(X: Any) -> Any:
    """Make lazy rows, with a check for infinite cells, of a table in a file."""
    reader = as_reader(X)
    return X if reader is None else Rows(CheckedReader(reader))


class CheckedReader:
    """Reads rows as floats, and raises an error for infinite ones."""

    def __init__(self, reader: RowReader) -> None:
        if reader.dtype.kind not in "biuf":
            raise ValueError(f"X must hold numbers, got a table of {reader.dtype}. Convert it to float32.")
        self.reader, self.shape = reader, reader.shape
        self.dtype = np.dtype(np.float32 if reader.dtype == np.float32 else np.float64)
        self.chunk_rows = getattr(reader, "chunk_rows", 1)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the rows at ascending ``indices``."""
        rows = self.reader.read(indices).astype(self.dtype, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            is_suspect = not np.isfinite(rows.sum())  # faster than a mask: most blocks miss no cells
        infinite = np.isinf(rows) if is_suspect else None
        if infinite is not None and infinite.any():
            row, column = np.argwhere(infinite)[0]
            raise ValueError(
                f"Input X contains infinity or a value too large for {self.dtype!r}: column {column}, row "
                f"{indices[row]}. Correct this cell, or make it missing (NaN)."
            )
        return rows


def blocks(rows: Table) -> Iterator[tuple[int, np.ndarray]]:
    """Read rows block by block, with the position of each block's first row; an array is one block."""
    if isinstance(rows, np.ndarray):
        yield 0, rows
        return
    wanted = max(1, BLOCK_BYTES // (rows.dtype.itemsize * rows.shape[1]))
    wanted = wanted // CHUNK * CHUNK or wanted
    step = rows.chunk_rows * -(-wanted // rows.chunk_rows)
    for start in range(0, max(1, len(rows)), step):
        yield start, np.asarray(rows[start : start + step])


def in_blocks(function: Callable[[np.ndarray], np.ndarray], rows: Table) -> np.ndarray:
    """Apply a function of rows block by block."""
    parts = [function(block) for _, block in blocks(rows)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Extremes:
    """What the columns of a table hold: the smallest and largest value, a fraction, and missing cells.

    Attributes
    ----------
    low, high, fraction : ndarray of shape (n_columns,)
        NaN where there is none.
    misses_cells : ndarray of bool of shape (n_columns,)
    """

    def __init__(self, n_columns: int, dtype: Any) -> None:
        self.low, self.high, self.fraction = (np.full(n_columns, np.nan, dtype) for _ in range(3))
        self.misses_cells = np.zeros(n_columns, bool)

    def add(self, block: np.ndarray) -> None:
        """Add rows."""
        low, high = block.min(0), block.max(0)
        missing = np.isnan(low)
        if missing.any():
            self.misses_cells |= missing
            low, high = np.fmin.reduce(block, 0), np.fmax.reduce(block, 0)
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)
        whole = np.flatnonzero(np.isnan(self.fraction))
        if len(whole):
            cells = block[:, whole]
            is_fraction = (cells != np.rint(cells)) & ~np.isnan(cells)
            first = is_fraction.argmax(0), np.arange(len(whole))
            self.fraction[whole] = np.where(is_fraction[first], cells[first], np.nan)

    def add_sparse(self, matrix: Any) -> None:
        """Add the rows of a sparse matrix."""
        columns, values = matrix.indices, matrix.data
        zeros = np.where(np.bincount(columns, minlength=matrix.shape[1]) < matrix.shape[0], 0, np.nan)
        self.low, self.high = np.fmin(self.low, zeros), np.fmax(self.high, zeros)
        np.fmin.at(self.low, columns, values)
        np.fmax.at(self.high, columns, values)
        self.misses_cells[columns[np.isnan(values)]] = True
        is_fraction = (values != np.rint(values)) & ~np.isnan(values)
        self.fraction[columns[is_fraction]] = values[is_fraction]

    def merge(self, other: Extremes) -> None:
        """Add what other rows hold."""
        self.low, self.high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        self.fraction = np.where(np.isnan(self.fraction), other.fraction, self.fraction)
        self.misses_cells = self.misses_cells | other.misses_cells

    def rows(self) -> np.ndarray:
        """Rows that hold all of this, (4, n_columns)."""
        fraction = np.where(np.isnan(self.fraction), self.low, self.fraction)
        return np.stack([self.low, self.high, np.where(self.misses_cells, np.nan, self.low), fraction])


class Stream(Rows):
    """Training rows that are read in blocks, and some of them in memory, from which columns are described.

    Attributes
    ----------
    looked : ndarray of shape (n, n_columns)
        All rows, if they are few. Otherwise a random sample, and four rows that are none of the table's: they hold the
        smallest and the largest value of each column, a missing cell and a fraction if the column has any.
    sampled : ndarray of int
        Positions of the rows of the sample.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows.reader, rows.indices)
        n_rows, n_columns = self.shape
        n_sampled = min(n_rows, MAX_ROWS, max(1, LOOK_BYTES // (self.dtype.itemsize * n_columns)))
        self.sampled = np.sort(np.random.default_rng(0).choice(n_rows, n_sampled, replace=False))
        self.looked = np.asarray(rows) if n_sampled == n_rows else self._look()

    def _look(self) -> np.ndarray:
        """Read all rows once."""
        extremes = Extremes(self.shape[1], self.dtype)
        if is_sparse(self):
            extremes.add_sparse(matrix_of(self))
            return np.concatenate([np.asarray(self[self.sampled]), extremes.rows()])
        parts = []
        for start, block in blocks(self):
            extremes.add(block)
            first, last = np.searchsorted(self.sampled, [start, start + len(block)])
            parts.append(block[self.sampled[first:last] - start])
        return np.concatenate([*parts, extremes.rows()])

    def row_of(self, position: int, column: int) -> int:
        """Return the number of a row with a cell of ``looked``."""
        if position < len(self.sampled):
            return int(self.sampled[position])
        value = self.looked[position, column]
        return next(start + int(at[0]) for start, b in blocks(self) if len(at := np.flatnonzero(b[:, column] == value)))


def look(rows: Table) -> np.ndarray:
    """Return the rows from which columns are described: all rows of an array."""
    return rows.looked if isinstance(rows, Stream) else np.asarray(rows)


def row_of(rows: Table) -> Callable[[int, int], int]:
    """Return the function of position and column that gives the number of a row of ``look(rows)``."""
    return rows.row_of if isinstance(rows, Stream) else lambda position, column: position


def check_keeps_zeros(likelihoods: Sequence[str]) -> None:
    """Raise an error for a likelihood that would move the zeros of a sparse matrix, or cannot hold them."""
    wrong = [name for name in likelihoods if name not in ("auto", *OF_SPARSE)]
    if wrong:
        raise ValueError(
            f"likelihood={wrong[0]!r} cannot be used for sparse X: it would fill the cells that are 0. Use "
            f"likelihood='auto' or one of {', '.join(map(repr, OF_SPARSE))}, or make X dense (X.toarray())."
        )

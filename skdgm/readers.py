"""Read rows of tables that are larger than memory: NumPy memmaps, HDF5 and Zarr arrays, Parquet files.

A ``RowReader`` reads rows at ascending indices into a new array. ``as_reader`` recognizes the tables that have one, and
``Rows`` selects rows of a table without reading them.
"""

from __future__ import annotations

import io
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import zip_longest
from mmap import mmap
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

__all__ = ["ParquetReader"]  # the only name for users; the estimators use the others

# About this much of a file is read at once: rows between the wanted ones cost less than another call.
SPAN_BYTES = 1 << 18

Span: TypeAlias = tuple[int, int]


@runtime_checkable
class RowReader(Protocol):
    """Rows of a table, by index.

    Several threads may read at the same time. Readers of files can be pickled; the copy opens the file again.

    Attributes
    ----------
    shape : tuple of int
        Numbers of rows and columns.
    dtype : dtype
        Type of the cells.

    Notes
    -----
    A reader whose file consists of chunks, of which no part can be read alone, also has ``chunk_rows``, their number
    of rows.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read rows into a new array.

        Parameters
        ----------
        indices : ndarray of int64 of shape (n,)
            Strictly ascending.

        Returns
        -------
        ndarray of shape (n, n_columns)
        """
        ...


class ArrayReader:
    """Rows of an array in memory.

    Parameters
    ----------
    array : ndarray of shape (n_rows, n_columns)
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, table_shape(array), array.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Copy the rows at ``indices``."""
        return self.array[indices]


class SpanReader(ABC):
    """Abstract base of readers that read spans of neighboring rows, each within a chunk of ``chunk_rows`` rows.

    All wanted rows of a chunk come from one span, with the rows between them.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk_rows: int

    @abstractmethod
    def _spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        """Read the rows from ``start`` to ``stop`` of every span."""

    def _chunk_of(self, indices: np.ndarray) -> np.ndarray:
        """Number of the chunk of each row."""
        return indices // self.chunk_rows

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read rows of numbers.

        Parameters
        ----------
        indices : ndarray of int64 of shape (n,)
            Strictly ascending.

        Returns
        -------
        ndarray of shape (n, n_columns)
        """
        rows = np.empty((len(indices), self.shape[1]), self.dtype)
        for part, wanted, span in self._wanted(indices, self._spans):
            rows[part] = span if len(wanted) == len(span) else span[wanted]
        return rows

    def _wanted(
        self, indices: np.ndarray, read: Callable[[Sequence[Span]], Iterator[Any]]
    ) -> Iterator[tuple[slice, np.ndarray, Any]]:
        """Read the spans with wanted rows: give the part of ``indices``, their positions in the span, and the span."""
        bounds = [*np.flatnonzero(np.diff(self._chunk_of(indices), prepend=-1)).tolist(), len(indices)]
        parts = [slice(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
        spans = [(int(indices[part.start]), int(indices[part.stop - 1]) + 1) for part in parts]
        for part, (start, _), span in zip(parts, spans, read(spans), strict=True):
            yield part, indices[part] - start, span


class MemmapReader(SpanReader):
    """Rows of the file behind a memmap, read without the mapping.

    Pages of a mapping count as memory of the process once they are read, and reading them from a file that has shrunk
    ends the process. The file is open during a call of ``read`` only.

    Parameters
    ----------
    path : str
    offset : int
        Position of the first cell in the file, in bytes.
    shape : tuple of int
        Numbers of rows and columns.
    dtype : dtype
    stride : int
        Bytes from row to row; more than those of a row if the table has only some columns of the file.
    """

    def __init__(self, path: str, offset: int, shape: tuple[int, int], dtype: np.dtype[Any], stride: int) -> None:
        self.path, self.offset, self.shape, self.dtype, self.stride = path, offset, shape, dtype, stride
        self.chunk_rows = max(1, SPAN_BYTES // max(1, stride))

    @classmethod
    def behind(cls, array: np.ndarray) -> MemmapReader | None:
        """Return a reader of the file behind an array; None without such a file, or for rows that are not in a piece.

        Parameters
        ----------
        array : ndarray of shape (n_rows, n_columns)

        Returns
        -------
        MemmapReader or None
        """
        root, (stride, step) = mapped(array), array.strides
        if root is None or step != array.itemsize or stride < array.shape[1] * step:
            return None
        if root.mode == "c" or not root.filename or not os.path.exists(root.filename):
            return None  # changes of a copy-on-write mapping are not in its file
        offset = root.offset + array.ctypes.data - root.ctypes.data
        return cls(str(root.filename), offset, table_shape(array), array.dtype, stride)

    def _spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        with io.FileIO(self.path) as raw, io.BufferedReader(raw) as file:
            for start, stop in spans:
                shape = (stop - start, self.shape[1])
                buffer = np.empty(self._n_bytes(shape[0]), np.uint8)
                file.seek(self.offset + start * self.stride)
                if file.readinto(buffer.data) < len(buffer):
                    raise self._too_short(file)
                yield np.ndarray(shape, self.dtype, buffer, strides=(self.stride, self.dtype.itemsize))

    def _n_bytes(self, n_rows: int) -> int:
        """Bytes from the first cell of ``n_rows`` rows to the last."""
        return (n_rows - 1) * self.stride + self.shape[1] * self.dtype.itemsize

    def _too_short(self, file: Any) -> ValueError:
        n_bytes = os.fstat(file.fileno()).st_size - self.offset
        n_rows = max(0, (n_bytes - self._n_bytes(1)) // self.stride + 1)
        return ValueError(
            f"{self.path} has become shorter since it was opened as a memmap: it should hold {self.shape[0]} rows, and "
            f"holds {n_rows}. Open it again with its present shape, and let no other process write to it during a fit."
        )


class SliceReader(SpanReader):
    """Rows of an array that is read by slices: ``array[start:stop]`` returns rows.

    Parameters
    ----------
    array : zarr.Array, h5py.Dataset or other array of shape (n_rows, n_columns)
        If it has ``chunks``, their shape, every chunk is read once for all its rows.
    """

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, table_shape(array), np.dtype(array.dtype)
        stored = (getattr(array, "chunks", None) or (1,))[0]
        n_rows = max(1, SPAN_BYTES // max(1, self.shape[1] * self.dtype.itemsize))
        self.chunk_rows = stored * -(-n_rows // stored)

    def _spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        return (np.asarray(self.array[start:stop]) for start, stop in spans)


class HDF5Reader(SliceReader):
    """Rows of an ``h5py.Dataset``, whose file has to stay open.

    Parameters
    ----------
    array : h5py.Dataset of shape (n_rows, n_columns)
    """

    def __reduce__(self) -> Any:
        return HDF5Reader._open, (os.path.abspath(self.array.file.filename), self.array.name)

    @classmethod
    def _open(cls, path: str, name: str) -> HDF5Reader:
        return cls(optional("h5py").File(path, "r")[name])


class ParquetReader(SpanReader):
    """Rows of Parquet files, one after the other.

    Parameters
    ----------
    paths : path or sequence of paths
        Files with the same columns, or a folder with such files at any depth, read in the order of their names.
    columns : sequence of str, default=None
        Names of the columns to read; None is all. Leave out the labels.

    Attributes
    ----------
    shape : tuple of int
        Numbers of rows and columns.
    dtype : dtype
        float32 if all columns are, otherwise float64.
    chunk_rows : int
        Number of rows of the largest row group. Row groups can only be read whole: write files with row groups of some
        megabytes (``row_group_size``) if rows are to be read in random order.
    schema : pyarrow.Schema
        Names and types of the columns.

    Notes
    -----
    Missing cells are NaN. Tables with columns that are neither numbers nor booleans have no ``read``, but ``table``
    returns their rows.
    """

    def __init__(self, paths: Any, columns: Sequence[str] | None = None) -> None:
        self.paths, footers = parquet_files(paths), []
        for path in self.paths:
            with optional("pyarrow.parquet").ParquetFile(path) as file:
                footers.append((file.metadata, chosen(file.schema_arrow, columns, path)))
        self.schema = footers[0][1]
        for path, (_, schema) in zip(self.paths, footers, strict=True):
            check_same_schema(schema, self.schema, path, self.paths[0])
        groups = [(path, group) for path, (meta, _) in enumerate(footers) for group in range(meta.num_row_groups)]
        sizes = [footers[path][0].row_group(group).num_rows for path, group in groups]
        self._groups, self._ends = groups, np.cumsum(sizes, dtype=np.int64)
        self.shape, self.chunk_rows = (sum(sizes), len(self.schema)), max(sizes, default=1)
        self.dtype = np.dtype(np.float32 if {str(type_) for type_ in self.schema.types} == {"float"} else np.float64)

    def table(self, indices: np.ndarray) -> Any:
        """Read rows of columns of any types.

        Parameters
        ----------
        indices : ndarray of int64 of shape (n,)
            Strictly ascending.

        Returns
        -------
        pyarrow.Table of n rows
        """
        parts = [group.take(wanted) for _, wanted, group in self._wanted(indices, self._tables)]
        return optional("pyarrow").concat_tables(parts) if parts else self.schema.empty_table()

    def _chunk_of(self, indices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._ends, indices, side="right")

    def _tables(self, spans: Sequence[Span]) -> Iterator[Any]:
        """Read the rows of each span, which is within a row group, as a table."""
        parquet = optional("pyarrow.parquet")
        for start, stop in spans:
            chunk = int(self._chunk_of(np.array(start)))
            path, group = self._groups[chunk]
            with parquet.ParquetFile(self.paths[path]) as file:
                n_rows = file.metadata.row_group(group).num_rows
                table = file.read_row_group(group, columns=self.schema.names).select(self.schema.names)
            yield table.slice(start - (self._ends[chunk] - n_rows), stop - start)

    def _spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        check_numeric(self.schema)
        for table in self._tables(spans):
            rows = np.empty(table.shape, self.dtype)
            for j, column in enumerate(table.columns):
                rows[:, j] = column.cast("float64", safe=False).to_numpy()
            yield rows


class Rows:
    """Some rows of a table, read when they are converted to an array.

    ``rows[selection]`` selects rows by a slice, a boolean mask or indices, and reads nothing; ``np.asarray(rows)``
    reads them, in this order.

    Parameters
    ----------
    reader : RowReader
    indices : range or ndarray of int64, default=None
        The selected rows; None is all.

    Attributes
    ----------
    shape : tuple of int
        Numbers of selected rows and of columns.
    dtype : dtype
        float32 if the table is float32, otherwise float64: the type of the array.
    """

    ndim = 2

    def __init__(self, reader: RowReader, indices: range | np.ndarray | None = None) -> None:
        self.reader, self.indices = reader, range(reader.shape[0]) if indices is None else indices
        self.shape = len(self.indices), reader.shape[1]
        self.dtype = np.dtype(np.float32 if reader.dtype == np.float32 else np.float64)

    @classmethod
    def of(cls, X: Any) -> Rows:
        """Make lazy rows of a table that ``as_reader`` recognizes, or of an array.

        Parameters
        ----------
        X : Rows, RowReader, ndarray, h5py.Dataset or zarr.Array of shape (n_rows, n_columns)

        Returns
        -------
        Rows
        """
        return X if isinstance(X, Rows) else cls(as_reader(X) or ArrayReader(X))

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def chunk_rows(self) -> int:
        """Number of rows of a chunk of the table."""
        return getattr(self.reader, "chunk_rows", 1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: slice | np.ndarray) -> Rows:
        if isinstance(selection, slice):
            return Rows(self.reader, self.indices[selection])
        positions = checked_positions(selection, len(self))
        if isinstance(self.indices, np.ndarray):
            return Rows(self.reader, self.indices[positions])
        return Rows(self.reader, self.indices.start + self.indices.step * positions)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Read the rows at these positions of the selection, in any order.

        Parameters
        ----------
        positions : ndarray of int of shape (n,)

        Returns
        -------
        ndarray of shape (n, n_columns)
        """
        return np.asarray(self[positions])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows of a file are a copy; read them with np.asarray(rows)")
        indices = np.asarray(self.indices, dtype=np.int64)
        if (np.diff(indices) > 0).all():
            rows, back = self.reader.read(indices), None
        else:
            unique, back = np.unique(indices, return_inverse=True)
            rows = self.reader.read(unique)
        rows = rows.astype(self.dtype if dtype is None else dtype, copy=False)
        return rows if back is None else rows[back]


def as_reader(X: Any) -> RowReader | None:
    """Return a reader of a table that need not be in memory, or None for anything else.

    Parameters
    ----------
    X : object
        A memmap or a view of one, an ``h5py.Dataset``, a ``zarr.Array``, or a RowReader such as ParquetReader.

    Returns
    -------
    RowReader or None
        None also for views of a memmap whose rows do not lie in one piece in the file, such as columns-major ones.

    Raises
    ------
    ValueError
        If an ``h5py.Dataset`` or ``zarr.Array`` does not have two dimensions.
    """
    if isinstance(X, RowReader):
        return X
    if isinstance(X, np.ndarray):
        return MemmapReader.behind(X) if X.ndim == 2 else None
    for package, name, reader in [("h5py", "Dataset", HDF5Reader), ("zarr", "Array", SliceReader)]:
        if package in sys.modules and isinstance(X, getattr(sys.modules[package], name)):
            return reader(X)
    return None


def mapped(array: Any) -> np.memmap | None:
    """Return the memmap that an array is a view of, the one that covers all of the mapping."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap):
            return array
        array = array.base
    return None


def table_shape(array: Any) -> tuple[int, int]:
    """Return the shape of a table; raise an error if it does not have rows and columns."""
    if len(array.shape) != 2:
        raise ValueError(
            f"Expected a table of shape (n_rows, n_columns), got a {type(array).__name__} of shape "
            f"{tuple(array.shape)}. Reshape it: each row of the table is one sample."
        )
    return int(array.shape[0]), int(array.shape[1])


def checked_positions(selection: Any, n_rows: int) -> np.ndarray:
    """Return a selection of rows, a mask or indices, as indices from 0; raise an error if it does not fit the rows."""
    positions = np.asarray(selection)
    if positions.dtype == bool:
        if positions.shape != (n_rows,):
            raise IndexError(
                f"a mask of shape {positions.shape} cannot select from {n_rows} rows: it needs one entry each"
            )
        return np.flatnonzero(positions)
    if positions.ndim != 1 or (len(positions) and positions.dtype.kind not in "iu"):
        raise IndexError(f"rows are selected by a slice, a mask or an array of indices, got {selection!r}")
    positions = positions.astype(np.int64, copy=False)
    if len(positions) and not -n_rows <= positions.min() <= positions.max() < n_rows:
        raise IndexError(f"indices from {positions.min()} to {positions.max()} are out of range for {n_rows} rows")
    return np.where(positions < 0, positions + n_rows, positions)


def parquet_files(paths: Any) -> list[str]:
    """List the files: of a folder all that end in .parquet, in the order of their names."""
    if not isinstance(paths, str | os.PathLike):
        found = [os.fspath(path) for path in paths]
    elif os.path.isdir(paths):
        found = sorted(str(path) for path in Path(paths).rglob("*.parquet"))
    else:
        found = [os.fspath(paths)]
    if not found:
        raise ValueError(f"Expected at least one Parquet file, got {paths!r}, which has none. Name files or a folder.")
    return [os.path.abspath(path) for path in found]


def chosen(schema: Any, columns: Sequence[str] | None, path: str) -> Any:
    """Reduce the schema of a file to some columns, without metadata."""
    names = schema.names if columns is None else list(columns)
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        raise ValueError(f"{path} has no column {unknown[0]!r}; it has {schema.names}. Correct ``columns``.")
    return optional("pyarrow").schema([schema.field(name) for name in names])


def check_same_schema(schema: Any, first: Any, path: str, first_path: str) -> None:
    """Raise an error if a Parquet file has other columns than the first one."""
    for mine, theirs in zip_longest(schema, first):
        if mine is None or theirs is None or (mine.name, mine.type) != (theirs.name, theirs.type):
            raise ValueError(
                f"Files need the same columns: {path} has {mine or 'none'} where {first_path} has {theirs or 'none'}. "
                "Name the ``columns`` that they share, or write them again with the same types."
            )


def check_numeric(schema: Any) -> None:
    """Raise an error if a column holds neither numbers nor booleans."""
    types = optional("pyarrow.types")
    for field in schema:
        if not any(
            test(field.type) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        ):
            raise TypeError(
                f"column {field.name!r} holds {field.type}, not numbers. Leave it out with ``columns``, or encode it; "
                "``table`` reads rows with columns of any type."
            )


def optional(module: str) -> Any:
    """Import a module of an optional package."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"Reading this table needs {package}, which is not installed. Run pip install 'skdgm[large]'."
        ) from error

"""Tables of any kind in, float matrices inside, tables of the same kind out.

``TableFormat`` learns from training rows what each column holds. It reads rows as a matrix of floats, in which
categories are codes and missing cells are NaN, and restores drawn or filled matrices to tables of the training kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from skdgm._warnings import warn_user
from skdgm.estimators._dtypes import described, restored
from skdgm.estimators._frames import (
    LIBRARIES,
    NUMBERS,
    Column,
    as_floats,
    as_table,
    columns_of,
    container_of,
    holds_integers,
    holds_objects,
    title_of,
)

MAX_CATEGORIES_SHOWN = 10
# Code of a category that is not among the training rows.
UNKNOWN = -1.0
# The largest integers of 64 bits are read as these floats, which no such integer equals.
BEYOND_INTEGERS = (2.0**63, 2.0**64)


@dataclass(frozen=True)
class ColumnFormat:
    """What one column of the training rows holds.

    Attributes
    ----------
    name : str or None
        None for a column of an array.
    kind : {"number", "boolean", "category"}
    categories : tuple or None
        The labels observed in training, in the order of their codes: that of the dtype if it declares one, otherwise
        sorted, numbers before strings. None for numbers and booleans.
    ordered : bool
        Whether the dtype says that the order of the categories has a meaning.
    is_integer : bool
        Whether all observed training values are integers; also True if none is observed.
    low, high : float or None
        Smallest and largest observed value of numbers and booleans.
    dtype : str, tuple or None
        The ``described`` dtype in the table's own library, which restored columns get; None for a column of an array.
    """

    name: Any
    kind: str
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    is_integer: bool = False
    low: float | None = None
    high: float | None = None
    dtype: Any = None

    @classmethod
    def of(cls, column: Column) -> ColumnFormat:
        """Learn from the training rows of a column."""
        kind, dtype = column.observed_kind(), None if column.dtype is None else described(column.dtype)
        if kind == "category":
            observed = set(column.labels)
            categories = [label for label in column.categories or sorted(observed, key=_order) if label in observed]
            return cls(column.name, kind, tuple(categories), column.ordered, dtype=dtype)
        numbers = column.numbers()
        low, high = (float(extreme.reduce(numbers)) for extreme in (np.fmin, np.fmax))  # these skip NaN
        if np.isnan(low):
            return cls(column.name, kind, is_integer=True, dtype=dtype)
        is_integer = np.array_equal(np.rint(numbers), numbers, equal_nan=True)
        high = float(np.nextafter(high, 0)) if high in BEYOND_INTEGERS else high
        return cls(column.name, kind, is_integer=is_integer, low=low, high=high, dtype=dtype)

    @property
    def of_means(self) -> ColumnFormat:
        """The same column, but means of integers need not be integers."""
        return replace(self, is_integer=False) if self.kind == "number" else self

    def read(self, column: Column, *, handle_unknown: str, owner: str) -> np.ndarray:
        """Read the cells of a column as numbers or codes; raise an error for cells that it cannot hold."""
        if self.kind == "category":
            return self._codes(column, handle_unknown=handle_unknown, owner=owner)
        wrong = [label for label in column.labels if not isinstance(label, NUMBERS)] if column.floats is None else []
        numbers = column.cells if wrong else column.numbers()
        if self.kind == "boolean" and not wrong:
            wrong = numbers[~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))].tolist()
        if wrong:
            raise ValueError(
                f"X has {wrong[0]!r} in {self._cell(column, wrong[0])}, but {owner} was fitted to {self.kind}s in this "
                "column. Convert the cell, or make it missing (NaN)."
            )
        return numbers

    def _codes(self, column: Column, *, handle_unknown: str, owner: str) -> np.ndarray:
        known = {label: float(code) for code, label in enumerate(self.categories or ())}
        unknown = [label for label in column.labels if label not in known]
        if unknown:
            shown = [repr(label) for label in list(known)[:MAX_CATEGORIES_SHOWN]]
            more = ["..."] if len(known) > MAX_CATEGORIES_SHOWN else []
            report_unknown(
                handle_unknown,
                f"X has the unknown category {unknown[0]!r} in {self._cell(column, unknown[0])}. The rows that {owner} "
                f"was fitted to have {', '.join([*shown, *more]) or 'no category'} in this column.",
            )
        return column.mapped({label: known.get(label, UNKNOWN) for label in column.labels})

    def _cell(self, column: Column, label: Any) -> str:
        """Name the first cell with a label in a message."""
        title = title_of(column.name if self.name is None else self.name, column.position)
        return f"{title}, row {column.keys.index(label)}"

    def restored(self, values: np.ndarray, missing: Any, *, as_objects: bool) -> np.ndarray:
        """Turn numbers or codes into cells that the column can hold.

        Returns
        -------
        cells : ndarray of shape (n_rows,)
            Labels of categories; numbers as floats or, with ``as_objects``, as Python's numbers and booleans. Among
            objects ``missing`` takes the place of NaN.
        """
        if self.kind == "category":
            return self._labels(values, missing)
        numbers = self._in_range(values.astype(np.float64, copy=False))
        if not as_objects:
            return numbers
        kind = bool if self.kind == "boolean" else int if self.is_integer else float
        cells = (kind(value) if value == value else missing for value in numbers.tolist())
        return np.fromiter(cells, object, len(numbers))

    def _labels(self, codes: np.ndarray, missing: Any) -> np.ndarray:
        categories = self.categories or ()
        table = np.fromiter((*categories, missing), object, len(categories) + 1)
        nearest = np.clip(np.rint(codes), 0, len(categories) - 1)
        return table[np.where(np.isnan(codes), len(categories), nearest).astype(np.intp)]

    def _in_range(self, numbers: np.ndarray) -> np.ndarray:
        """Round and clip numbers: integers to the observed range, others to the observed signs."""
        if self.low is None or self.high is None:
            return numbers
        if self.is_integer:
            return np.clip(np.rint(numbers), self.low, self.high) + 0.0  # no -0.0
        return np.clip(numbers, 0 if self.low >= 0 else -np.inf, 0 if self.high <= 0 else np.inf)


def joined(shards: Sequence[ColumnFormat], declared: Sequence[Any]) -> ColumnFormat:
    """Join what shards hold of a column, and the categories that its dtype declares in each of them."""
    observed = [one for one in shards if one.categories or one.low is not None] or list(shards[:1])
    first = observed[0]
    if len({one.kind for one in observed}) > 1 or (first.ordered and len(set(declared)) > 1):
        raise ValueError(
            f"column {first.name!r} must have the same type and, if its categories are ordered, the same categories on "
            f"all processes, got {[one.dtype or one.kind for one in observed]}. Convert it before it is split."
        )
    if first.kind != "category":
        low, high = min(one.low or 0.0 for one in observed), max(one.high or 0.0 for one in observed)
        return replace(first, low=low, high=high, is_integer=all(one.is_integer for one in observed))
    labels = {label for one in observed for label in one.categories or ()}
    order = declared[0] if len(set(declared)) == 1 and declared[0] else sorted(labels, key=_order)
    return replace(first, categories=tuple(label for label in order if label in labels))


def report_unknown(handle_unknown: str, found: str) -> None:
    """Raise an error about an unknown category, warn of it, or ignore it."""
    if handle_unknown == "error":
        raise ValueError(
            f"{found} Use handle_unknown='ignore' to read unknown categories as missing, or fit to rows that have it."
        )
    if handle_unknown == "warn":
        warn_user(f"{found} It is read as missing. handle_unknown='ignore' silences this warning.")


def _order(label: Any) -> tuple[int, Any, str]:
    """Return the sort key of a label: numbers, then strings, then all else, whatever the order of the rows."""
    if isinstance(label, NUMBERS):
        return 0, label, ""
    return (1, 0, label) if isinstance(label, str) else (2, 0, f"{type(label).__name__} {label!r}")


@dataclass(frozen=True)
class TableFormat:
    """What the training rows hold, and how to read and restore such rows.

    Attributes
    ----------
    container : {"array", "pandas", "polars", "pyarrow", "csr_array", "csr_matrix"}
    columns : tuple of ColumnFormat
    dtype : dtype or None
        That of a training array.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.estimators._tables import TableFormat
    >>> X = np.array([["red", 1], ["blue", None]], dtype=object)
    >>> table = TableFormat.of(X)
    >>> table.read(X, handle_unknown="error", owner="VAE")
    array([[ 1.,  1.],
           [ 0., nan]])
    >>> table.restore(np.array([[0.2, 1.0]]))
    array([['blue', 1]], dtype=object)
    """

    container: str
    columns: tuple[ColumnFormat, ...]
    dtype: Any = None

    @property
    def types(self) -> list[str]:
        """Type of each column: "number", "boolean", "category", or "ordered" for ordered categories."""
        return ["ordered" if column.ordered else column.kind for column in self.columns]

    @classmethod
    def of(cls, X: Any, *, owner: str = "TableFormat") -> TableFormat:
        """Learn from training rows.

        Parameters
        ----------
        X : array-like, masked array, or frame of pandas, polars or pyarrow, of shape (n_rows, n_columns)
        owner : str
            The estimator to name in messages.

        Raises
        ------
        TypeError
            For dates, times, nested columns and lazy frames.
        ValueError
            For complex numbers, columns of the same name, and X without rows or columns.
        ImportError
            For frames that need narwhals where it is not installed.
        """
        X = as_table(X, owner)
        columns = tuple(ColumnFormat.of(column) for column in columns_of(X))
        container = container_of(X)
        return cls(container, columns, X.dtype.str if container == "array" else None)

    @classmethod
    def with_categories(cls, X: Any, *, owner: str) -> tuple[TableFormat, list[Any]]:
        """As ``of``, with the categories that the dtype of each column declares."""
        return cls.of(X, owner=owner), [column.categories for column in columns_of(as_table(X, owner))]

    @classmethod
    def of_shards(cls, shards: Sequence[tuple[TableFormat, list[Any]]]) -> TableFormat:
        """Join what ``with_categories`` has learned from shards of the training rows."""
        first = shards[0][0]
        if len(shards) == 1:
            return first
        by_column = zip(*(found.columns for found, _ in shards), strict=True)
        declared = zip(*(categories for _, categories in shards), strict=True)
        columns = [joined(of_one, listed) for of_one, listed in zip(by_column, declared, strict=True)]
        return replace(first, columns=tuple(columns))

    def read(self, X: Any, *, handle_unknown: str, owner: str) -> np.ndarray:
        """Read rows as floats: NaN is missing, booleans are 0 and 1, categories their codes.

        Parameters
        ----------
        X : table of shape (n_rows, n_columns)
            Of any kind; columns are taken by position.
        handle_unknown : {"warn", "error", "ignore"}
            What to do with a category that is not among the training rows: "warn" and "ignore" read it as -1.
        owner : str
            The estimator to name in messages.

        Returns
        -------
        values : ndarray of shape (n_rows, n_columns)
            float32 if X is, float64 otherwise. An array of such floats is returned without a copy.

        Raises
        ------
        ValueError
            For cells that are infinite, of another kind than in training, or of an unknown category.
        """
        X = as_table(X, owner)
        self._check_width(X, owner)
        if container_of(X) == "array" and X.dtype.kind in "biuf" and {form.kind for form in self.columns} == {"number"}:
            values = as_floats(X)
        else:
            columns = columns_of(X)
            is_float32 = all(column.cells.dtype == np.float32 for column in columns)
            values = np.empty(X.shape, np.float32 if is_float32 else np.float64)
            for form, column in zip(self.columns, columns, strict=True):
                values[:, column.position] = form.read(column, handle_unknown=handle_unknown, owner=owner)
        self._check_finite(values)
        return values

    def _check_width(self, X: Any, owner: str) -> None:
        if X.shape[1] != len(self.columns):
            raise ValueError(
                f"X has {X.shape[1]} features, but {owner} is expecting {len(self.columns)} features as input."
            )

    def _check_finite(self, values: np.ndarray) -> None:
        infinite = np.isinf(values)
        if infinite.any():
            row, j = np.argwhere(infinite)[0]
            raise ValueError(
                f"Input X contains infinity or a value too large for {values.dtype!r}: "
                f"{title_of(self.columns[j].name, j)}, row {row}. Correct this cell, or make it missing (NaN)."
            )

    def restore_parts(self, parts: Iterable[np.ndarray]) -> Any:
        """Make a table of the training kind from some rows after others; see ``restore``.

        A sparse matrix becomes one of the same kind in CSR format.
        """
        if self.container in LIBRARIES:
            return self.restore(np.concatenate(list(parts)))
        restored = [self.restore(part) for part in parts]
        if self.container == "array":
            return np.concatenate(restored)
        kind = getattr(sparse, self.container)
        return kind(sparse.vstack([kind(part) for part in restored], format="csr"))

    def restore(self, values: np.ndarray) -> Any:
        """Make a table of the training kind, an array for a sparse matrix.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Floats in units of X; NaN is missing.

        Returns
        -------
        X : table of the training kind
            Codes are rounded and become labels. Integer columns are rounded and clipped to the range of the training
            values; other numbers keep the sign that all training values have. Frames have the training dtypes; NumPy
            integers with missing cells become floats. Arrays are of floats, or of objects if a column has categories.
        """
        pairs = [(form, values[:, j]) for j, form in enumerate(self.columns)]
        if self.container in LIBRARIES:
            library = LIBRARIES[self.container]
            columns = [_native(library, form, cells, restored(self.container, form.dtype)) for form, cells in pairs]
            return library.frame(columns, [form.name for form in self.columns])
        has_categories = any(form.kind == "category" for form in self.columns)
        floats = np.dtype(self.dtype if np.dtype(self.dtype).kind == "f" else np.float64)
        X = np.empty(values.shape, object if has_categories else floats)
        for j, (form, cells) in enumerate(pairs):
            X[:, j] = form.restored(cells, np.nan, as_objects=has_categories)
        return X

    def restore_like(self, values: np.ndarray, X: Any, *, is_drawn: bool = True) -> Any:
        """Fill the missing cells of X.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Floats in units of X, read where X misses a cell.
        X : table of shape (n_rows, n_columns)
        is_drawn : bool
            Whether values are draws, which are rounded in columns of integers, or means, which are not unless the dtype
            of X demands it.

        Returns
        -------
        filled : table of the kind of X, not of the training rows
            Observed cells, the index and the columns' dtypes are those of X. A column that is missing in every row
            gets its training dtype.
        """
        X = as_table(X, "TableFormat")
        self._check_width(X, "TableFormat")
        container = container_of(X)
        gaps = [
            (form if is_drawn else form.of_means, column)
            for form, column in zip(self.columns, columns_of(X), strict=True)
            if column.missing.any()
        ]
        if container == "array":
            return _filled_array(X, gaps, values)
        same = container == self.container
        filled = {c.position: _filled_column(container, form, c, values[:, c.position], same) for form, c in gaps}
        return LIBRARIES[container].replaced(X, filled)


def _native(library: Any, form: ColumnFormat, values: np.ndarray, dtype: Any) -> Any:
    """Build a column of a library."""
    cells = form.restored(values, library.missing, as_objects=holds_objects(dtype))
    if holds_integers(dtype) and cells.dtype != object:
        cells = np.rint(cells)  # means, which libraries truncate or refuse
    return library.column(cells, dtype, form.categories or ())


def _filled_array(X: np.ndarray, gaps: list[tuple[ColumnFormat, Column]], values: np.ndarray) -> np.ndarray:
    """Fill columns of an array; text among numbers makes it an array of objects."""
    holds_labels = any(not isinstance(label, NUMBERS) for form, _ in gaps for label in form.categories or ())
    filled = X.astype(object) if holds_labels else X.copy()
    for form, column in gaps:
        cells = form.restored(values[:, column.position], np.nan, as_objects=filled.dtype == object)
        filled[column.missing, column.position] = cells[column.missing]
    return filled


def _filled_column(
    container: str, form: ColumnFormat, column: Column, values: np.ndarray, is_training_kind: bool
) -> Any:
    """Fill a column of a frame."""
    library, missing = LIBRARIES[container], column.missing
    if missing.all():
        return _native(library, form, values, restored(container, form.dtype) if is_training_kind else None)
    if not column.holds_objects:
        numbers = _native(library, form, values, column.dtype)
        return library.merged(column.native, missing, numbers)
    cells = column.cells.copy()
    as_objects = form.restored(values, library.missing, as_objects=True)
    cells[missing] = as_objects[missing]
    return library.column(cells, column.dtype, form.categories or ())

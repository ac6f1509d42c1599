"""Take arrays and frames apart into columns of floats or objects, and build frames of pandas, polars and pyarrow.

Narwhals reads frames; without it, frames of pandas whose columns are NumPy numbers can still be read.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from importlib import import_module
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from skdgm._sklearn_compat import _safe_indexing
from skdgm.estimators._arrays import in_dtype
from skdgm.estimators._streams import is_stream
from skdgm.readers import Rows

BOOLEANS = (bool, np.bool_)
NUMBERS = (Real, Decimal, *BOOLEANS)
DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
COMPLEX = (complex, np.complexfloating)
# NumPy converts objects of these types to floats at once, None to NaN.
PLAIN_TYPES = {type(None), float, int, np.float64, np.float32, np.int64}


@dataclass(eq=False)
class Column:
    """One column of X, whose cells are floats with NaN for missing ones, or objects.

    Attributes
    ----------
    name : object
        None for a column of an array.
    position : int
    cells : ndarray of shape (n_rows,)
        Of dtype float32, float64 or object.
    kind : {"number", "boolean", "category"} or None
        What the dtype declares; None: it depends on the cells.
    native, dtype : object
        The column and its dtype in the frame's library; None for arrays.
    categories : tuple or None
        Categories that the dtype declares, in its order.
    ordered : bool
        Whether the dtype says that this order has a meaning.
    """

    name: Any
    position: int
    cells: np.ndarray
    kind: str | None = None
    native: Any = None
    dtype: Any = None
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    title: str = field(init=False)

    def __post_init__(self) -> None:
        self.title = title_of(self.name, self.position)
        self._check_types([self.cells.dtype.type])
        self.cells = self.cells if self.holds_objects else as_floats(self.cells)

    @property
    def holds_objects(self) -> bool:
        """Whether the cells are objects, not floats."""
        return self.cells.dtype == object

    @cached_property
    def floats(self) -> np.ndarray | None:
        """The cells as floats, if all of them are plain numbers or missing."""
        if not self.holds_objects:
            return self.cells
        is_plain = self.kind is None and set(map(type, self.keys)) <= PLAIN_TYPES
        return self.cells.astype(np.float64) if is_plain else None

    @cached_property
    def keys(self) -> list[Any]:
        """The cells as Python objects; those without a hash, such as a dict, as text."""
        keys = self.cells.tolist()
        try:
            set(keys)
        except TypeError:
            return [_hashable(key) for key in keys]
        return keys

    @cached_property
    def labels(self) -> list[Any]:
        """The distinct observed cells, in order of appearance."""
        return [key for key in dict.fromkeys(self.keys) if not is_missing(key)]

    @cached_property
    def missing(self) -> np.ndarray:
        """Which cells are missing, (n_rows,)."""
        return np.isnan(self.mapped(dict.fromkeys(self.labels, 0.0)) if self.floats is None else self.floats)

    def mapped(self, values: dict[Any, float]) -> np.ndarray:
        """Look up the value of each cell's label; missing cells are NaN."""
        table = {**dict.fromkeys(self.keys, np.nan), **values}
        return np.fromiter(map(table.__getitem__, self.keys), np.float64, len(self.keys))

    def numbers(self) -> np.ndarray:
        """Return the cells as floats; all labels must be numbers."""
        return self.mapped({label: float(label) for label in self.labels}) if self.floats is None else self.floats

    def observed_kind(self) -> str:
        """Return the kind that the dtype declares, or else that of the observed cells."""
        if self.kind or self.floats is not None:
            return self.kind or "number"
        types = set(map(type, self.labels))
        self._check_types(types)
        if types and all(issubclass(kind, BOOLEANS) for kind in types):
            return "boolean"
        return "number" if all(issubclass(kind, NUMBERS) for kind in types) else "category"

    def _check_types(self, types: Any) -> None:
        """Raise an error for dates and complex numbers."""
        if any(issubclass(kind, COMPLEX) for kind in types):
            raise ValueError(f"Complex data not supported: X has complex numbers in {self.title}.")
        dates = sorted(kind.__name__ for kind in types if issubclass(kind, DATES))
        if dates:
            raise TypeError(
                f"X has dates or times ({dates[0]}) in {self.title}. Convert them to numbers, for example to days "
                "since a certain day, or drop the column."
            )


def title_of(name: Any, position: int) -> str:
    """Name a column in messages: by its name, or by its position."""
    return f"column {position if name is None else repr(name)}"


def _hashable(value: Any) -> Hashable:
    """Return a value, or its text if it has no hash."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def is_missing(value: Any) -> bool:
    """Tell whether a cell is None, NaN, NaT or pandas.NA."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


# --- read ------------------------------------------------------------------------------------------------------------


def container_of(X: Any) -> str:
    """Return "pandas", "polars" or "pyarrow" for a frame of these, otherwise "array"."""
    if not hasattr(type(X), "columns"):  # a Series is no table
        return "array"
    packages = [kind.__module__.partition(".")[0] for kind in type(X).__mro__]
    return next((package for package in packages if package in LIBRARIES), "array")


def check_is_table(X: Any, owner: str) -> None:
    """Raise an error for what is often passed for a table, and of which NumPy would only say that it is no number."""
    way_out = None
    if isinstance(X, str | bytes | PathLike):
        way_out = "Read the file, for example by pandas.read_csv; skdgm.readers reads those that do not fit in memory"
    elif isinstance(X, dict) and not issparse(X):  # a matrix of SciPy may be one
        way_out = "Make a frame: pandas.DataFrame(X)"
    elif isinstance(X, Iterator):
        way_out = "Make a list of its rows: list(X)"
    elif type(X).__name__ == "RecordBatch":
        way_out = "Make a table: pyarrow.Table.from_batches([X])"
    elif hasattr(X, "compute") and not all(isinstance(dtype, np.dtype) for dtype in getattr(X, "dtypes", ())):
        way_out = "Only lazy frames of numbers are read. Make a frame: X.compute()"
    if way_out is not None:
        raise TypeError(f"{owner} reads tables of shape (n_samples, n_features), got a {type(X).__name__}. {way_out}.")


def is_numeric_array(X: Any) -> bool:
    """Tell whether X is an array of numbers, a sparse matrix, or something that scikit-learn makes an array of."""
    if container_of(X) != "array" or isinstance(X, np.ma.MaskedArray):
        return False
    return not (isinstance(X, list | tuple | np.ndarray) and np.asarray(X).dtype.kind in "OUSmM")


def as_table_or_stream(X: Any, owner: str) -> Any:
    """As ``as_table``; sparse matrices and tables that are read in blocks are returned unchanged, too."""
    check_is_table(X, owner)
    return X if is_stream(X) else as_table(X, owner)


def rows_at(X: Any, indices: np.ndarray) -> Any:
    """Select rows of a table; those of a table in a file are read later."""
    if issparse(X):
        return X.tocsr()[indices]
    return Rows.of(X)[indices] if is_stream(X) else _safe_indexing(X, indices)


def as_table(X: Any, owner: str) -> Any:
    """Return a frame unchanged, and anything else as an array of two dimensions, of numbers or of objects."""
    if container_of(X) == "array":
        return _as_array(X, owner)
    if not hasattr(X, "shape"):
        raise TypeError(f"X is a lazy frame ({type(X).__name__}), which {owner} cannot read. Collect it: X.collect().")
    # scikit-learn's messages for tables without rows or columns
    check_array(np.broadcast_to(0.0, X.shape), ensure_all_finite=False, estimator=owner)
    return X


def _as_array(X: Any, owner: str) -> np.ndarray:
    if isinstance(X, np.ma.MaskedArray):
        X = _without_mask(X)
    elif isinstance(X, list | tuple) and np.asarray(X).dtype.kind in "US":
        X = np.asarray(X, dtype=object)  # a list of numbers and strings keeps its numbers
    array = check_array(X, dtype=None, ensure_all_finite=False, estimator=owner)
    return array if array.dtype.kind in "biufmM" else array.astype(object, copy=False)


def _without_mask(X: Any) -> np.ndarray:
    """Put NaN, or None among objects, in the masked cells of an array."""
    kind = X.dtype.kind
    array = np.ma.getdata(X).astype(X.dtype if kind in "fc" else np.float64 if kind in "biu" else object)
    array[np.ma.getmaskarray(X)] = None if array.dtype == object else np.nan
    return array


def as_floats(array: np.ndarray) -> np.ndarray:
    """Convert an array of numbers to float64; float32 stays."""
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def columns_of(table: Any) -> list[Column]:
    """Take a table, as ``as_table`` returns it, apart."""
    container = container_of(table)
    if container == "array":
        kind = {"b": "boolean", "O": None}.get(table.dtype.kind, "number")
        return [Column(None, j, cells, kind) for j, cells in enumerate(table.T)]
    names = list(table.column_names if container == "pyarrow" else table.columns)
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise ValueError(f"X has several columns of the name {repeated[0]!r}. Rename them, or pass X as an array.")
    try:
        narwhals = import_module("narwhals.stable.v2")
    except ImportError as error:
        return [_numpy_column(name, j, table, error) for j, name in enumerate(names)]
    series = narwhals.from_native(table, eager_only=True).iter_columns()
    return [_read_column(narwhals, container, name, *pair) for name, pair in zip(names, enumerate(series), strict=True)]


def _numpy_column(name: Any, position: int, table: Any, error: ImportError) -> Column:
    """Read a column of a pandas frame that holds NumPy's numbers or booleans."""
    native: Any = table.iloc[:, position] if container_of(table) == "pandas" else None
    dtype = getattr(native, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise ImportError(
            f"Reading {title_of(name, position)} of X needs narwhals: pip install narwhals. Without it, X can be an "
            "array, or a pandas frame of NumPy's numbers and booleans."
        ) from error
    kind = "boolean" if dtype.kind == "b" else "number"
    return Column(name, position, native.to_numpy(), kind, native, dtype)


def _read_column(narwhals: Any, container: str, name: Any, position: int, series: Any) -> Column:
    """Read a column of a frame through narwhals."""
    dtype, native = series.dtype, series.to_native()
    if dtype.is_nested():
        raise TypeError(
            f"X has nested values ({dtype}) in {title_of(name, position)}. Put their parts into columns of numbers or "
            "text, or drop the column."
        )
    kind = _declared_kind(narwhals, dtype)
    if kind == "category":
        cells = _labels(container, native)
    else:
        # pyarrow refuses to cast large integers, and NumPy lacks these types
        to_cast = isinstance(dtype, narwhals.Boolean | narwhals.Decimal | narwhals.Int128 | narwhals.UInt128)
        cells = (series.cast(narwhals.Float64) if to_cast else series).to_numpy()
    native_dtype = native.type if container == "pyarrow" else native.dtype
    ordered = bool(getattr(native_dtype, "ordered", False))
    categories = _declared_categories(native, native_dtype)
    return Column(name, position, cells, kind, native, native_dtype, categories, ordered)


def _declared_kind(narwhals: Any, dtype: Any) -> str | None:
    """Return the kind of column that a dtype declares, None for objects."""
    if isinstance(dtype, narwhals.Categorical | narwhals.Enum | narwhals.String | narwhals.Binary):
        return "category"
    return "boolean" if dtype == narwhals.Boolean else "number" if dtype.is_numeric() else None


def _labels(container: str, native: Any) -> np.ndarray:
    """Return the labels of a column of categories or text as objects."""
    if container == "pandas":
        return native.astype(object).to_numpy()
    if container == "pyarrow":  # to_numpy gives wrong labels for a dictionary with missing cells
        native = native.cast(getattr(native.type, "value_type", native.type))
    return native.to_numpy().astype(object, copy=False)


def _declared_categories(native: Any, dtype: Any) -> tuple[Any, ...] | None:
    """Return the categories of pandas, of an Enum of polars, or of an ordered dictionary of pyarrow."""
    if hasattr(dtype, "value_type"):
        return tuple(native.unify_dictionaries().chunk(0).dictionary.to_pylist()) if dtype.ordered else None
    categories: Any = getattr(dtype, "categories", None)
    return tuple(categories) if hasattr(categories, "__len__") else None


# --- build -----------------------------------------------------------------------------------------------------------


def holds_objects(dtype: Any) -> bool:
    """Tell whether a dtype is that of arbitrary objects, in pandas or polars."""
    return str(dtype).lower() == "object"


def holds_integers(dtype: Any) -> bool:
    """Tell whether a dtype is that of integers, in any library; a sparse one, too."""
    return re.match(r"(sparse\[)?u?int\d", str(dtype).lower()) is not None


class Pandas:
    """Build columns and frames of pandas.

    The other libraries have the same functions: ``column`` makes a column of floats (NaN: missing) or objects,
    ``merged`` fills the missing cells of a column of numbers, ``frame`` joins columns, ``replaced`` replaces some.
    """

    missing = np.nan

    @staticmethod
    def column(values: np.ndarray, dtype: Any, categories: Sequence[Any] = ()) -> Any:
        pandas = import_module("pandas")
        if values.dtype == object:
            if isinstance(dtype, pandas.CategoricalDtype):
                dtype = pandas.CategoricalDtype(_with_labels(dtype.categories, values), dtype.ordered)
            return pandas.Series(values, dtype=dtype)
        if isinstance(dtype, np.dtype) and dtype.kind in "biu" and np.isnan(values).any():
            dtype = "boolean" if dtype.kind == "b" else np.float64  # NumPy's own hold no missing value
        if isinstance(dtype, np.dtype) and dtype.kind == "f":
            values = in_dtype(values, dtype)
        return pandas.Series(values).astype(dtype or np.float64)

    @staticmethod
    def merged(native: Any, missing: np.ndarray, values: Any) -> Any:
        return native.where(~missing, values.array)

    @staticmethod
    def frame(columns: Sequence[Any], names: Sequence[Any]) -> Any:
        pandas = import_module("pandas")
        several_levels = all(isinstance(name, tuple) for name in names)
        frame = pandas.concat(columns, axis=1)
        frame.columns = pandas.MultiIndex.from_tuples(names) if several_levels else pandas.Index(names)
        return frame

    @staticmethod
    def replaced(X: Any, columns: dict[int, Any]) -> Any:
        frame = X.copy()
        for position, column in columns.items():
            frame.isetitem(position, column.set_axis(X.index))
        return frame


class Polars:
    """Build columns and frames of polars."""

    missing = None

    @staticmethod
    def column(values: np.ndarray, dtype: Any, categories: Sequence[Any] = ()) -> Any:
        polars = import_module("polars")
        if values.dtype != object:
            return polars.Series(values, nan_to_null=True).cast(dtype or polars.Float64)
        if isinstance(dtype, polars.Enum):
            dtype = polars.Enum(_with_labels(dtype.categories, values))
        return polars.Series(values.tolist(), dtype=dtype)

    @staticmethod
    def merged(native: Any, missing: np.ndarray, values: Any) -> Any:
        return native.zip_with(import_module("polars").Series(~missing), values)

    @staticmethod
    def frame(columns: Sequence[Any], names: Sequence[Any]) -> Any:
        return import_module("polars").DataFrame(dict(zip(names, columns, strict=True)))

    @staticmethod
    def replaced(X: Any, columns: dict[int, Any]) -> Any:
        return X.with_columns([column.alias(X.columns[position]) for position, column in columns.items()])


class PyArrow:
    """Build columns and tables of pyarrow."""

    missing = None

    @staticmethod
    def column(values: np.ndarray, dtype: Any, categories: Sequence[Any] = ()) -> Any:
        arrow = import_module("pyarrow")
        if values.dtype != object:
            return arrow.array(values, from_pandas=True).cast(dtype or arrow.float64())
        if not isinstance(dtype, arrow.DictionaryType):
            return arrow.array(values, dtype)
        dictionary = arrow.array(_with_labels(categories, values), dtype.value_type)
        codes = import_module("pyarrow.compute").index_in(arrow.array(values, dtype.value_type), dictionary)
        return arrow.DictionaryArray.from_arrays(codes.cast(dtype.index_type), dictionary, ordered=dtype.ordered)

    @staticmethod
    def merged(native: Any, missing: np.ndarray, values: Any) -> Any:
        return import_module("pyarrow.compute").if_else(import_module("pyarrow").array(~missing), native, values)

    @staticmethod
    def frame(columns: Sequence[Any], names: Sequence[Any]) -> Any:
        return import_module("pyarrow").Table.from_arrays(columns, names=names)

    @staticmethod
    def replaced(X: Any, columns: dict[int, Any]) -> Any:
        for position, column in columns.items():
            X = X.set_column(position, X.column_names[position], column)
        return X


LIBRARIES: dict[str, Any] = {"pandas": Pandas, "polars": Polars, "pyarrow": PyArrow}


def _with_labels(categories: Any, values: np.ndarray) -> list[Any]:
    """Append those labels that are not among the categories."""
    known = list(categories)
    return list(dict.fromkeys([*known, *(value for value in values.tolist() if not is_missing(value))]))

"""Dtypes of pandas, polars and pyarrow as plain values, which any file can hold, and back.

An estimator that was fitted to a frame can be loaded without the frame's library: a dtype is made only when a frame is.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

DECIMALS = ("decimal32", "decimal64", "decimal128", "decimal256")


def described(dtype: Any) -> Any:
    """Describe a dtype of a frame's column as text, or as a tuple of text, numbers, labels, and descriptions."""
    package = type(dtype).__module__.partition(".")[0]
    if isinstance(dtype, type):  # polars: a dtype without parameters may be a class
        package = dtype.__module__.partition(".")[0]
    return {"polars": _of_polars, "pyarrow": _of_pyarrow}.get(package, _of_pandas)(dtype)


def restored(container: str, description: Any) -> Any:
    """Make the dtype again that ``described`` described; None stays None."""
    makers = {"pandas": _make_pandas, "polars": _make_polars, "pyarrow": _make_pyarrow}
    return None if description is None else makers[container](description)


# --- pandas ----------------------------------------------------------------------------------------------------------


def _of_pandas(dtype: Any) -> Any:
    kind = type(dtype).__name__
    if kind == "CategoricalDtype":
        categories = dtype.categories
        if categories is None:
            return ("category", None, None, bool(dtype.ordered))
        return ("category", tuple(categories.tolist()), _of_pandas(categories.dtype), bool(dtype.ordered))
    if kind == "StringDtype":
        return ("string", dtype.storage, isinstance(dtype.na_value, float))
    if kind == "ArrowDtype":
        return ("arrow", _of_pyarrow(dtype.pyarrow_dtype))
    if kind == "SparseDtype":
        fill_value = np.asarray(dtype.fill_value).item()
        return ("sparse", _of_pandas(dtype.subtype), fill_value if fill_value == fill_value else None)
    return str(dtype)


def _make_pandas(description: Any) -> Any:
    pandas = import_module("pandas")
    if isinstance(description, str):
        return pandas.api.types.pandas_dtype(description)
    kind, *rest = description
    if kind == "category":
        categories, dtype, ordered = rest
        index = None if categories is None else pandas.Index(list(categories), dtype=_make_pandas(dtype))
        return pandas.CategoricalDtype(index, ordered)
    if kind == "string":
        storage, is_nan = rest
        return pandas.StringDtype(storage, **({"na_value": math.nan} if is_nan else {}))
    if kind == "arrow":
        return pandas.ArrowDtype(_make_pyarrow(rest[0]))
    subtype, fill_value = rest
    return pandas.SparseDtype(_make_pandas(subtype), math.nan if fill_value is None else fill_value)


# --- polars ----------------------------------------------------------------------------------------------------------


def _of_polars(dtype: Any) -> Any:
    kind = dtype.__name__ if isinstance(dtype, type) else type(dtype).__name__
    if isinstance(dtype, type):
        return kind
    if kind == "Enum":
        return ("Enum", tuple(dtype.categories))
    if kind == "Decimal":
        return ("Decimal", dtype.precision, dtype.scale)
    named: Any = getattr(dtype, "categories", None)  # a Categorical may share its categories by name
    if kind == "Categorical" and named is not None and not named.is_global():
        return ("Categorical", named.name(), named.namespace(), str(named.physical()))
    return kind


def _make_polars(description: Any) -> Any:
    polars = import_module("polars")
    kind, *rest = (description,) if isinstance(description, str) else description
    if kind == "Categorical" and rest:
        name, namespace, physical = rest
        return polars.Categorical(polars.Categories(name, namespace, getattr(polars, physical)))
    dtype = getattr(polars, kind)
    if not issubclass(dtype, polars.DataType):
        raise ValueError(f"{kind!r} is not a dtype of polars.")
    return dtype(*rest)


# --- pyarrow ---------------------------------------------------------------------------------------------------------


def _of_pyarrow(dtype: Any) -> Any:
    if hasattr(dtype, "index_type"):
        return ("dictionary", _of_pyarrow(dtype.index_type), _of_pyarrow(dtype.value_type), dtype.ordered)
    if hasattr(dtype, "precision"):
        return (str(dtype).partition("(")[0], dtype.precision, dtype.scale)
    return str(dtype)


def _make_pyarrow(description: Any) -> Any:
    arrow = import_module("pyarrow")
    if isinstance(description, str):
        return arrow.type_for_alias(description)
    kind, *rest = description
    if kind == "dictionary":
        index, value, ordered = rest
        return arrow.dictionary(_make_pyarrow(index), _make_pyarrow(value), ordered)
    if kind not in DECIMALS:
        raise ValueError(f"{kind!r} is not a dtype of pyarrow.")
    return getattr(arrow, kind)(*rest)

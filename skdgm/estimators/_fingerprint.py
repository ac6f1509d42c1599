"""What the result of a fit depends on, as plain values: data, parameters, and versions. Checkpoints compare it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator

from skdgm._version import __version__
from skdgm.checkpoints import FORMAT
from skdgm.estimators._arrays import as_host_array
from skdgm.estimators._frames import as_table, columns_of, container_of
from skdgm.estimators._options import resolve_device
from skdgm.estimators._streams import MAX_ROWS, Table, blocks, fits_in_memory, header_of, is_stream, rows_of
from skdgm.readers import Rows
from skdgm.sparse import SparseReader

# Parameters on which no result depends.
NOT_COMPARED = {"checkpoint", "verbose"}


def fingerprint(estimator: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a fit of the estimator to these arguments; the names of digests begin with "the"."""
    found: dict[str, Any] = {"estimator": type(estimator).__name__}
    for name, value in data.items():
        if value is not None:
            found |= described_table(name, value)
    params = estimator.get_params(deep=True)
    for name in sorted(params):
        last = name.rpartition("__")[2]
        if last not in NOT_COMPARED:
            found[name] = plain(with_names(params[name], data["X"]) if last == "likelihood" else params[name])
            found |= described_weights(name, params[name])
    if estimator.warm_start:
        found |= described_weights("the fit before", estimator)
        found |= described_weights("the encoder before", getattr(estimator, "encoder_", None))
    found |= {"version of skdgm": __version__, "version of torch": torch.__version__.partition("+")[0]}
    return found | {"format": FORMAT, "type of device": torch.device(resolve_device(estimator.device)).type}


# --- data ------------------------------------------------------------------------------------------------------------


def described_table(name: str, X: Any) -> dict[str, Any]:
    """Describe an argument of fit: its shape, type, column names, and cells.

    Of a table that does not fit in memory, only the cells of 20,000 rows are compared.
    """
    X = as_host_array(X)
    if container_of(X) != "array":
        columns = columns_of(as_table(X, "fit"))
        about: dict[str, Any] = {
            f"columns of {name}": [str(column.name) for column in columns],
            f"shape of {name}": list(X.shape),
        }
        types = [(str(column.dtype), column.kind, column.ordered, *(column.categories or ())) for column in columns]
        about |= {f"the types of {name}": digest(np.array(of_one, dtype=object) for of_one in types)}
        return about | {f"the cells of {name}": digest(column.cells for column in columns)}
    if issparse(X):
        matrix = X.tocsr()
        parts: Iterable[np.ndarray] = (matrix.data, matrix.indices, matrix.indptr)
        return typed(name, matrix) | {f"the cells of {name}": digest(parts)}
    if is_stream(X):
        rows = rows_of(X)
        return typed(name, rows) | {f"the cells of {name}": digest(some_blocks(rows))}
    masks = [np.ma.getmaskarray(X)] if isinstance(X, np.ma.MaskedArray) else []
    array = np.asarray(X)
    return typed(name, array) | {f"the cells of {name}": digest([array, *masks])}


def typed(name: str, array: Any) -> dict[str, Any]:
    """The shape and the type of an array."""
    return {f"shape of {name}": list(array.shape), f"type of {name}": str(array.dtype)}


def some_blocks(rows: Rows) -> Iterator[np.ndarray]:
    """All rows in blocks, or some rows if they are too many."""
    if fits_in_memory(rows.shape):
        yield from (block for _, block in blocks(rows))
    else:
        indices = np.random.default_rng(0).choice(len(rows), min(len(rows), MAX_ROWS), replace=False)
        yield from (block for _, block in blocks(rows[np.sort(indices)]))


def digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of the cells of arrays, whatever their order in memory."""
    found = hashlib.sha256()
    for array in arrays:
        if array.dtype.hasobject:
            found.update("\n".join(f"{type(cell).__name__} {cell!r}" for cell in array.ravel().tolist()).encode())
        else:
            found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def sum_of_rows(X: Any, start: int, n_rows: int) -> int:
    """Sum of SHA-256 over rows with their numbers, from ``start`` on: the sum over shards is that of the whole table.

    Of a table of ``n_rows`` rows that does not fit in memory, only 20,000 rows are compared.
    """
    rows = rows_as_numbers(as_host_array(X))
    numbers = np.arange(start, start + len(rows))
    if not fits_in_memory((n_rows, rows.shape[1])):
        wanted = np.random.default_rng(0).choice(n_rows, min(n_rows, MAX_ROWS), replace=False)
        numbers = np.intersect1d(numbers, wanted)
        rows = rows[numbers - start]
    found = 0
    for first, block in blocks(rows):
        for number, cells in zip(numbers[first:].tolist(), block.astype(np.float64, order="C"), strict=False):
            found += int.from_bytes(hashlib.sha256(number.to_bytes(8, "little") + cells.tobytes()).digest(), "little")
    return found


def rows_as_numbers(X: Any) -> Table:
    """A table, or a list of labels or weights, as rows of numbers; those of text come from its SHA-256."""
    if is_stream(X):
        return Rows(SparseReader(X.tocsr())) if issparse(X) else rows_of(X)
    if container_of(X) == "array" and not isinstance(X, np.ma.MaskedArray):
        array = np.asarray(X)
        cells = [array] if array.ndim == 1 else list(array.T)
    else:
        cells = [column.cells for column in columns_of(as_table(X, "fit"))]
    return np.column_stack([as_numbers(of_one) for of_one in cells])


def as_numbers(cells: np.ndarray) -> np.ndarray:
    """Cells as float64, in which 48 bits of SHA-256 fit."""
    if cells.dtype.kind in "biuf":
        return cells.astype(np.float64, copy=False)
    texts = [f"{type(cell).__name__} {cell!r}" for cell in cells.tolist()]
    numbers = {text: int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little") for text in set(texts)}
    return np.array([numbers[text] for text in texts], dtype=np.float64)


# --- parameters -------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A parameter as a value that JSON can hold and that is the same in another process."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, dict):
        return [[plain(key), plain(value[key])] for key in value]
    if isinstance(value, np.random.RandomState):
        _, keys, *rest = value.get_state(legacy=True)
        return f"RandomState {digest([np.asarray(keys), np.array([float(one) for one in rest])])}"
    if isinstance(value, BaseEstimator):
        return type(value).__name__  # its parameters are compared by themselves
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def with_names(likelihood: Any, X: Any) -> Any:
    """The parameter ``likelihood`` with the columns that functions in it select: these have no value of their own."""
    if isinstance(likelihood, str):
        return likelihood
    return [(name, columns(header_of(X)) if callable(columns) else columns) for name, columns in likelihood]


def described_weights(name: str, estimator: Any) -> dict[str, str]:
    """Digest of the weights of a fitted estimator; nothing for anything else."""
    module = getattr(estimator, "module_", None)
    if module is None:
        return {}
    weights = module.state_dict()
    found = digest(weights[key].cpu().numpy() for key in sorted(weights))
    return {f"the weights of {name}": found}

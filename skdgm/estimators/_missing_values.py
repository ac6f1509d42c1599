"""What an imputer does with tables: make marked cells missing, put filled columns back, and build arrays or frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdgm.estimators._frames import BOOLEANS, LIBRARIES, Column, as_floats, columns_of, container_of, is_missing


def with_missing(table: Any, marker: Any) -> Any:
    """Make the cells that equal a marker missing; for a marker such as NaN, they are missing already.

    Parameters
    ----------
    table : array or frame
        As ``as_table`` returns it.
    marker : int, float, str, None or pandas.NA
    """
    if is_missing(marker):
        return table
    columns = columns_of(table)
    marked = {column.position: is_marked for column in columns if (is_marked := _equals(column, marker)).any()}
    if not marked:
        return table
    if container_of(table) == "array":
        table = table.copy() if table.dtype == object else as_floats(table).copy()
        for position, is_marked in marked.items():
            table[is_marked, position] = np.nan
        return table
    library = LIBRARIES[container_of(table)]
    blank = {position: _blank(library, columns[position], is_marked) for position, is_marked in marked.items()}
    return library.replaced(table, blank)


def _equals(column: Column, marker: Any) -> np.ndarray:
    """Tell which cells equal the marker; neither text nor a boolean equals a number."""
    is_boolean = isinstance(marker, BOOLEANS)
    if column.holds_objects:  # pandas.NA may be among them, which cannot be compared
        is_like = np.array([isinstance(cell, BOOLEANS) == is_boolean for cell in column.keys], dtype=bool)
        return is_like & (column.mapped({marker: 1.0}) == 1.0)
    if isinstance(marker, str) or is_boolean != (column.kind == "boolean"):
        return np.zeros(len(column.cells), bool)
    return np.asarray(column.cells == marker)


def _blank(library: Any, column: Column, is_marked: np.ndarray) -> Any:
    """Make cells of a frame's column missing."""
    if not column.holds_objects:
        missing = library.column(np.full(len(is_marked), np.nan), column.dtype)
        return library.merged(column.native, is_marked, missing)
    cells = column.cells.copy()
    cells[is_marked] = library.missing
    return library.column(cells, column.dtype, column.labels)


def missing_cells(table: Any) -> np.ndarray:
    """Tell which cells of a table are missing, (n_rows, n_columns)."""
    return np.column_stack([column.missing for column in columns_of(table)])


def with_columns(table: Any, positions: np.ndarray, part: Any) -> Any:
    """Replace columns of a table by those of another of the same kind."""
    if container_of(table) != "array":
        natives = [column.native for column in columns_of(part)]
        return LIBRARIES[container_of(table)].replaced(table, dict(zip(positions.tolist(), natives, strict=True)))
    whole = table.astype(np.result_type(table, part))
    whole[:, positions] = part
    return whole


def as_matrix(table: Any, *, is_numeric: bool) -> np.ndarray:
    """Make an array of floats, or of objects; float32 stays."""
    if is_numeric:
        return np.column_stack([column.numbers() for column in columns_of(table)])
    if container_of(table) == "array":
        return np.asarray(table.astype(object))
    matrix = np.empty(table.shape, object)
    for column in columns_of(table):
        matrix[:, column.position] = _cells(column.native)
    return matrix


def _cells(native: Any) -> list[Any]:
    """Return the cells of a frame's column as Python objects."""
    return native.to_pylist() if hasattr(native, "to_pylist") else native.to_list()


def as_frame(table: Any, container: str, names: Sequence[str]) -> Any:
    """Make a frame of pandas or polars; a frame of that library is returned as it is."""
    if container_of(table) == container:
        return table
    library = LIBRARIES[container]
    cells = [column.cells if column.floats is None else column.floats for column in columns_of(table)]
    return library.frame([library.column(column, None) for column in cells], names)

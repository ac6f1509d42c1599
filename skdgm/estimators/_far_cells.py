"""Cells extremely far from all others in their column, such as -9999 for a missing value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skdgm._warnings import warn_user

# Cells this many scales from the median, and this much further away than any other, are taken for mistakes,
FAR, GAP = 1000.0, 10.0
# unless there are more than this share of them.
MAX_FRACTION = 0.001
# Numbers that often mark missing cells. That they repeat and are further away than all others is then enough.
CODES = [sign * (10.0**n - 1) for n in range(2, 10) for sign in (-1, 1)]


class FarCells(NamedTuple):
    """Cells of a column that are far from all others.

    Attributes
    ----------
    value : float
        One of them.
    limit : float or None
        The distance of the next cell, in scales, if they are few enough to be taken for mistakes. None if they are
        more cells, which all have the same value.
    """

    value: float
    limit: float | None


def far_cells(column: np.ndarray, center: float, scale: float) -> FarCells | None:
    """Find cells that are extremely far from all others in their column, given its center and scale."""
    distance = np.abs(column - center) / scale
    is_far = distance > FAR  # False for missing cells
    if 0 < is_far.sum() <= max(1.0, MAX_FRACTION * len(column)):
        following = float(np.nanmax(np.where(is_far, np.nan, distance)))
        if distance[is_far].min() > GAP * following:
            return FarCells(float(column[is_far][0]), following)
    low, high = np.nanmin(column), np.nanmax(column)
    farther, nearer = (low, high) if center - low > high - center else (high, low)
    if np.abs(farther - center) <= GAP * np.abs(nearer - center):
        return None
    return FarCells(float(farther), None) if is_repeated_code(column, farther) else None


def is_repeated_code(column: np.ndarray, value: float) -> bool:
    """Tell whether several cells have this value, and are far from all others."""
    others = column[(column != value) & ~np.isnan(column)].astype(np.float64)
    n_cells = int((column == value).sum())
    if not 1 < n_cells < len(others):
        return False
    center = np.median(others)
    shares = np.abs(others - center) / np.abs(value - center)  # of this distance, whose square may overflow
    spread = np.sqrt((shares**2).mean())
    return bool((value in CODES or FAR * spread < 1) and spread > 0 and GAP * shares.max() < 1)


def warn_of_far_cells(found: Sequence[tuple[Any, FarCells]]) -> None:
    """Warn of cells that are far from all others, with the names of their columns."""
    few = [(name, cells) for name, cells in found if cells.limit is not None]
    many = [(name, cells) for name, cells in found if cells.limit is None]
    for columns, consequence in ((few, "The fit ignores them."), (many, "They repeat; the fit takes them for data.")):
        if columns:
            listed = ", ".join(f"{cells.value:.6g} in column {name!r}" for name, cells in columns[:3])
            more = f" and {len(columns) - 3} more columns" if len(columns) > 3 else ""
            warn_user(
                f"X has cells that are extremely far from all others in their column: {listed}{more}. {consequence} If "
                "they mark missing cells, replace them by NaN or drop the rows.",
            )

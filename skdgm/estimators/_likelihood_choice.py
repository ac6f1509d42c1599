"""Choose the likelihood of each column: as the user says, or by the type and the values of the column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skdgm.estimators._column_kinds import ROUNDING, is_count

# When likelihoods are chosen, a cell this close to 0 or 1 counts as 0 or 1, in units of the rounding of its type.
EPS_OF_BINARY = 4
# Gray images have at least this share of cells that are exactly black or white, and at most this many distinct values.
MIN_SHARE_BLACK_OR_WHITE = 1 / 3
MAX_GRAY_LEVELS = 256
# Their largest cell is at least this, and that of sparse probabilities this: smaller ones are numbers in other units.
MIN_LARGEST_GRAY, MIN_LARGEST_PROBABILITY = 0.5, 0.01
# Images of whole numbers have at least this many columns, and a white of at least this.
MIN_PIXELS, MIN_WHITE = 16, 15
# Largest numbers of cells and rows that are read to count levels and to estimate quantiles.
CELLS_TO_COUNT_LEVELS = 2_000_000
ROWS_FOR_QUANTILES = 20_000
# Numbers with at most this many distinct values are categories, if each has this many rows on average.
MAX_LEVELS, ROWS_PER_LEVEL = 10, 5
# Their range is at most this many of the smallest distance between two: beyond, one of them is a mistake.
MAX_RANGE = 1e4
# Counts start at 0 and go up to at most this.
MAX_COUNT = 100
# A spike at zero holds at least this share of the cells.
MIN_SPIKE = 0.1
# Positive numbers are lognormal if that raises the log-density by this much, in nats per cell.
MIN_GAIN = 0.1


class LikelihoodChoice(NamedTuple):
    """Likelihood of one column, and why it was chosen."""

    column: Any
    likelihood: str
    reason: str


class Choice(NamedTuple):
    """Likelihoods of the columns.

    Attributes
    ----------
    kinds, reasons : list of str
        For each column, the name of its likelihood, and why it was chosen.
    is_auto : ndarray of bool of shape (n_columns,)
        Whether "auto" chose.
    is_gray : bool
        Whether Bernoulli columns hold values strictly between 0 and 1.
    """

    kinds: list[str]
    reasons: list[str]
    is_auto: np.ndarray
    is_gray: bool


def choose(
    X: np.ndarray, named: Sequence[str], types: Sequence[str], *, may_mix: bool = True, is_sparse: bool = False
) -> Choice:
    """Choose a likelihood for each column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_columns)
    named : sequence of str
        For each column, a likelihood or "auto".
    types : sequence of {"number", "boolean", "category", "ordered"}
        Type of each column.
    may_mix : bool
        Whether columns may differ in what "auto" chooses.
    is_sparse : bool
        Whether these are rows of a sparse matrix, whose zeros must stay where they are.
    """
    is_auto = np.array([name == "auto" for name in named])
    kinds, reasons, is_gray = list(named), ["named"] * len(named), False
    if is_auto.any():
        columns = np.flatnonzero(is_auto)
        cells, types = X if is_auto.all() else X[:, is_auto], [types[int(j)] for j in columns]
        chosen, why, is_gray = (
            choose_for_sparse(cells) if is_sparse else choose_automatically(cells, types, may_mix=may_mix)
        )
        for j, kind, reason in zip(columns.tolist(), chosen, why, strict=True):
            kinds[j], reasons[j] = kind, reason
    is_named_gray = ~is_auto & (np.array(kinds) == "bernoulli")
    if is_named_gray.any():
        cells = X[:, is_named_gray]
        is_gray = is_gray or not (is_binary(cells) | np.isnan(cells)).all()
    return Choice(kinds, reasons, is_auto, is_gray)


def choose_automatically(
    X: np.ndarray, types: Sequence[str], *, may_mix: bool = True
) -> tuple[list[str], list[str], bool]:
    """Choose a likelihood for each column; return likelihoods, reasons, and whether the rows are gray images."""
    n_columns = X.shape[1]
    is_number = np.array([one == "number" for one in types])
    with np.errstate(invalid="ignore"):
        is_black_or_white = is_binary(X)
    only_binary = (is_black_or_white | np.isnan(X)).all(0) & (is_number | np.array([t == "boolean" for t in types]))
    if only_binary.all():
        return ["bernoulli"] * n_columns, ["only 0 and 1"] * n_columns, False
    if is_number.all() and is_gray_image(X, is_black_or_white, only_binary):
        return ["bernoulli"] * n_columns, ["gray image"] * n_columns, True
    if not may_mix:
        return ["gaussian"] * n_columns, ["some column has other values than 0 and 1"] * n_columns, False
    is_image = is_number.all() and is_unscaled_image(X)
    chosen = [
        ("bernoulli", "only 0 and 1")
        if only_binary[j]
        else ("gaussian", "image of whole numbers")
        if is_image
        else of_column(X[:, j], types[j])
        for j in range(n_columns)
    ]
    return [kind for kind, _ in chosen], [reason for _, reason in chosen], False


def choose_for_sparse(X: np.ndarray) -> tuple[list[str], list[str], bool]:
    """Choose one likelihood for all columns of a sparse matrix, which are alike: words, items, or genes.

    Counts are Poisson, of which a cell that is 0 costs its rate. A negative binomial has a second parameter per column,
    for which most columns have too few cells other than 0, and a multinomial says nothing about the sum of a row.
    """
    cells = X[~np.isnan(X)]
    if cells.min() < 0:
        raise ValueError(
            f"likelihood='auto' needs sparse X without negative values, got {cells.min():.6g}. Make X dense "
            "(X.toarray()), or scale it without moving its zeros."
        )
    if np.isin(cells, (0, 1)).all():
        kind, reason = "bernoulli", "only 0 and 1"
    elif are_counts(cells):
        kind, reason = "poisson", "sparse counts"
    elif MIN_LARGEST_PROBABILITY <= cells.max() <= 1:
        kind, reason = "bernoulli", "sparse values in [0, 1], read as probabilities"
    else:
        kind, reason = "zero_inflated_lognormal", "sparse positive values"
    return [kind] * X.shape[1], [reason] * X.shape[1], reason.endswith("probabilities")


def of_column(column: np.ndarray, column_type: str) -> tuple[str, str]:
    """Choose the likelihood of a column that has other values than 0 and 1, and say why."""
    if column_type != "number":
        return ("ordinal", "ordered categories") if column_type == "ordered" else ("categorical", "text or categories")
    values = column[~np.isnan(column)].astype(np.float64)
    levels = np.unique(values[:: max(1, len(values) // ROWS_FOR_QUANTILES)])
    if are_categories(values, levels):
        return "categorical", f"{len(levels)} distinct values"
    spike = float((values == 0).mean())
    if values.min() == 0 and len(levels) > 2 and values.max() <= MAX_COUNT and are_counts(values):
        return "negative_binomial", "counts"
    if values.min() == 0 and spike >= MIN_SPIKE and (values > 0).sum() > MAX_LEVELS:
        return "zero_inflated_lognormal", f"{100 * spike:.0f}% zeros, other values positive"
    if values.min() > 0 and gain_of_logarithm(values) > MIN_GAIN:
        return "lognormal", "positive and skewed"
    return "gaussian", "numbers that suit no other likelihood"


def are_counts(values: np.ndarray) -> bool:
    """Tell whether all cells are whole numbers from 0; a column of tiny numbers is not a column of 0."""
    return bool(is_count(values).all() and (values[values != 0] > 0.5).all())


def are_categories(values: np.ndarray, levels: np.ndarray) -> bool:
    """Tell whether numbers have so few distinct values that these are categories; a mistaken cell is none."""
    if not 1 < len(levels) <= MAX_LEVELS or len(values) < ROWS_PER_LEVEL * len(levels):
        return False
    is_close = levels[-1] - levels[0] <= MAX_RANGE * np.diff(levels).min()
    return bool(is_close and np.isin(values, levels).all())


def gain_of_logarithm(values: np.ndarray) -> float:
    """Log-density of positive numbers under a lognormal minus that under a normal, in nats per cell.

    Without the extreme hundredths, which should not decide.
    """
    n_extreme = max(1, len(values) // 100)
    typical = np.sort(values)[n_extreme : -n_extreme or None]
    if not len(typical):
        return 0.0
    logs = np.log(typical)
    spread, spread_of_logs = (typical / typical[-1]).std(), logs.std()  # the ratio, since squares of 1e200 overflow
    if spread <= 0 or spread_of_logs <= 0:
        return 0.0
    return float(np.log(spread) + logs[-1] - np.log(spread_of_logs) - logs.mean())


def is_binary(X: np.ndarray) -> np.ndarray:
    """Tell which cells are 0 or 1, up to the rounding of their type; a column of tiny numbers is not a column of 0."""
    rounding = EPS_OF_BINARY * np.finfo(X.dtype).eps
    is_zero, is_one = np.abs(X) <= rounding, np.abs(X - 1) <= rounding
    exact = is_one.any(0) | ~(is_zero & (X != 0)).any(0)
    return (is_zero & exact) | is_one


def is_gray_image(X: np.ndarray, is_black_or_white: np.ndarray, only_binary: np.ndarray) -> bool:
    """Tell whether the columns with other values than 0 and 1 are gray pixels: in [0, 1], often 0 or 1, few levels."""
    gray = X if not only_binary.any() else X[:, ~only_binary]
    if np.nanmin(gray) < -ROUNDING or not MIN_LARGEST_GRAY <= np.nanmax(gray) <= 1 + ROUNDING:
        return False
    share = is_black_or_white[:, ~only_binary].sum() / (~np.isnan(gray)).sum()
    if share < MIN_SHARE_BLACK_OR_WHITE:
        return False
    step = max(1, gray.size // CELLS_TO_COUNT_LEVELS)
    levels = np.unique(np.round(gray[::step], 6))
    return (~np.isnan(levels)).sum() <= MAX_GRAY_LEVELS


def is_unscaled_image(X: np.ndarray) -> bool:
    """Tell whether the rows are images of whole numbers: many columns, often black or white, with the same white."""
    white = np.nanmax(X)
    if X.shape[1] < MIN_PIXELS or white < MIN_WHITE or np.nanmin(X) < 0:
        return False
    rows = X[:: max(1, X.size // CELLS_TO_COUNT_LEVELS)]
    observed = rows[~np.isnan(rows)]
    is_often_extreme = ((observed == 0) | (observed == white)).mean() >= MIN_SHARE_BLACK_OR_WHITE
    return bool(is_often_extreme and is_count(observed).all() and (np.nanmax(X, 0) == white).mean() >= 1 / 4)

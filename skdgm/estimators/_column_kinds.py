"""Kinds of columns: for each likelihood, the numbers it can hold, how it scales them, and what it must know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from skdgm.likelihoods import MIN_LOG_VAR

# A value this close to a bound of a range, or to a whole number, is in range: MinMaxScaler gives 1 + 2e-16.
ROUNDING = 1e-6
# Robust estimates of a spread and of a rate are at least this.
SMALLEST_SPREAD, SMALLEST_RATE = 1e-3, 1e-3
# Limits of the initial dispersion of counts.
MIN_DISPERSION, MAX_DISPERSION = 0.1, 1e4
# A category counts as half a row more than it has, so that none has probability 0.
PSEUDO_COUNT = 0.5
# Multiples of a step differ from whole numbers by less than this.
GRID_TOLERANCE = 0.01
# Quantiles that define the map of a column to normal scores, and the smallest distance between two of them, in scales.
N_QUANTILES, SMALLEST_GAP = 33, 1e-3

Values = np.ndarray  # observed cells of a column


@dataclass(frozen=True)
class Kind:
    """What a likelihood demands of a column.

    Attributes
    ----------
    scaling : {"standardize", "divide", "levels", "none"}
        Center and scale; divide by the geometric center of the positive cells; replace values by their rank among the
        distinct ones; or leave them.
    holds : callable
        Tells which observed cells the likelihood can hold.
    nearest : callable
        Moves cells to the nearest ones that it can hold.
    wanted, way_out : str
        What cells must be, and what a user can do, for error messages.
    arguments : callable
        Computes what the likelihood must know of a column from its observed cells, scaled; for "levels" also from the
        distinct values.
    """

    scaling: str
    holds: Callable[[Values], np.ndarray]
    nearest: Callable[[Values], np.ndarray]
    wanted: str
    way_out: str
    arguments: Callable[..., dict[str, Any]] | None = None


def anything(values: Values) -> np.ndarray:
    """Every number can be held."""
    return np.ones(values.shape, dtype=bool)


def unchanged(values: Values) -> np.ndarray:
    """Leave cells as they are."""
    return values


def is_count(values: Values) -> np.ndarray:
    """Tell which cells are whole numbers from 0."""
    return (values > -ROUNDING) & (np.abs(values - np.round(values)) <= ROUNDING)


def nearest_count(values: Values) -> np.ndarray:
    """Round to whole numbers from 0; NaN stays."""
    return np.clip(np.round(values), 0, None)


def of_categories(codes: Values, levels: np.ndarray, *, is_number: bool) -> dict[str, Any]:
    """Share of each category and, for categories that are numbers, these numbers, standardized."""
    counts = np.bincount(codes.astype(int), minlength=len(levels)) + PSEUDO_COUNT
    shares = counts / counts.sum()
    return {"shares": shares.tolist(), "values": standardized(levels, shares) if is_number else None}


def standardized(levels: np.ndarray, shares: np.ndarray) -> list[float]:
    """Standardize levels that have these shares."""
    levels = (levels - levels[0]) / ((levels[-1] - levels[0]) or 1.0)  # squares of 1e200 overflow
    center = shares @ levels
    spread = np.sqrt(shares @ (levels - center) ** 2)
    return ((levels - center) / max(spread, SMALLEST_SPREAD)).tolist()


def of_counts(values: Values) -> dict[str, Any]:
    """Mean, center and spread on a logarithmic scale, and dispersion by the method of moments."""
    mean, logs = max(float(values.mean()), SMALLEST_RATE), np.log1p(values)
    excess = max(float(values.var()) - mean, mean**2 / MAX_DISPERSION)
    dispersion = min(max(mean**2 / excess, MIN_DISPERSION), MAX_DISPERSION)
    center, spread = float(logs.mean()), max(float(logs.std()), SMALLEST_SPREAD)
    return {"mean": mean, "center": center, "spread": spread, "dispersion": dispersion}


def of_positive(values: Values) -> dict[str, Any]:
    """Share of positive cells, and their spread on a logarithmic scale."""
    positive = values[values > 0]
    spread = float(np.log(positive).std()) if len(positive) else 1.0
    share = (len(positive) + PSEUDO_COUNT) / (len(values) + 2 * PSEUDO_COUNT)
    return {"spread": max(spread, SMALLEST_SPREAD), "positive_share": share}


def of_quantiles(values: Values) -> dict[str, Any]:
    """Quantiles, and the normal scores to which they are mapped."""
    probabilities = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    knots = np.quantile(values, probabilities)
    steps = np.maximum(np.diff(knots), SMALLEST_GAP)
    return {"knots": (knots[0] + np.append(0, np.cumsum(steps))).tolist(), "scores": norm.ppf(probabilities).tolist()}


def of_rounded(values: Values) -> dict[str, Any]:
    """The variance of a rounding error, if all values are multiples of one step that is not small beside the spread."""
    steps = np.diff(np.unique(values))
    steps = steps[steps > SMALLEST_SPREAD]
    if not len(steps) or steps.min() ** 2 / 12 <= np.exp(MIN_LOG_VAR):
        return {}
    multiples = steps / steps.min()
    is_grid = np.abs(multiples - np.round(multiples)).max() < GRID_TOLERANCE
    return {"min_log_var": float(np.log(steps.min() ** 2 / 12))} if is_grid else {}


NUMBERS = ("of finite numbers", "Use likelihood='auto'.")
POSITIVE = (
    "of positive numbers",
    "Use 'zero_inflated_lognormal' for a column with zeros, 'gaussian' for one with negative values.",
)
COUNTS = ("of whole numbers from 0", "Use 'gaussian' for other numbers, 'categorical' for codes.")

KINDS: dict[str, Kind] = {
    "bernoulli": Kind(
        "none",
        lambda x: (x >= -ROUNDING) & (x <= 1 + ROUNDING),
        lambda x: (x > 0.5) + 0 * x,  # 0 * x keeps NaN
        "in [0, 1]",
        "Scale X (MinMaxScaler(clip=True)) or use likelihood='gaussian'.",
    ),
    "gaussian": Kind("standardize", anything, unchanged, *NUMBERS, of_rounded),
    "gaussian_heteroscedastic": Kind("standardize", anything, unchanged, *NUMBERS),
    "student_t": Kind("standardize", anything, unchanged, *NUMBERS),
    "gaussian_quantile": Kind("standardize", anything, unchanged, *NUMBERS, of_quantiles),
    "lognormal": Kind("divide", lambda x: x > 0, lambda x: np.maximum(x, 0), *POSITIVE, of_positive),
    "zero_inflated_lognormal": Kind(
        "divide",
        lambda x: x >= 0,
        lambda x: np.maximum(x, 0),
        "of numbers from 0",
        "Use 'gaussian' for a column with negative values.",
        of_positive,
    ),
    "poisson": Kind("none", is_count, nearest_count, *COUNTS, of_counts),
    "negative_binomial": Kind("none", is_count, nearest_count, *COUNTS, of_counts),
    "multinomial": Kind("none", is_count, nearest_count, *COUNTS, of_counts),
    "categorical": Kind("levels", anything, unchanged, "of known categories", "", of_categories),
    "ordinal": Kind("levels", anything, unchanged, "of known categories", "", of_categories),
}

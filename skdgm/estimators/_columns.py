"""Columns of a table: the likelihood and the scale of each, and the cost of cells out of range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from warnings import warn

import numpy as np

from skdgm.likelihoods import LIKELIHOODS

# Standardized values are clipped at this bound to keep their squares finite in float32.
MAX_STANDARDIZED = 1e6
# A value this close to the range [0, 1] is in range: MinMaxScaler gives 1 + 2e-16.
ROUNDING = 1e-6
# When likelihoods are chosen, a cell this close to 0 or 1 counts as 0 or 1, in units of the rounding of its type.
EPS_OF_BINARY = 4
# Cost in nats of a cell that its column could not hold, if "auto" chose the likelihood: that of an event of probability
# 5e-5, in addition to the term of the nearest value.
OUT_OF_RANGE_NATS = 10.0
# Gray images have at least this share of cells that are exactly black or white, and at most this many distinct values.
MIN_SHARE_BLACK_OR_WHITE = 1 / 3
MAX_GRAY_LEVELS = 256
# Largest numbers of cells and rows that are read to count levels and to estimate quantiles.
CELLS_TO_COUNT_LEVELS = 2_000_000
ROWS_FOR_QUANTILES = 20_000
# Interquartile range of a standard normal.
NORMAL_IQR = 1.349
# Smallest robust scale, as a share of the sd between the outer percentiles.
MIN_SHARE_OF_SD = 0.05
# Distance from the median, in robust scales, at which cells are clipped before the sd is computed.
ROBUST_SCALES = 5.0
LOG_2PI_E = math.log(2 * math.pi * math.e)
VARIANCE_FLOOR = 0.05
# Cells this many scales from the median, and this much further away than any other, are taken for mistakes.
OUTLIER_SCALES = 1000.0
OUTLIER_GAP = 10.0
MAX_OUTLIER_FRACTION = 0.001


class LikelihoodChoice(NamedTuple):
    """Likelihood of one column, and why it was chosen."""

    column: Any
    likelihood: str
    reason: str


@dataclass(frozen=True)
class ColumnTransform:
    """Transform rows to what a module reads, and back.

    Attributes
    ----------
    kinds : tuple of str
        For each column, a name in ``LIKELIHOODS``.
    reasons : tuple of str
        For each column, why this likelihood was chosen.
    chosen_by_auto : bool
        Whether "auto" chose. Cells out of range then have a finite, low density; otherwise they are an error.
    is_gray : bool
        Whether Bernoulli columns hold values strictly between 0 and 1.
    center, scale : ndarray of float64 of shape (n_columns,)
        0 and 1 for columns that are not standardized.
    outlier_limit : ndarray of float64 of shape (n_columns,)
        Standardized cells beyond this limit are taken for mistakes and left out of the fit.
    """

    kinds: tuple[str, ...]
    reasons: tuple[str, ...]
    chosen_by_auto: bool
    is_gray: bool
    center: np.ndarray
    scale: np.ndarray
    outlier_limit: np.ndarray
    is_constant: np.ndarray

    @classmethod
    def of(
        cls, X: np.ndarray, likelihood: str, names: Sequence[str] | None = None, *, may_mix: bool = True
    ) -> ColumnTransform:
        """Describe the columns of training rows; raise an error if cells lie outside the range of a named likelihood.

        Without ``may_mix``, all columns of a table with both kinds of columns are Gaussian.
        """
        n_columns = X.shape[1]
        if likelihood == "auto":
            kinds, reasons, is_gray = choose_likelihoods(X)
            if not may_mix and len(set(kinds)) > 1:
                kinds, reasons = ["gaussian"] * n_columns, ["other values than 0 and 1 in some column"] * n_columns
        else:
            kinds, reasons = [likelihood] * n_columns, ["named"] * n_columns
            is_gray = likelihood == "bernoulli" and not (is_binary(X) | np.isnan(X)).all()
        unscaled = np.zeros(n_columns), np.ones(n_columns), np.full(n_columns, MAX_STANDARDIZED)
        is_constant = np.nanmin(X, 0) == np.nanmax(X, 0)
        columns = cls(tuple(kinds), tuple(reasons), likelihood == "auto", is_gray, *unscaled, is_constant)
        columns.check_density_range(X)
        where = columns.is_standardized
        if where.any():
            columns.center[where], columns.scale[where] = center_and_scale(X[:, where])
            columns = replace(columns, outlier_limit=columns.outlier_limits(X, names))
        return columns

    @property
    def is_standardized(self) -> np.ndarray:
        """Which columns are standardized, (n_columns,)."""
        return np.array([LIKELIHOODS[kind].standardize for kind in self.kinds])

    @property
    def likelihood(self) -> str:
        """The likelihood of all columns, or "mixed"."""
        return self.kinds[0] if len(set(self.kinds)) == 1 else "mixed"

    @property
    def groups(self) -> str | list[tuple[str, list[int]]]:
        """The likelihoods in the form that modules take."""
        if self.likelihood != "mixed":
            return self.likelihood
        kinds = np.array(self.kinds)
        return [(kind, np.flatnonzero(kinds == kind).tolist()) for kind in sorted(set(self.kinds))]

    @property
    def is_image(self) -> bool:
        """Whether the rows are gray images."""
        return self.is_gray and self.likelihood == "bernoulli"

    def named(self, names: Sequence[str] | None) -> list[LikelihoodChoice]:
        """List the name, likelihood, and reason of each column."""
        labels: Sequence[Any] = range(len(self.kinds)) if names is None else names
        return [LikelihoodChoice(*row) for row in zip(labels, self.kinds, self.reasons, strict=True)]

    def check_density_range(self, X: np.ndarray) -> np.ndarray:
        """Return X if it has a density, otherwise raise an error; the encoder accepts any finite row."""
        if self.chosen_by_auto or self.likelihood != "bernoulli":
            return X
        low, high = np.nanmin(X, initial=np.inf), np.nanmax(X, initial=-np.inf)
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ValueError(
                f"likelihood={self.likelihood!r} needs X in [0, 1], got values in [{low:.4g}, {high:.4g}]. Scale X "
                "(MinMaxScaler(clip=True)) or use likelihood='gaussian'."
            )
        return X

    def transform(self, X: np.ndarray, *, training: bool = False) -> np.ndarray:
        """Transform rows to what a module reads: standardize in float64, bring Bernoulli cells into range.

        The result is float32.

        During training, cells that are taken for mistakes become missing.
        """
        if self.likelihood == "bernoulli":
            return self.nearest(X).astype(np.float32)
        x = (X - self.center) / self.scale
        is_bernoulli = ~self.is_standardized
        if is_bernoulli.any():
            x[:, is_bernoulli] = self.nearest(X[:, is_bernoulli])
        if training and (self.outlier_limit < MAX_STANDARDIZED).any():
            x = np.where(np.abs(x) > self.outlier_limit, np.nan, x)
        return np.clip(x, -MAX_STANDARDIZED, MAX_STANDARDIZED, out=np.empty(x.shape, np.float32), casting="same_kind")

    def noise_key(self, X: np.ndarray) -> np.ndarray:
        """What the noise of a row depends on: the standardized row, the same for a float32 copy of X.

        Constant columns are set to 0.
        """
        largest = np.finfo(np.float32).max
        x = self.transform(X if X.dtype == np.float32 else np.clip(X, -largest, largest).astype(np.float32))
        x[:, self.is_constant] = 0
        return np.nan_to_num(x)

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """Move cells to the nearest values that Bernoulli columns can hold; leave them if the likelihood was named."""
        if not self.chosen_by_auto:
            return X
        return np.clip(X, 0, 1) if self.is_gray else (X > 0.5) + 0 * X  # 0 * X keeps NaN

    def out_of_range_penalty(self, X: np.ndarray) -> np.ndarray:
        """Sum the cost of each row's cells out of range, in nats, (n,)."""
        is_bernoulli = ~self.is_standardized
        if not self.chosen_by_auto or not is_bernoulli.any():
            return np.zeros(len(X))
        cells = X if is_bernoulli.all() else X[:, is_bernoulli]
        return OUT_OF_RANGE_NATS * (np.abs(cells - self.nearest(cells)) > ROUNDING).sum(1)

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Transform decoded rows to the units of X."""
        return x if self.likelihood == "bernoulli" else x * self.scale + self.center

    def log_scale(self, observed: np.ndarray) -> np.ndarray:
        """Sum the log scales of each row's observed cells: log p(X) = log p(x) - log_scale."""
        return np.ascontiguousarray(observed * np.log(self.scale)).sum(1)  # the same order of summation for any X

    def independent_log_density(self, X: np.ndarray) -> float:
        """Mean log-density of the transformed X if columns are independent, with the means and variances of X."""
        x = self.transform(X, training=True).astype(np.float64)
        mean, observed = np.nanmean(x, 0), (~np.isnan(x)).mean(0)
        of_normal = -0.5 * (LOG_2PI_E + np.log(np.nanmean((x - mean) ** 2, 0) + VARIANCE_FLOOR))
        p = np.clip(mean, ROUNDING, 1 - ROUNDING)
        of_bernoulli = p * np.log(p) + (1 - p) * np.log1p(-p)
        return float((observed * np.where(self.is_standardized, of_normal, of_bernoulli)).sum())

    def outlier_limits(self, X: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Find cells that are taken for mistakes and warn; the limit of a column is the distance of the next cell."""
        limit = np.full(X.shape[1], MAX_STANDARDIZED)
        found = []
        for j in np.flatnonzero(self.is_standardized).tolist():
            column = X[:, j]
            distance = np.abs(column - self.center[j]) / self.scale[j]
            is_far = distance > OUTLIER_SCALES  # False for missing cells
            n_allowed = max(1.0, MAX_OUTLIER_FRACTION * len(column))
            if not 0 < is_far.sum() <= n_allowed:
                continue
            following = np.nanmax(np.where(is_far, np.nan, distance))
            if distance[is_far].min() > OUTLIER_GAP * following:
                limit[j] = following
                found.append((j if names is None else names[j], column[is_far][0]))
        if found:
            warn_of_outliers(found)
        return limit


def warn_of_outliers(found: Sequence[tuple[Any, float]]) -> None:
    """Warn of values that are extremely far from all others, with their columns."""
    listed = ", ".join(f"{value:.6g} in column {column!r}" for column, value in found[:3])
    more = f" and {len(found) - 3} more columns" if len(found) > 3 else ""
    warn(
        f"X has cells more than {OUTLIER_SCALES:.0f} scales from their column's median and from all others: {listed}"
        f"{more}. The fit ignores these values. If they mark missing cells, replace them by NaN or drop the "
        "rows.",
        UserWarning,
        stacklevel=2,
    )


def choose_likelihoods(X: np.ndarray) -> tuple[list[str], list[str], bool]:
    """Choose a likelihood for each column; return likelihoods, reasons, and whether the rows are gray images."""
    with np.errstate(invalid="ignore"):
        is_black_or_white = is_binary(X)
    only_binary = (is_black_or_white | np.isnan(X)).all(0)
    if only_binary.all():
        return ["bernoulli"] * X.shape[1], ["only 0 and 1"] * X.shape[1], False
    if is_gray_image(X, is_black_or_white, only_binary):
        return ["bernoulli"] * X.shape[1], ["gray image"] * X.shape[1], True
    kinds = ["bernoulli" if binary else "gaussian" for binary in only_binary]
    return kinds, ["only 0 and 1" if binary else "other values than 0 and 1" for binary in only_binary], False


def is_binary(X: np.ndarray) -> np.ndarray:
    """Tell which cells are 0 or 1, up to the rounding of their type; a column of tiny numbers is not a column of 0."""
    rounding = EPS_OF_BINARY * np.finfo(X.dtype).eps
    is_zero, is_one = np.abs(X) <= rounding, np.abs(X - 1) <= rounding
    exact = is_one.any(0) | ~(is_zero & (X != 0)).any(0)
    return (is_zero & exact) | is_one


def is_gray_image(X: np.ndarray, is_black_or_white: np.ndarray, only_binary: np.ndarray) -> bool:
    """Tell whether the columns with other values than 0 and 1 are gray pixels: in [0, 1], often 0 or 1, few levels."""
    gray = X if not only_binary.any() else X[:, ~only_binary]
    if np.nanmin(gray) < -ROUNDING or np.nanmax(gray) > 1 + ROUNDING:
        return False
    share = is_black_or_white[:, ~only_binary].sum() / (~np.isnan(gray)).sum()
    if share < MIN_SHARE_BLACK_OR_WHITE:
        return False
    step = max(1, gray.size // CELLS_TO_COUNT_LEVELS)
    levels = np.unique(np.round(gray[::step], 6))
    return (~np.isnan(levels)).sum() <= MAX_GRAY_LEVELS


def center_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute a robust center and scale of each column from its observed cells, in float64.

    The center is the median. The scale is the standard deviation after clipping cells to within five robust scales of
    the median, and 1 for a constant column. The robust scale is the interquartile range divided by that of a standard
    normal, but at least a twentieth of the standard deviation between the 1st and 99th percentiles. If the quartiles
    coincide, it is the median distance of the cells that differ from the median.
    """
    step = max(1, len(X) // ROWS_FOR_QUANTILES)
    rows = X[::step].astype(np.float64)
    low, first, center, third, high = np.nanquantile(rows, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0, method="nearest")
    robust = np.maximum(third / NORMAL_IQR - first / NORMAL_IQR, MIN_SHARE_OF_SD * sd(np.clip(rows, low, high), center))
    for j in np.flatnonzero(first == third):
        distance = np.abs(X[:, j].astype(np.float64) - center[j])
        differing = distance[distance > 10 * np.finfo(np.float64).eps * np.abs(center[j])]
        robust[j] = np.median(differing) if len(differing) else 0.0
    scale = sd(np.clip(rows, center - ROBUST_SCALES * robust, center + ROBUST_SCALES * robust), center)
    scale = np.where(scale > 0, scale, robust)  # the rows that were read do not differ
    has_no_spread = scale <= 10 * np.finfo(np.float64).eps * np.abs(center)
    return center, np.where(has_no_spread, 1.0, scale)


def sd(X: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Root mean squared distance of each column's observed cells from ``center``; 0 for a constant column."""
    spread = np.nanmax(np.abs(X - center), 0)
    spread = np.where(spread > 0, spread, 1.0)  # divide by the spread first: squares of 1e200 overflow
    return spread * np.sqrt(np.nanmean(((X - center) / spread) ** 2, 0))

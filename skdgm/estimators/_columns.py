"""Columns of a table: the likelihood and the scale of each, and the cost of cells out of range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skdgm.estimators._column_kinds import KINDS, ROUNDING, Kind, unchanged
from skdgm.estimators._far_cells import far_cells, warn_of_far_cells
from skdgm.estimators._likelihood_choice import ROWS_FOR_QUANTILES, LikelihoodChoice, choose
from skdgm.estimators._tables import report_unknown
from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.columns import ColumnGroup, Groups

# Standardized values are clipped at this bound to keep their squares finite in float32. Of counts and of positive
# numbers, in units of their median, only logarithms are taken, so that they may be far larger.
MAX_STANDARDIZED, LARGEST_POSITIVE, LARGEST_COUNT = 1e6, 1e37, 1e15
SMALLEST_POSITIVE = float(np.finfo(np.float32).tiny)
# Cost in nats of a cell that its column could not hold, if "auto" chose the likelihood or the category is unknown: that
# of an event of probability 5e-5, in addition to the term of the nearest value.
OUT_OF_RANGE_NATS = 10.0
# Interquartile range of a standard normal.
NORMAL_IQR = 1.349
# Smallest robust scale, as a share of the sd between the outer percentiles.
MIN_SHARE_OF_SD = 0.05
# Distance from the median, in robust scales, at which cells are clipped before the sd is computed.
ROBUST_SCALES = 5.0
LOG_2PI_E = math.log(2 * math.pi * math.e)
VARIANCE_FLOOR = 0.05
GAUSSIANS = ("gaussian", "gaussian_heteroscedastic")


@dataclass(frozen=True)
class ColumnTransform:
    """Transform rows to what a module reads, and back.

    Attributes
    ----------
    kinds : tuple of str
        For each column, a name in ``LIKELIHOODS``.
    reasons : tuple of str
        For each column, why this likelihood was chosen.
    names : tuple or None
        Names of the columns.
    is_auto : ndarray of bool of shape (n_columns,)
        Whether "auto" chose. Cells out of range then have a finite, low density; otherwise they are an error.
    is_gray : bool
        Whether Bernoulli columns hold values strictly between 0 and 1.
    center, scale : ndarray of float64 of shape (n_columns,)
        0 and 1 for columns that are neither standardized nor divided by a scale.
    outlier_limit : ndarray of float64 of shape (n_columns,)
        Standardized cells beyond this limit are taken for mistakes and left out of the fit.
    is_constant, is_number : ndarray of bool of shape (n_columns,)
        Whether all cells are equal, and whether the column holds numbers instead of categories or booleans.
    levels : dict of int to ndarray
        For columns of categories, the distinct values in the order of their codes.
    arguments : tuple of dict
        For each column, what its likelihood must know of it.
    """

    kinds: tuple[str, ...]
    reasons: tuple[str, ...]
    names: tuple[Any, ...] | None
    is_auto: np.ndarray
    is_gray: bool
    center: np.ndarray
    scale: np.ndarray
    outlier_limit: np.ndarray
    is_constant: np.ndarray
    is_number: np.ndarray
    levels: dict[int, np.ndarray]
    arguments: tuple[dict[str, Any], ...]

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        named: Sequence[str],
        types: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        may_mix: bool = True,
        is_sparse: bool = False,
        row_of: Callable[[int, int], int] = lambda row, column: row,
    ) -> ColumnTransform:
        """Describe the columns of training rows; raise an error if a named likelihood cannot hold a cell.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_columns)
            Numbers, and codes of categories.
        named, types : sequence of str
            For each column, a likelihood or "auto", and a type as in ``choose``.
        names : sequence of str or None
            Names of the columns.
        may_mix : bool
            Whether columns may differ in what "auto" chooses.
        is_sparse : bool
            Whether these are rows of a sparse matrix.
        row_of : callable
            Gives the number of a row in messages, from its position in X and the column.
        """
        kinds, reasons, is_auto, is_gray = choose(X, named, types, may_mix=may_mix, is_sparse=is_sparse)
        check_types(kinds, types, names)
        n_columns = X.shape[1]
        columns = cls(
            tuple(kinds),
            tuple(reasons),
            None if names is None else tuple(names),
            is_auto,
            is_gray,
            np.zeros(n_columns),
            np.ones(n_columns),
            np.full(n_columns, np.inf),
            np.nanmin(X, 0) == np.nanmax(X, 0),
            np.array([one == "number" for one in types]),
            {},
            ({},) * n_columns,
        )
        columns.check_density_range(X, row_of)
        columns._set_scales(X)
        columns = replace(columns, outlier_limit=columns.outlier_limits(X))
        return replace(columns, arguments=tuple(columns._arguments(X[:, j], j) for j in range(n_columns)))

    def _set_scales(self, X: np.ndarray) -> None:
        """Set centers, scales and levels in place."""
        where = self.is_standardized
        if where.any():
            self.center[where], self.scale[where] = center_and_scale(X[:, where])
        for j in self._columns_scaled_by("divide"):
            positive = X[X[:, j] > 0, j].astype(np.float64)
            self.scale[j] = np.exp(np.median(np.log(positive))) if len(positive) else 1.0
        for j in self._columns_scaled_by("levels"):
            self.levels[j] = np.unique(X[~np.isnan(X[:, j]), j]).astype(np.float64)

    def _arguments(self, column: np.ndarray, j: int) -> dict[str, Any]:
        """What the likelihood of column ``j`` must know of it."""
        compute = KINDS[self.kinds[j]].arguments
        if compute is None:
            return {}
        values = column[~np.isnan(column)][:: max(1, len(column) // ROWS_FOR_QUANTILES)].astype(np.float64)
        if j in self.levels:
            return compute(np.searchsorted(self.levels[j], values), self.levels[j], is_number=self.is_number[j])
        return compute((values - self.center[j]) / self.scale[j])

    def _columns_scaled_by(self, scaling: str) -> list[int]:
        return [j for j, kind in enumerate(self.kinds) if KINDS[kind].scaling == scaling]

    @property
    def is_standardized(self) -> np.ndarray:
        """Which columns are standardized, (n_columns,)."""
        return np.array([KINDS[kind].scaling == "standardize" for kind in self.kinds])

    @property
    def likelihood(self) -> str:
        """The likelihood of all columns, or "mixed"."""
        return self.kinds[0] if len(set(self.kinds)) == 1 else "mixed"

    @property
    def groups(self) -> str | Groups:
        """The likelihoods in the form that modules take."""
        if self.likelihood != "mixed" and not any(self.arguments):
            return self.likelihood
        of_kinds = self._columns_by_kind(np.ones(len(self.kinds), dtype=bool))
        return [ColumnGroup(kind, (js := found.tolist()), [self.arguments[j] for j in js]) for kind, found in of_kinds]

    def _columns_by_kind(self, chosen: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Each likelihood of the chosen columns, in alphabetical order, and the indices of these columns."""
        kinds = np.array(self.kinds)
        return [(kind, np.flatnonzero((kinds == kind) & chosen)) for kind in sorted(set(kinds[chosen].tolist()))]

    @property
    def is_image(self) -> bool:
        """Whether the rows are gray images."""
        return self.is_gray and self.likelihood == "bernoulli"

    @property
    def choices(self) -> list[LikelihoodChoice]:
        """Name, likelihood, and reason of each column."""
        labels: Sequence[Any] = range(len(self.kinds)) if self.names is None else self.names
        return [LikelihoodChoice(*row) for row in zip(labels, self.kinds, self.reasons, strict=True)]

    def check_density_range(
        self, X: np.ndarray, row_of: Callable[[int, int], int] = lambda row, column: row, *, of_auto: bool = False
    ) -> np.ndarray:
        """Return X if it has a density, otherwise raise an error; the encoder accepts any finite row.

        Columns whose likelihood was chosen are checked only with ``of_auto``: their cells out of range have a penalty.
        """
        for kind, columns in self._columns_by_kind(np.full(len(self.kinds), True) if of_auto else ~self.is_auto):
            with np.errstate(invalid="ignore"):
                is_held = KINDS[kind].holds(X[:, columns]) | np.isnan(X[:, columns])
            if not is_held.all():
                row, first = np.argwhere(~is_held)[0].tolist()
                self._raise_out_of_range(X, row, int(columns[first]), KINDS[kind], row_of)
        return X

    def _raise_out_of_range(
        self, X: np.ndarray, row: int, j: int, kind: Kind, row_of: Callable[[int, int], int]
    ) -> None:
        name = self.kinds[j]
        if len(set(self.kinds)) == 1:
            low, high = np.nanmin(X), np.nanmax(X)
            found = f"needs X {kind.wanted}, got values in [{low:.4g}, {high:.4g}], such as {X[row, j]:.6g}"
        else:
            found = f"needs cells {kind.wanted}, got {X[row, j]:.6g}"
        where = f"column {self._name(j)!r}, row {row_of(row, j)}"
        raise ValueError(f"likelihood={name!r} {found} in {where}. {kind.way_out}")

    def _name(self, j: int) -> Any:
        return j if self.names is None else self.names[j]

    def transform(self, X: np.ndarray, *, training: bool = False) -> np.ndarray:
        """Transform rows to what a module reads: standardize in float64, bring cells into range, and encode categories.

        The result is float32.

        During training, cells that are taken for mistakes become missing.
        """
        if self.likelihood == "bernoulli":
            return self.nearest(X).astype(np.float32)
        x = (self.nearest(X) - self.center) / self.scale
        for j, levels in self.levels.items():
            x[:, j] = np.where(np.isnan(X[:, j]) | self._is_unknown(X, j), np.nan, nearest_code(X[:, j], levels))
        if training and np.isfinite(self.outlier_limit).any():
            x = np.where(np.abs(x) > self.outlier_limit, np.nan, x)
        return self._in_float32(x, *self.bounds)

    def transform_cells(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Transform cells of these columns, as ``transform`` does, if the likelihoods leave zeros where they are."""
        x = values.copy()
        for kind, columns_of_kind in self._columns_by_kind(self.is_auto):
            of_kind = np.isin(columns, columns_of_kind)
            x[of_kind] = self._nearest_of(kind, values[of_kind])
        low, high = self.bounds
        return self._in_float32(x / self.scale[columns], low[columns], high[columns])

    @staticmethod
    def _in_float32(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Clip cells to bounds; a positive number stays positive."""
        if LARGEST_POSITIVE in high:
            x = np.where((x > 0) & (x < SMALLEST_POSITIVE), SMALLEST_POSITIVE, x)
        return np.clip(x, low, high, out=np.empty(x.shape, np.float32), casting="same_kind")

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest transformed cell of each column, (n_columns,)."""
        scaling = np.array([KINDS[kind].scaling for kind in self.kinds])
        low = np.where(np.array(self.kinds) == "lognormal", SMALLEST_POSITIVE, -MAX_STANDARDIZED)
        high = np.select([scaling == "divide", scaling == "none"], [LARGEST_POSITIVE, LARGEST_COUNT], MAX_STANDARDIZED)
        return low, high

    def misses_cells(self, X: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """Tell which rows miss some cells, or have unknown categories, in columns that are not ``learned``."""
        if not self.levels and not np.isnan(X.sum()):  # far faster than a mask
            return np.zeros(len(X), dtype=bool)
        missing = np.isnan(X)
        for j in self.levels:
            missing[:, j] |= self._is_unknown(X, j)
        return (missing & ~learned).any(1) & ~missing.all(1)

    def noise_key(self, X: np.ndarray) -> np.ndarray:
        """What the noise of a row depends on: the standardized row, the same for a float32 copy of X.

        Constant columns are set to 0.
        """
        largest = np.finfo(np.float32).max
        x = self.transform(X if X.dtype == np.float32 else np.clip(X, -largest, largest).astype(np.float32))
        x[:, self.is_constant] = 0
        return np.nan_to_num(x)

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """Move cells to the nearest values that their columns can hold; leave columns whose likelihood was named."""
        moved = X
        for kind, columns in self._columns_by_kind(self.is_auto):
            if KINDS[kind].nearest is unchanged:
                continue
            moved = moved.copy() if moved is X else moved
            moved[:, columns] = self._nearest_of(kind, X[:, columns])
        return moved

    def _nearest_of(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Move cells to the nearest values that columns of a kind can hold."""
        holds_gray = kind == "bernoulli" and self.is_gray
        return np.clip(values, 0, 1) if holds_gray else KINDS[kind].nearest(values)

    def _is_new(self, X: np.ndarray, j: int) -> np.ndarray:
        """Tell which cells of a column of categories have a value that training rows did not have."""
        column, levels = X[:, j], self.levels[j]
        distance = np.abs(column - levels[nearest_code(column, levels)])
        return distance > ROUNDING * np.maximum(unit_of(levels), np.abs(column))

    def _is_unknown(self, X: np.ndarray, j: int) -> np.ndarray:
        """Tell which cells count as missing because their category is new; a new number counts as the nearest one."""
        return self._is_new(X, j) & ~(self.is_auto[j] & self.is_number[j])

    def check_known(self, X: np.ndarray, handle_unknown: str, first_row: int = 0) -> None:
        """Report a column of categories that has a number that training rows did not have."""
        for j in (j for j in self.levels if self.is_number[j]):
            unknown = np.flatnonzero(self._is_unknown(X, j))
            if len(unknown):
                report_unknown(
                    handle_unknown,
                    f"X has the unknown category {X[unknown[0], j]:g} in column {self._name(j)!r}, row "
                    f"{first_row + unknown[0]}. "
                    f"The training rows have {self.levels[j][:10].tolist()}.",
                )

    def out_of_range_penalty(self, X: np.ndarray) -> np.ndarray:
        """Sum the cost of each row's cells out of range, in nats, (n,)."""
        with np.errstate(invalid="ignore"):
            n_moved = (np.abs(X - self.nearest(X)) > ROUNDING * np.minimum(1, self.scale)).sum(1)
            for j in self.levels:
                n_moved = n_moved + self._is_new(X, j)
        return OUT_OF_RANGE_NATS * n_moved

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Transform decoded rows to the units of X."""
        if self.likelihood == "bernoulli":
            return x
        X = x * self.scale + self.center
        for j, levels in self.levels.items():
            X[:, j] = levels[np.clip(np.round(x[:, j]), 0, len(levels) - 1).astype(int)]
        return X

    def log_scale(self, X: np.ndarray) -> np.ndarray:
        """Sum the log scales of each row's observed cells: log p(X) = log p(x) - log_scale.

        Zeros of a spike are a point mass, which has no scale.
        """
        has_scale = ~np.isnan(X)
        spikes = np.array([kind == "zero_inflated_lognormal" for kind in self.kinds])
        if spikes.any():
            has_scale[:, spikes] &= X[:, spikes] > 0
        return np.ascontiguousarray(has_scale * np.log(self.scale)).sum(1)  # the same order of summation for any X

    def independent_log_density(self, X: np.ndarray) -> float:
        """Mean log-density of the transformed X if columns are independent, with the means and variances of X."""
        x = self.transform(X, training=True).astype(np.float64)
        mean, observed = np.nanmean(x, 0), (~np.isnan(x)).mean(0)
        of_normal = -0.5 * (LOG_2PI_E + np.log(np.nanmean((x - mean) ** 2, 0) + VARIANCE_FLOOR))
        p = np.clip(mean, ROUNDING, 1 - ROUNDING)
        of_bernoulli = p * np.log(p) + (1 - p) * np.log1p(-p)
        kinds = np.array(self.kinds)
        simple = np.isin(kinds, [*GAUSSIANS, "bernoulli"])
        of_simple = (observed * np.where(kinds == "bernoulli", of_bernoulli, of_normal))[simple].sum()
        return float(of_simple) + sum(self._marginal_log_density(x, kind) for kind in set(kinds[~simple].tolist()))

    def _marginal_log_density(self, x: np.ndarray, kind: str) -> float:
        """Mean log-density of the columns of a likelihood that is their marginal at outputs of 0."""
        columns = np.flatnonzero(np.array(self.kinds) == kind)
        likelihood = LIKELIHOODS[kind](len(columns), [self.arguments[j] for j in columns])
        cells = torch.from_numpy(x[:, columns].astype(np.float32))
        outputs = torch.zeros(len(x), likelihood.n_outputs)
        with torch.no_grad():
            p_x = likelihood(outputs, torch.zeros(likelihood.n_shared), ~torch.isnan(cells))
            return float(p_x.log_prob(torch.nan_to_num(cells, likelihood.filler)).mean())

    def outlier_limits(self, X: np.ndarray) -> np.ndarray:
        """Find cells that are taken for mistakes and warn; the limit of a column is the distance of the next cell."""
        limit = np.full(X.shape[1], np.inf)
        found = []
        for j in [*np.flatnonzero(self.is_standardized).tolist(), *self._columns_scaled_by("divide")]:
            cells = far_cells(X[:, j], self.center[j], self.scale[j])
            if cells is not None:
                limit[j] = np.inf if cells.limit is None else cells.limit
                found.append((self._name(j), cells))
        warn_of_far_cells(found)
        return limit


def check_types(kinds: Sequence[str], types: Sequence[str], names: Sequence[str] | None) -> None:
    """Raise an error if a column of text or categories has a likelihood of numbers."""
    for j, (kind, column_type) in enumerate(zip(kinds, types, strict=True)):
        if column_type in ("category", "ordered") and KINDS[kind].scaling != "levels":
            raise ValueError(
                f"likelihood={kind!r} needs numbers, but column {j if names is None else names[j]!r} holds text or "
                "categories. Use 'categorical' or 'ordinal' for it, or convert it to numbers."
            )


def nearest_code(column: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Codes of the nearest levels; any code for missing cells."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, np.nan_to_num(column))


def unit_of(levels: np.ndarray) -> float:
    """The smallest distance of two levels, or the size of a single one, but at most 1."""
    unit = np.diff(levels).min() if len(levels) > 1 else abs(levels[0])
    return min(float(unit) or 1.0, 1.0)


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

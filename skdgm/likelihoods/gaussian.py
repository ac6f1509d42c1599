"""Gaussian likelihoods of real columns: one learned variance per column, or a variance from the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skdgm.distributions import Normal

# Columns are scaled to a spread of about 1, so these limits keep a column's sd between 0.01 and 1,000 times its spread
# in the data. Without the lower limit, a constant column would have an unbounded density.
MIN_LOG_VAR = -9.21
MAX_LOG_VAR = 13.8


def bounded(log_var: Tensor, low: float = MIN_LOG_VAR, high: float = MAX_LOG_VAR) -> Tensor:
    """Keep a log-variance within [low, high]."""
    return log_var.clamp(low, high)


@dataclass(frozen=True)
class GaussianLikelihood:
    """The decoder gives the mean; each column has one learned variance."""

    is_binary = False
    standardize = True
    outputs_per_column = 1
    shared_per_column = 1

    def __call__(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Normal:
        """p(x | z) from ``outputs`` (..., n, n_columns) and ``shared`` log-variances (n_columns,)."""
        return Normal(outputs, bounded(shared).expand_as(outputs), observed)


@dataclass(frozen=True)
class HeteroscedasticGaussianLikelihood:
    """The decoder gives both the mean and the log-variance of each column."""

    is_binary = False
    standardize = True
    outputs_per_column = 2
    shared_per_column = 0

    def __call__(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Normal:
        """p(x | z) from ``outputs`` of shape (..., n, 2 n_columns): means, then log-variances."""
        mean, log_var = outputs.chunk(2, -1)
        return Normal(mean, bounded(log_var), observed)

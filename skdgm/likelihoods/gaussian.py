"""Gaussian likelihoods of real columns: one learned variance per column, or a variance from the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skdgm.distributions import Normal
from skdgm.likelihoods.base import Arguments, Likelihood

# Columns are scaled to a spread of about 1, so these limits keep a column's sd between 0.01 and 1,000 times its spread
# in the data. Without the lower limit, a constant column would have an unbounded density.
MIN_LOG_VAR = -9.21
MAX_LOG_VAR = 13.8


def bounded(log_var: Tensor, low: float = MIN_LOG_VAR, high: float = MAX_LOG_VAR) -> Tensor:
    """Keep a log-variance within [low, high]."""
    return log_var.clamp(low, high)


class GaussianLikelihood(Likelihood):
    """The decoder gives the mean; each column has one learned variance.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``min_log_var``, if there is one: a lower limit of the column's log-variance, for a column of rounded numbers.
        Without it, a column that another one determines would have the gradients of all others together.
    """

    standardize = True

    min_log_var: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments] = ()) -> None:
        super().__init__(n_columns)
        self.n_shared = n_columns
        limits = [max(MIN_LOG_VAR, of_column.get("min_log_var", MIN_LOG_VAR)) for of_column in arguments]
        self.keep(min_log_var=torch.tensor(limits or [MIN_LOG_VAR] * n_columns))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Normal:
        log_var = torch.maximum(bounded(shared), self.min_log_var)
        return Normal(outputs, log_var.expand_as(outputs), observed)


class HeteroscedasticGaussianLikelihood(Likelihood):
    """The decoder gives both the mean and the log-variance of each column: means, then log-variances."""

    standardize = True

    def __init__(self, n_columns: int, arguments: Sequence[Arguments] = ()) -> None:
        super().__init__(n_columns)
        self.n_outputs = 2 * n_columns

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Normal:
        mean, log_var = outputs.chunk(2, -1)
        return Normal(mean, bounded(log_var), observed)

"""Likelihoods of counts 0, 1, 2, ...: Poisson, negative binomial, and multinomial rows.

Log-probabilities are computed in float64, since their terms are far larger than their sum if counts are large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdgm.distributions import WithMeans, sum_observed, zero_fill
from skdgm.likelihoods.base import Arguments, Likelihood, numbers_of
from skdgm.likelihoods.inversion import gamma_quantile, poisson_quantile
from skdgm.noise import Rng, open_uniform

# Limit of the log-ratio of a cell's rate to the column's mean: more than counts of millions among zeros need.
MAX_LOG_RATIO = 20.0
# Limits of the size of a negative binomial. At the upper one it is a Poisson distribution up to rates of thousands.
MIN_SIZE, MAX_SIZE = 1e-3, 1e6


class CountLikelihood(Likelihood):
    """Base of the likelihoods of counts. Networks read log(1 + x), standardized.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``mean``: the column's mean, above 0. ``center``, ``spread``: mean and standard deviation of log(1 + x).
    """

    log_mean: Tensor
    center: Tensor
    spread: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        mean, center, spread = (numbers_of(arguments, name) for name in ("mean", "center", "spread"))
        self.keep(log_mean=torch.log(mean), center=center, spread=spread)

    def features(self, x: Tensor) -> Tensor:
        return (torch.log1p(x) - self.center) / self.spread

    def log_rate(self, outputs: Tensor) -> Tensor:
        """Logarithm of each cell's mean: a change of 1 in the output is one standard deviation of log(1 + x)."""
        return self.log_mean + (self.spread * outputs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


class PoissonLikelihood(CountLikelihood):
    """The decoder gives the logarithm of the rate, relative to the column's mean."""

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Poisson:
        return Poisson(self.log_rate(outputs), observed)


class NegativeBinomialLikelihood(CountLikelihood):
    """The decoder gives the logarithm of the mean; each column has one learned size r: variance mean + mean^2 / r.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        As in ``CountLikelihood``, and ``dispersion``: the size r at the start, above 0.
    """

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns, arguments)
        self.log_size = nn.Parameter(torch.log(numbers_of(arguments, "dispersion")))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> NegativeBinomial:
        log_size = self.log_size.clamp(math.log(MIN_SIZE), math.log(MAX_SIZE))
        return NegativeBinomial(self.log_rate(outputs), log_size, observed)


class MultinomialLikelihood(CountLikelihood):
    """Rows of counts: the total is Poisson with one learned rate, and multinomial over the columns given the total.

    The decoder gives the logits of the columns' probabilities p, relative to the log of their shares. With a total from
    Poisson(t), the cells are independent and cell j is from Poisson(t p_j); so missing cells are left out exactly.
    """

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns, arguments)
        self.log_total = nn.Parameter(torch.logsumexp(self.log_mean, 0, keepdim=True))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Poisson:
        return Poisson(self.log_total + F.log_softmax(outputs + self.log_mean, -1), observed)


class Poisson(WithMeans):
    """Poisson distribution with independent columns.

    Parameters
    ----------
    log_rate : Tensor of shape (..., n, n_columns)
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, log_rate: Tensor, observed: Tensor | None = None) -> None:
        self.log_rate, self.observed = log_rate, observed

    @property
    def mean(self) -> Tensor:
        """The rate of each cell, (..., n, n_columns)."""
        return torch.exp(self.log_rate)

    def rsample(self, rng: Rng) -> Tensor:
        """Draw counts. Not differentiable; the name is the same for all distributions of a decoder."""
        return draw_poisson(self.log_rate.detach().double().exp(), rng)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of the log-probability of the cell, of shape (..., n)."""
        x, log_rate = zero_fill(x, self.observed).double(), self.log_rate.double()
        cells = x * log_rate - torch.exp(log_rate) - torch.lgamma(x + 1)
        return sum_observed(cells, self.observed).float()


class NegativeBinomial(WithMeans):
    """Negative binomial distribution with independent columns, of variance mean + mean^2 / size.

    Parameters
    ----------
    log_mean : Tensor of shape (..., n, n_columns)
    log_size : Tensor of shape (n_columns,)
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, log_mean: Tensor, log_size: Tensor, observed: Tensor | None = None) -> None:
        self.log_mean, self.log_size, self.observed = log_mean, log_size, observed

    @property
    def mean(self) -> Tensor:
        """The mean of each cell, (..., n, n_columns)."""
        return torch.exp(self.log_mean)

    def rsample(self, rng: Rng) -> Tensor:
        """Draw counts from Poisson distributions of gamma-distributed rates. Not differentiable."""
        log_mean, size = self.log_mean.detach().double(), self.log_size.detach().double().exp()
        gamma = gamma_quantile(open_uniform(log_mean.shape, rng, log_mean), size)
        return draw_poisson(torch.exp(log_mean) * gamma / size, rng)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of the log-probability of the cell, of shape (..., n)."""
        x, log_mean, log_size = zero_fill(x, self.observed).double(), self.log_mean.double(), self.log_size.double()
        size, log_sum = torch.exp(log_size), torch.logaddexp(log_mean, log_size)
        coefficients = torch.lgamma(x + size) - torch.lgamma(size) - torch.lgamma(x + 1)
        cells = coefficients + size * (log_size - log_sum) + x * (log_mean - log_sum)
        return sum_observed(cells, self.observed).float()


def draw_poisson(rate: Tensor, rng: Rng) -> Tensor:
    """Draw counts of these rates, in float32."""
    return poisson_quantile(open_uniform(rate.shape, rng, rate), rate).float()

"""Base of likelihoods of columns that are normal after an increasing transformation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from skdgm.distributions import Normal, WithMeans, sum_observed
from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.gaussian import bounded
from skdgm.noise import Rng


class TransformedNormalLikelihood(Likelihood):
    """t = g(x) is normal: the decoder gives the mean of t, each column has one learned variance, networks read t."""

    def __init__(self, n_columns: int, arguments: Sequence[Arguments] = ()) -> None:
        super().__init__(n_columns)
        self.n_shared = n_columns

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> TransformedNormal:
        return TransformedNormal(Normal(outputs, bounded(shared).expand_as(outputs), observed), self)

    def features(self, x: Tensor) -> Tensor:
        return self.transform(x)[0]

    @abstractmethod
    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """t = g(x) and log g'(x) of valid cells, (..., n, n_columns) each."""

    @abstractmethod
    def inverse(self, t: Tensor) -> Tensor:
        """The x with g(x) = t."""

    @abstractmethod
    def mean(self, normal: Normal) -> Tensor:
        """Mean of x if t is from this normal distribution."""


class TransformedNormal(WithMeans):
    """Distribution of independent columns x if g(x) is normal, with the density in units of x.

    Parameters
    ----------
    normal : Normal
        The distribution of g(x), with the mask of observed cells.
    likelihood : TransformedNormalLikelihood
        Holds g.
    """

    def __init__(self, normal: Normal, likelihood: TransformedNormalLikelihood) -> None:
        self.normal, self.likelihood = normal, likelihood

    @property
    def mean(self) -> Tensor:
        """Mean of each cell, (..., n, n_columns)."""
        return self.likelihood.mean(self.normal)

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row."""
        return self.likelihood.inverse(self.normal.rsample(rng))

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of log N(g(x)) + log g'(x), of shape (..., n)."""
        observed = self.normal.observed
        t, log_slope = self.likelihood.transform(x)
        return self.normal.log_prob(t) + sum_observed(log_slope, observed)

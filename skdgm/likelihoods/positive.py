"""Likelihoods of amounts: log-normal columns, and columns with zeros and log-normal cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skdgm.distributions import MAX_EXP_ARGUMENT, Bernoulli, Normal, WithMeans, zero_fill
from skdgm.likelihoods.base import Arguments, Likelihood, numbers_of
from skdgm.likelihoods.transformed_normal import TransformedNormal, TransformedNormalLikelihood
from skdgm.noise import Rng

# What networks read puts zeros this many standard deviations below the center of the positive cells.
ZERO_BELOW_CENTER = 2.0


class LognormalLikelihood(TransformedNormalLikelihood):
    """log(x) / spread is normal, for x > 0 in units of the column's geometric mean.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``spread``: the standard deviation of log x, above 0.
    """

    filler = 1.0

    spread: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        self.keep(spread=numbers_of(arguments, "spread"))

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_x = torch.log(x)
        return log_x / self.spread, -torch.log(self.spread) - log_x

    def inverse(self, t: Tensor) -> Tensor:
        return limited_exp(self.spread * t)

    def mean(self, normal: Normal) -> Tensor:
        return limited_exp(self.spread * normal.mean + 0.5 * self.spread**2 * torch.exp(normal.log_var))


class ZeroInflatedLognormalLikelihood(Likelihood):
    """A cell is 0, or else log-normal. The decoder gives logits of being positive, then means of log(x) / spread.

    Networks read 0 for a zero and 2 + log(x) / spread for positive cells, whose log(x) / spread has mean 0 and standard
    deviation 1: one increasing number per column, since few labels cannot tell two apart.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``positive_share``: the share of cells above 0, strictly between 0 and 1. ``spread``: the standard deviation of
        log x among these.
    """

    logit_share: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        self.n_outputs = 2 * n_columns
        self.n_shared = n_columns
        self.positive = LognormalLikelihood(n_columns, arguments)
        self.keep(logit_share=torch.logit(numbers_of(arguments, "positive_share")))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> ZeroInflated:
        logits, locations = outputs.chunk(2, -1)
        return ZeroInflated(self.logit_share + logits, self.positive(locations, shared), observed)

    def features(self, x: Tensor) -> Tensor:
        is_positive = x > 0
        t = self.positive.features(torch.where(is_positive, x, 1.0))
        return torch.where(is_positive, ZERO_BELOW_CENTER + t, 0.0)


class ZeroInflated(WithMeans):
    """Independent columns that are 0 or positive: a density with respect to Lebesgue measure and a point mass at 0.

    Parameters
    ----------
    logits : Tensor of shape (..., n, n_columns)
        Logits of a cell being positive.
    positive : TransformedNormal
        Distribution of positive cells, without a mask.
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, logits: Tensor, positive: TransformedNormal, observed: Tensor | None = None) -> None:
        self.is_positive, self.positive, self.observed = Bernoulli(logits, observed), positive, observed

    @property
    def mean(self) -> Tensor:
        """Mean of each cell, zeros included; (..., n, n_columns)."""
        return self.is_positive.mean * self.positive.mean

    def rsample(self, rng: Rng) -> Tensor:
        """One draw per row. Its gradient is that of positive cells."""
        return self.is_positive.rsample(rng) * self.positive.rsample(rng)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of log P(x = 0), or of log P(x > 0) and the log-density of positive cells; (..., n)."""
        is_positive = zero_fill(x, self.observed) > 0
        normal, likelihood = self.positive.normal, self.positive.likelihood
        positive = TransformedNormal(Normal(normal.mean, normal.log_var, is_positive), likelihood)
        return self.is_positive.log_prob(is_positive.to(x.dtype)) + positive.log_prob(x)


def limited_exp(x: Tensor) -> Tensor:
    """exp(x), never 0 or infinite."""
    return torch.exp(x.clamp(-MAX_EXP_ARGUMENT, MAX_EXP_ARGUMENT))

"""The ordinal likelihood: columns of ordered codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from skdgm.distributions import sum_observed, zero_fill
from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.levels import CategoryDistribution, Levels


class OrdinalLikelihood(Likelihood):
    """Cumulative logit model (proportional odds; McCullagh 1980): P(x <= k) = sigmoid(threshold_k - output).

    Each column has one output and its own increasing thresholds: the first one and the logarithms of the steps between
    them are learned. They start where outputs of 0 give the shares. Networks read one number per column.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``shares``: the share of each level, above 0. ``values``: the standardized number of each code, which networks
        read, or None: they read the code's standardized rank, from the cumulative shares.
    """

    scores: Tensor
    is_lowest: Tensor
    is_highest: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        shares = [torch.tensor(of_column["shares"], dtype=torch.float64) for of_column in arguments]
        self.levels = levels = Levels([len(of_column) for of_column in shares])
        thresholds = [cumulative_logits(of_column) for of_column in shares]
        steps = [torch.log(threshold.diff()) for threshold in thresholds]
        self.first = nn.Parameter(torch.stack([F.pad(threshold, (0, 1))[0] for threshold in thresholds]).float())
        # (n_columns, most levels - 2), flat: only what has two axes is a weight matrix, which weight_prior shrinks
        self.log_steps = nn.Parameter(pad_sequence(steps, batch_first=True).float().flatten())
        scores = [of["values"] or ranks(share).tolist() for of, share in zip(arguments, shares, strict=True)]
        self.keep(
            scores=levels.flat(scores),
            is_lowest=levels.level == 0,
            is_highest=levels.level == levels.flat([[len(share) - 1] * len(share) for share in shares]),
        )

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> CumulativeLogit:
        return CumulativeLogit(outputs, *self.intervals(), self.levels, observed)

    def intervals(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lower limit, upper limit and width of each level's interval of the latent variable, (n_levels,) each."""
        log_steps = self.log_steps.view(len(self.first), self.log_steps.numel() // len(self.first))
        steps = F.pad(torch.exp(log_steps), (1, 2))  # the step up to threshold k stands at k
        thresholds = self.first[:, None] + steps.cumsum(-1)
        column, level = self.levels.column, self.levels.level
        upper = torch.where(self.is_highest, torch.inf, thresholds[column, level])
        lower = torch.where(self.is_lowest, -torch.inf, thresholds[column, level - 1])
        # not upper - lower, which would lose the digits of narrow intervals
        width = torch.where(self.is_lowest | self.is_highest, torch.inf, steps[column, level])
        return lower, upper, width

    def features(self, x: Tensor) -> Tensor:
        return self.scores[self.levels.places(x)]


class CumulativeLogit(CategoryDistribution):
    """Independent columns of ordered codes: the level into whose interval a logistic variable falls.

    Parameters
    ----------
    location : Tensor of shape (..., n, n_columns)
        Location of the logistic variable, whose scale is 1.
    lower, upper, width : Tensor of shape (n_levels,)
        Intervals of the levels, in the flat order of ``levels``.
    levels, observed
        As in ``CategoryDistribution``.
    """

    def __init__(
        self,
        location: Tensor,
        lower: Tensor,
        upper: Tensor,
        width: Tensor,
        levels: Levels,
        observed: Tensor | None = None,
    ) -> None:
        super().__init__(levels, observed)
        self.location, self.lower, self.upper, self.width = location, lower, upper, width

    @property
    def mean_parameters(self) -> Tensor:
        location = self.location[..., self.levels.column]
        return torch.exp(log_interval_probability(location, self.lower, self.upper, self.width))

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of the log-probability of the cell's code, of shape (..., n)."""
        places = self.levels.places(zero_fill(x, self.observed))
        intervals = self.lower[places], self.upper[places], self.width[places]
        return sum_observed(log_interval_probability(self.location, *intervals), self.observed)


def log_interval_probability(location: Tensor, lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """log(sigmoid(upper - location) - sigmoid(lower - location)), as a product without a difference."""
    return F.logsigmoid(upper - location) + F.logsigmoid(location - lower) + torch.log(-torch.expm1(-width))


def cumulative_logits(shares: Tensor) -> Tensor:
    """log(P(x <= k) / P(x > k)) for all levels but the last."""
    below, above = shares.cumsum(0), shares.flip(0).cumsum(0).flip(0)
    return torch.log(below[:-1]) - torch.log(above[1:])


def ranks(shares: Tensor) -> Tensor:
    """Mean cumulative share of each level, standardized over the rows."""
    middle = shares.cumsum(0) - shares / 2
    centered = middle - (shares * middle).sum()
    variance = (shares * centered**2).sum()
    return centered / torch.sqrt(variance.clamp(min=1e-12))  # 0 if there is one level

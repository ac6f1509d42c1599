"""The likelihood of columns of any continuous shape, made normal by a map through their quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skdgm.distributions import LOG_2PI, Normal
from skdgm.likelihoods.base import Arguments, numbers_of
from skdgm.likelihoods.transformed_normal import TransformedNormalLikelihood


class GaussianQuantileLikelihood(TransformedNormalLikelihood):
    """t = g(x) is normal, with g piecewise linear through pairs of a value of x and a normal score.

    Beyond the outermost knots, g goes on with the slopes of the outermost pieces.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``knots``: increasing values of x. ``scores``: what g is there, increasing. As many for each column, at least 2.
    """

    standardize = True

    knots: Tensor
    scores: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        self.keep(knots=numbers_of(arguments, "knots"), scores=numbers_of(arguments, "scores"))

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t, slope = interpolate(x, self.knots, self.scores)
        return t, torch.log(slope)

    def inverse(self, t: Tensor) -> Tensor:
        return interpolate(t, self.scores, self.knots)[0]

    def mean(self, normal: Normal) -> Tensor:
        """Exact: the inverse of g is linear plus a multiple of max(t - score, 0) for each inner knot.

        In float64, since neighboring slopes may differ by orders of magnitude.
        """
        knots, scores, mean, sd = self.knots.double(), self.scores.double(), normal.mean.double(), normal.sd.double()
        slopes = knots.diff() / scores.diff()
        result = knots[:, 0] + slopes[:, 0] * (mean - scores[:, 0])
        for score, change in zip(scores[:, 1:-1].unbind(1), slopes.diff().unbind(1), strict=True):
            result = result + change * expected_excess(mean, sd, score)
        return result.to(normal.mean.dtype)


def expected_excess(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[max(t - threshold, 0)] for t from N(mean, sd^2)."""
    z = (mean - threshold) / sd
    return sd * (z * torch.special.ndtr(z) + torch.exp(-0.5 * (z**2 + LOG_2PI)))


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Piecewise linear function of each column, and its slope, at x of shape (..., n_columns).

    Parameters
    ----------
    x : Tensor of shape (..., n_columns)
    knots, values : Tensor of shape (n_columns, n_knots)
        Increasing arguments, and the function's values there.
    """
    cells = x.reshape(-1, x.shape[-1]).T.contiguous()
    piece = torch.searchsorted(knots[:, 1:-1].contiguous(), cells.detach())
    slope = (values.diff() / knots.diff()).gather(1, piece)
    y = values.gather(1, piece) + slope * (cells - knots.gather(1, piece))
    return y.T.reshape(x.shape), slope.T.reshape(x.shape)

"""The Student t likelihood: real columns with outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skdgm.distributions import WithMeans, sum_observed, zero_fill
from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.gaussian import bounded
from skdgm.noise import Rng, open_uniform

# Limits of the degrees of freedom: above 1, a mean exists; at the upper limit the distribution is normal to the eye.
MIN_DOF, MAX_DOF = 1.5, 200.0
INITIAL_DOF = 5.0


class StudentTLikelihood(Likelihood):
    """The decoder gives the location; each column has one learned scale, and learned degrees of freedom."""

    standardize = True

    def __init__(self, n_columns: int, arguments: Sequence[Arguments] = ()) -> None:
        super().__init__(n_columns)
        self.n_shared = n_columns
        self.log_dof = nn.Parameter(torch.full((n_columns,), math.log(INITIAL_DOF)))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> StudentT:
        dof = torch.exp(self.log_dof.clamp(math.log(MIN_DOF), math.log(MAX_DOF)))
        return StudentT(outputs, bounded(shared), dof, observed)


class StudentT(WithMeans):
    """Student t distribution with independent columns.

    Parameters
    ----------
    mean : Tensor of shape (..., n, n_columns)
    log_square_scale : Tensor of shape (n_columns,)
        Logarithm of the squared scale; the variance is dof / (dof - 2) times as large.
    dof : Tensor of shape (n_columns,)
        Degrees of freedom, above 1.
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, mean: Tensor, log_square_scale: Tensor, dof: Tensor, observed: Tensor | None = None) -> None:
        self.mean, self.log_square_scale, self.dof, self.observed = mean, log_square_scale, dof, observed

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row, from two uniform numbers per cell by the polar method of Bailey (1994)."""
        u, v = (open_uniform(self.mean.shape, rng, self.mean) for _ in range(2))
        radius = torch.sqrt(self.dof * torch.expm1(-2 / self.dof * torch.log(u)))
        noise = (radius * torch.cos(2 * math.pi * v)).to(self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.log_square_scale) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of the log-density of the t distribution, of shape (..., n)."""
        squares = (zero_fill(x, self.observed) - self.mean) ** 2 * torch.exp(-self.log_square_scale)
        half = 0.5 * (self.dof + 1)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * self.dof) - 0.5 * torch.log(math.pi * self.dof)
        cells = constant - 0.5 * self.log_square_scale - half * torch.log1p(squares / self.dof)
        return sum_observed(cells, self.observed)

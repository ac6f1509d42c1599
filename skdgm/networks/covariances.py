"""Covariances of a normal network: how many outputs each kind needs, and the normal that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skdgm.distributions import Normal
from skdgm.likelihoods import bounded
from skdgm.structured_normals import FullNormal, LowRankNormal

# A column of U narrows the posterior along it by at most this factor; far beyond, float32 cannot invert I + A^T A.
MAX_NARROWING = 100.0


@dataclass(frozen=True)
class Diagonal:
    """Independent columns: the outputs are means and log-variances."""

    initial = 0.0

    def n_outputs(self, d: int) -> int:
        """Means and log-variances."""
        return 2 * d

    def normal(self, outputs: Tensor, d: int) -> Normal:
        """N(mean, diag)."""
        mean, log_var = outputs.split(d, -1)
        return Normal(mean, bounded(log_var))


@dataclass(frozen=True)
class LowRank:
    """Precision D + U U^T with U of ``rank`` columns."""

    rank: int
    initial = 0.1  # not 0: the bound is even in U, so its gradient is 0 there

    def n_outputs(self, d: int) -> int:
        """Means, -log D, U."""
        return (2 + self.rank) * d

    def normal(self, outputs: Tensor, d: int) -> LowRankNormal:
        """N(mean, (D + U U^T)^-1)."""
        mean, log_var, factors = outputs.split([d, d, self.rank * d], -1)
        return LowRankNormal(mean, -bounded(log_var), factors.unflatten(-1, (self.rank, d)), MAX_NARROWING)


@dataclass(frozen=True)
class Full:
    """Full covariance: the log-diagonal of its Cholesky factor, and the entries below the diagonal."""

    initial = 0.0

    def n_outputs(self, d: int) -> int:
        """Means, logarithms of the diagonal, the triangle below."""
        return 2 * d + d * (d - 1) // 2

    def normal(self, outputs: Tensor, d: int) -> FullNormal:
        """N(mean, C C^T)."""
        mean, log_var, below = outputs.split([d, d, d * (d - 1) // 2], -1)
        row, column = torch.tril_indices(d, d, -1, device=outputs.device)
        triangle = below.new_zeros(*below.shape[:-1], d * d).index_copy(-1, row * d + column, below)
        return FullNormal(mean, triangle.unflatten(-1, (d, d)) + torch.diag_embed(torch.exp(0.5 * bounded(log_var))))


COVARIANCES: dict[str, Callable[[int], Diagonal | LowRank | Full]] = {
    "diagonal": lambda rank: Diagonal(),
    "low_rank": LowRank,
    "full": lambda rank: Full(),
}

"""Draws by inversion of uniform noise: quantiles that torch does not offer, in float64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.special import gammainc, gammaincc, ndtri

# Quantiles of a gamma distribution below exp(this) are returned as exp(this): near enough to 0 as rates of counts.
MIN_LOG_GAMMA = -75.0
N_HALVINGS = 34


def poisson_quantile(u: Tensor, rate: Tensor) -> Tensor:
    """The smallest k with P(X <= k) > u, for X from a Poisson distribution and u in (0, 1)."""
    z = ndtri(u)
    # Between 2^-25 and 1 - 2^-25, the expansion of Cornish and Fisher is at most 5 too high and 1 too low.
    expansion = rate + torch.sqrt(rate) * z + (z**2 - 1) / 6
    below = torch.floor(expansion - 6).clamp(min=-1.0)
    for step in (4, 2, 1):
        below = torch.where(gammaincc(below + step + 1, rate) <= u, below + step, below)
    return below + 1


def gamma_quantile(u: Tensor, shape: Tensor) -> Tensor:
    """The g with P(G <= g) = u, for G from a gamma distribution of scale 1, by bisection of log g.

    The error is less than 1e-8 g, for u up to 1 - 2^-25. Quantiles below exp(-75) are returned as exp(-75).
    """
    high = torch.log(shape + 10 * torch.sqrt(shape) + 20)
    low = torch.full_like(high, MIN_LOG_GAMMA)
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        is_below = gammainc(shape, torch.exp(middle)) < u
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return torch.exp((low + high) / 2)

"""Draws of the code of a row that misses cells, from proposals that adapt to the row.

If few cells are observed, the posterior p(z | x_observed) is much wider than the q(z | x) of an encoder, and may lie
elsewhere. A normal distribution is therefore fitted to weighted draws, of the encoder and of p(z) at first, then of the
normal itself: population Monte Carlo (Cappé, Guillin, Marin, Robert 2004). A draw has the weight p(x_observed, z) / q,
where q is the mixture of all that draws were taken from (Veach, Guibas 1995): what one of these misses has no excessive
weight, as long as another one covers it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdgm.distributions import Categorical, Normal, log_standard_normal
from skdgm.noise import Rng, standard_normal

N_ROUNDS = 2
# Draws of p(z), and of the fitted normal, per draw of the encoder.
OF_PRIOR, OF_FITTED = 2, 2
DRAWS_PER_DRAW = 2 + OF_FITTED  # how many of the last round have weights, per draw of the encoder
MIN_DRAWS = 25  # of the encoder, to fit a normal to
# Weights are raised to the power at most 1 at which their effective number is this share of the draws.
EFFECTIVE_SHARE, N_BISECTIONS = 0.1, 10
MAX_ROWS = 16_384  # that are decoded together
# The fitted normal is wider than the draws, since weights fall off if a proposal is too narrow.
INFLATION, MIN_VARIANCE = 1.3, 1e-4


class Proposal(NamedTuple):
    """What codes are drawn from.

    Attributes
    ----------
    draw : callable
        Takes a number of draws; returns them, (n_draws, ..., n, n_latent).
    log_prob : callable
        Takes such draws; returns their log-densities, (n_draws, ..., n).
    """

    draw: Callable[[int], Tensor]
    log_prob: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, q_z: Any, rng: Rng) -> Proposal:
        """Draws from the distribution of an encoder, or from a mixture of those."""
        return cls(
            lambda n_draws: q_z.expand(n_draws).rsample_and_log_prob(rng)[0], lambda z: q_z.expand(len(z)).log_prob(z)
        )

    @classmethod
    def standard_normal(cls, shape: Sequence[int], rng: Rng, like: Tensor) -> Proposal:
        """Draws from N(0, I), each of ``shape`` (..., n, n_latent)."""
        return cls(lambda n_draws: standard_normal((n_draws, *shape), rng, like), log_standard_normal)


def adapted_draws(
    log_joint: Callable[[Tensor], Tensor], q_z: Proposal, p_z: Proposal, rng: Rng, n_draws: int
) -> tuple[Tensor, Tensor]:
    """Logarithms of weights, (m, ..., n), and draws of z, (m, ..., n, n_latent); m = ``DRAWS_PER_DRAW * n_draws``.

    The mean of the weights is an unbiased estimate of p(x_observed): the last draws do not determine what they are
    drawn from.

    Parameters
    ----------
    log_joint : callable
        Takes draws of z; returns log p(x_observed, z), (m, ..., n).
    q_z, p_z : Proposal
        The encoder, and the prior.
    rng : Rng
    n_draws : int
    """
    n_first = max(n_draws, MIN_DRAWS)
    z, log_q = drawn((q_z, n_first), (p_z, OF_PRIOR * n_first))
    for _ in range(N_ROUNDS):
        fitted = Proposal.of(fitted_normal(z, in_parts(log_joint, z) - log_q), rng)
        z, log_q = drawn((fitted, OF_FITTED * n_first))
    z, log_q = drawn((q_z, n_draws), (p_z, n_draws), (fitted, OF_FITTED * n_draws))
    return in_parts(log_joint, z) - log_q, z


def in_parts(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Apply a function of draws, (n_draws, ..., n, n_latent), to some of them at a time, which bounds the memory."""
    n_together = max(1, MAX_ROWS // math.prod(z.shape[1:-1]))
    return torch.cat([function(part) for part in z.split(n_together)])


def drawn(*parts: tuple[Proposal, int]) -> tuple[Tensor, Tensor]:
    """Draws from each proposal, of the given number, and the log-density of their mixture at all of them."""
    z = torch.cat([proposal.draw(n) for proposal, n in parts])
    shares = (math.log(n / len(z)) for _, n in parts)
    return z, torch.logsumexp(
        torch.stack([share + proposal.log_prob(z) for share, (proposal, _) in zip(shares, parts, strict=True)]), 0
    )


def fitted_normal(z: Tensor, log_w: Tensor) -> Normal:
    """A normal with independent dimensions and the moments of weighted draws, rows of shape (..., n, n_latent)."""
    weight = torch.softmax(tempered(log_w), 0)[..., None]
    mean = (weight * z).sum(0)
    variance = INFLATION * (weight * (z - mean) ** 2).sum(0) + MIN_VARIANCE
    return Normal(mean, torch.log(variance))


def tempered(log_w: Tensor) -> Tensor:
    """Logarithms of weights times the largest power up to 1 that leaves enough effective draws, by bisection."""
    enough = EFFECTIVE_SHARE * len(log_w)

    def suffices(power: Tensor) -> Tensor:
        return 1 / (torch.softmax(power * log_w, 0) ** 2).sum(0) >= enough

    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    power = high.clone()
    for _ in range(N_BISECTIONS):
        is_enough = suffices(power)
        low, high = torch.where(is_enough, power, low), torch.where(is_enough, high, power)
        power = torch.where(low < high, (low + high) / 2, high)
    return low * log_w


def chosen_by_weight(log_w: Tensor, rng: Rng, n_draws: int) -> Tensor:
    """Indices of ``n_draws`` draws of each row, chosen by weight; (n_draws, ..., n)."""
    return Categorical(log_w.movedim(0, -1).expand(n_draws, *log_w.shape[1:], len(log_w))).sample(rng)


def draws_at(z: Tensor, index: Tensor) -> Tensor:
    """Draws of these indices, (n_draws, ..., n), from z of shape (m, ..., n, n_latent)."""
    return z.gather(0, index[..., None].expand(*index.shape, z.shape[-1]))

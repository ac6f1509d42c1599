"""The partition function Z of an RBM: exact by enumeration, else estimated by annealing, from below and from above."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skdgm.distributions import Bernoulli, contiguous_last, log_mean_exp
from skdgm.models.binary_codes import output_at
from skdgm.models.enumeration import all_codes
from skdgm.models.rbm import RBMModule

# An exact log Z sums over codes, or rows, of at most this many bits.
MAX_PARTITION_BITS = 20
# Number of codes that are summed at once.
CODES_AT_ONCE = 1 << 14


def log_partition(
    rbm: RBMModule, mean: Tensor, n_steps: int, n_chains: int, rng: Generator | None
) -> tuple[float, float]:
    """log Z and its standard error: exact if possible, else annealed from independent columns with this mean."""
    if can_enumerate_partition(rbm):
        return exact_log_partition(rbm), 0.0
    return annealed_log_partition(rbm, output_at(mean, rbm.likelihood), n_steps, n_chains, rng)


def can_enumerate_partition(rbm: RBMModule) -> bool:
    """Whether log Z of this RBM is summed exactly."""
    return rbm.n_enumerable_bits() <= MAX_PARTITION_BITS


def exact_log_partition(rbm: RBMModule) -> float:
    """log Z by enumeration of the side with fewer units."""
    over_codes = not rbm.is_binary or rbm.n_hidden <= rbm.n_columns
    codes = all_codes(rbm.n_enumerable_bits(), rbm.W.device)
    energy = rbm.free_energy_of_codes if over_codes else rbm.free_energy
    parts = [torch.logsumexp(-energy(part).double(), 0) for part in codes.split(CODES_AT_ONCE)]
    return float(torch.logsumexp(torch.stack(parts), 0))


class PartitionBracket(NamedTuple):
    """Estimates of log Z that are too low and too high on average, and their standard errors, in nats."""

    lower: float
    lower_error: float
    upper: float
    upper_error: float


@torch.no_grad()
def log_partition_bracket(
    rbm: RBMModule, x: Tensor, n_steps: int, n_chains: int, rng: Generator | None
) -> PartitionBracket:
    """log Z from below and above: exact if possible, else annealed to the RBM, and in reverse from rows x."""
    if can_enumerate_partition(rbm):
        return PartitionBracket(log_z := exact_log_partition(rbm), 0.0, log_z, 0.0)
    b0 = output_at(x.mean(0), rbm.likelihood)
    below = annealed_log_partition(rbm, b0, n_steps, n_chains, rng)
    return PartitionBracket(*below, *reverse_annealed_log_partition(rbm, x, b0, n_steps, rng))


def annealed_log_partition(
    rbm: RBMModule, b0: Tensor, n_steps: int, n_chains: int, rng: Generator | None
) -> tuple[float, float]:
    """Estimate of log Z by annealed importance sampling, too low on average, and its standard error."""
    log_w, log_z0 = annealed_log_weights(rbm, b0, n_steps, n_chains, rng)
    return float(log_mean_exp(log_w)) + log_z0, float(relative_error(log_w))


def annealed_log_weights(
    rbm: RBMModule, b0: Tensor, n_steps: int, n_chains: int, rng: Generator | None
) -> tuple[Tensor, float]:
    """Weights of annealed importance sampling for log Z (Neal 2001; Salakhutdinov & Murray 2008).

    Chains go from independent columns with biases ``b0``, whose partition function is known, to the RBM, through
    p_t(x) proportional to exp(log_base(x, b_t)) prod_j (1 + exp(t (c + W x)_j)), b_t = (1 - t) b0 + t b.

    Returns
    -------
    log_w : Tensor of float64 of shape (n_chains,)
        E[exp(log_w)] = Z / Z0; its log-mean is too low on average.
    log_z0 : float
    """
    zero = torch.zeros(1, rbm.n_columns, device=b0.device)
    log_z0 = rbm.log_visible_partition(b0, zero)[0] + rbm.n_hidden * math.log(2)
    x = rbm.likelihood(b0.expand(n_chains, -1), rbm.log_var).rsample(rng)
    log_w = torch.zeros(n_chains, dtype=torch.float64, device=b0.device)
    before = unnormalized(rbm, x, b0, 0.0)
    for step in range(1, n_steps + 1):
        t = step / n_steps
        b = (1 - t) * b0 + t * rbm.b
        log_w += (unnormalized(rbm, x, b, t) - before).double()
        x = gibbs_step(rbm, x, b, t, rng)
        before = unnormalized(rbm, x, b, t)
    return log_w, float(log_z0)


def reverse_annealed_log_partition(
    rbm: RBMModule, x: Tensor, b0: Tensor, n_steps: int, rng: Generator | None
) -> tuple[float, float]:
    """Estimate of log Z by annealing from rows x, too high on average, and its standard error over the rows.

    The difference between -F(x) and ``reverse_annealed_log_prob``, averaged over the rows.
    """
    log_z = -rbm.free_energy(x).double() - reverse_annealed_log_prob(rbm, x, b0, n_steps, rng)
    return float(log_z.mean()), float(log_z.std() / math.sqrt(len(x))) if len(x) > 1 else math.inf


def reverse_annealed_log_prob(rbm: RBMModule, x: Tensor, b0: Tensor, n_steps: int, rng: Generator | None) -> Tensor:
    """Estimate of log p(x), too low on average: the reverse AIS estimator (Burda et al. 2015); float64, (n,).

    E[exp of it] is the probability of x at the end of the chains of ``annealed_log_weights``, which approaches p(x)
    with the number of steps. A chain for each row goes the same way back, to independent columns with biases ``b0``.
    """
    log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for step in range(n_steps, 0, -1):
        t = step / n_steps
        b = (1 - t) * b0 + t * rbm.b
        before = unnormalized(rbm, x, b, t)
        x = gibbs_step(rbm, x, b, t, rng)
        log_w += (before - unnormalized(rbm, x, b, t)).double()
    log_z0 = rbm.log_visible_partition(b0, torch.zeros_like(x[:1]))[0] + rbm.n_hidden * math.log(2)
    return log_w + (unnormalized(rbm, x, b0, 0.0) - log_z0).double()


def gibbs_step(rbm: RBMModule, x: Tensor, b: Tensor, t: float, rng: Generator | None) -> Tensor:
    """A Gibbs step from x under p_t, reversible with respect to it."""
    h = Bernoulli(t * rbm.q_h(x).logits).rsample(rng)
    return rbm.p_x_at(h, b, t).rsample(rng)


def unnormalized(rbm: RBMModule, x: Tensor, b: Tensor, t: float) -> Tensor:
    """Log of p_t(x) without its normalizer; (n,)."""
    return rbm.log_base(x, b) + F.softplus(t * rbm.q_h(x).logits).sum(-1)


def relative_error(log_w: Tensor) -> Tensor:
    """Standard error of the log of the mean weight along axis 0, by the delta method; inf for a single weight."""
    if len(log_w) == 1:
        return torch.full_like(log_w[0], math.inf)
    w = contiguous_last(torch.exp(log_w - log_w.max(0, keepdim=True).values))
    return w.std(-1) / w.mean(-1) / math.sqrt(len(log_w))

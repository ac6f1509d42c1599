"""The partition function Z of an RBM: exact by enumeration, else estimated by annealed importance sampling."""

from __future__ import annotations

import math

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
        h = Bernoulli(t * rbm.q_h(x).logits).rsample(rng)
        x = rbm.likelihood(b + t * (h @ rbm.W), rbm.log_var).rsample(rng)
        before = unnormalized(rbm, x, b, t)
    return log_w, float(log_z0)


def unnormalized(rbm: RBMModule, x: Tensor, b: Tensor, t: float) -> Tensor:
    """Log of p_t(x) without its normalizer; (n,)."""
    return rbm.log_base(x, b) + F.softplus(t * rbm.q_h(x).logits).sum(-1)


def relative_error(log_w: Tensor) -> Tensor:
    """Standard error of the log of the mean weight along axis 0, by the delta method; inf for a single weight."""
    if len(log_w) == 1:
        return torch.full_like(log_w[0], math.inf)
    w = contiguous_last(torch.exp(log_w - log_w.max(0, keepdim=True).values))
    return w.std(-1) / w.mean(-1) / math.sqrt(len(log_w))

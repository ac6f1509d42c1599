"""The best latent marginal of a layer (Arnold & Ollivier 2012, arXiv 1212.1524), and densities of stacks.

A layer p(x | h) is judged before the layers above it exist: whatever p(h) they will give,

    E_D log sum_h p(x | h) p(h)  <=  U_D = max_Q E_D log sum_h p(x | h) Q(h),

and U_D is lost by no more than KL(Q || p(h)) at the maximising Q. The q lower bound puts q_D(h) = E_D q(h | x) for Q.
All sums run over ``codes``: all of them where they can be enumerated, else some distinct ones, and then every sum is
still a lower bound of the whole.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from skdgm.distributions import Bernoulli, Normal, log_mean_exp
from skdgm.models.binary_codes import BinaryCodeModule
from skdgm.models.rbm import RBMModule, annealed_log_weights

# Bits of codes that are summed over one by one, row by row; and those of a partition function, summed once.
MAX_CODE_BITS = 15
MAX_PARTITION_BITS = 20
# Cells of a (rows, codes) table that are held at once.
TABLE_CELLS = 1 << 24
# Cells of that table that the upper bound, which needs it whole, may take.
MAX_TABLE_CELLS = 1 << 28
# EM stops when its certificate says that this much, in nats, is left to gain.
EM_TOLERANCE = 0.01
EM_STEPS = 500


def codes_to_sum(layer: BinaryCodeModule, x: Tensor, method: str, n_draws: int, rng: Generator | None) -> Tensor:
    """All codes of a layer ("enumerate"), or the distinct ones among draws from the rows ("sample")."""
    if method == "enumerate" and layer.n_hidden > MAX_CODE_BITS:
        raise ValueError(
            f"method='enumerate' sums over 2^n_hidden codes and needs n_hidden <= {MAX_CODE_BITS}, got "
            f"{layer.n_hidden}. Use method='sample'."
        )
    if method == "sample" or layer.n_hidden > MAX_CODE_BITS:
        return distinct_draws(layer, x, n_draws, rng)
    return all_codes(layer.n_hidden, x.device)


def all_codes(n_bits: int, device: torch.device | str = "cpu") -> Tensor:
    """Every binary code, (2^n_bits, n_bits)."""
    places = torch.arange(1 << n_bits, device=device)[:, None]
    return ((places >> torch.arange(n_bits, device=device)) & 1).float()


def distinct_draws(layer: BinaryCodeModule, x: Tensor, n_draws: int, rng: Generator | None) -> Tensor:
    """The distinct codes among ``n_draws`` from q(h | x) of each row, (n_codes, n_hidden)."""
    q_h = layer.q_h(x)
    return torch.unique(torch.cat([q_h.rsample(rng) for _ in range(n_draws)]), dim=0)


# --- the criterion ------------------------------------------------------------------------------------------------


class QBounds(NamedTuple):
    """Bounds of each row, (n,): their means over rows are the criterion's lower bounds, in nats per row."""

    q_lower: Tensor
    autoencoder: Tensor


def q_bounds(layer: BinaryCodeModule, x: Tensor, codes: Tensor, source: Tensor) -> QBounds:
    """log sum_h p(x | h) q_D(h) of each row, q_D from the rows ``source``; and log sum_h p(x | h) q(h | x) - log n."""
    log_q_data = log_latent_marginal(layer, source, codes)
    p_x = layer.p_x(codes)
    q_lower, own = [], []
    for rows in x.split(rows_at_once(codes)):
        log_p = p_x.cross_log_prob(rows)
        q_lower.append(torch.logsumexp(log_p + log_q_data, 1))
        own.append(torch.logsumexp(log_p + log_q_of_codes(layer, rows, codes), 1))
    return QBounds(torch.cat(q_lower), torch.cat(own) - math.log(len(x)))


def log_latent_marginal(layer: BinaryCodeModule, x: Tensor, codes: Tensor) -> Tensor:
    """log q_D(h) = log E_D q(h | x) of each code, (n_codes,)."""
    parts = [torch.logsumexp(log_q_of_codes(layer, rows, codes), 0) for rows in x.split(rows_at_once(codes))]
    return torch.logsumexp(torch.stack(parts), 0) - math.log(len(x))


def log_q_of_codes(layer: BinaryCodeModule, x: Tensor, codes: Tensor) -> Tensor:
    """log q(h | x) of every row and code, (n, n_codes)."""
    return layer.q_h(x).cross_log_prob(codes).T


def rows_at_once(codes: Tensor) -> int:
    """Rows whose table with all codes is held at once."""
    return max(1, TABLE_CELLS // len(codes))


class BestMarginal(NamedTuple):
    """What EM over Q(h) found.

    Attributes
    ----------
    log_marginal : Tensor of shape (n_codes,)
        log Q(h).
    values : list of float
        E_D log sum_h p(x | h) Q(h) after each step: it never falls, and lies below U_D.
    gap : float
        log max_h E_D[p(x | h) / P(x)], what is left to gain at most: below ``EM_TOLERANCE``, unless EM ended after
        ``EM_STEPS``.
    """

    log_marginal: Tensor
    values: list[float]
    gap: float

    @property
    def certified(self) -> float:
        """An upper bound on U_D."""
        return self.values[-1] + self.gap


def best_latent_marginal(layer: BinaryCodeModule, x: Tensor, codes: Tensor) -> BestMarginal:
    """Maximise E_D log sum_h p(x | h) Q(h) over Q by EM: Q(h) <- Q(h) E_D[p(x | h) / P(x)].

    The objective is concave, and by Jensen no Q' gains more than log E_D[P'(x) / P(x)], which the best single code
    bounds: hence the certificate.
    """
    if len(x) * len(codes) > MAX_TABLE_CELLS:
        raise ValueError(
            f"the upper bound needs a table of {len(x)} rows times {len(codes)} codes, more than {MAX_TABLE_CELLS} "
            "cells. Give fewer rows, or certify=False."
        )
    p_x = layer.p_x(codes)
    log_p = torch.cat([p_x.cross_log_prob(rows) for rows in x.split(rows_at_once(codes))])
    highest = log_p.max(1, keepdim=True).values
    ratio = torch.exp(log_p.sub_(highest))  # p(x | h) of the row's best code is 1: a row's largest never underflows
    q = torch.full((len(codes),), 1 / len(codes), device=x.device)
    values: list[float] = []
    for _ in range(EM_STEPS):
        p = ratio @ q
        force = (1 / p) @ ratio / len(x)  # E_D[p(x | h) / P(x)]
        values.append(float((p.log() + highest[:, 0]).double().mean()))
        gap = max(0.0, float(force.max().log()))
        if gap <= EM_TOLERANCE:
            break
        q = q * force
        q = q / q.sum()
    return BestMarginal(q.log(), values, gap)


def clearly_above(bound: Tensor, density: Tensor) -> bool:
    """Whether the mean over the same rows is higher by more than two standard errors of the difference."""
    gain = (bound - density).double()
    return bool(gain.mean() > 2 * gain.std(correction=0) / len(gain) ** 0.5)


# --- densities ----------------------------------------------------------------------------------------------------


def can_enumerate_partition(rbm: RBMModule) -> bool:
    """Whether log Z of this machine is summed exactly."""
    return rbm.smaller_side() <= MAX_PARTITION_BITS


def exact_log_partition(rbm: RBMModule) -> float:
    """log Z by enumeration of the side with fewer units."""
    over_codes = not rbm.is_binary or rbm.n_hidden <= rbm.n_columns
    codes = all_codes(rbm.smaller_side(), rbm.W.device)
    energy = rbm.free_energy_of_codes if over_codes else rbm.free_energy
    parts = [torch.logsumexp(-energy(part).double(), 0) for part in codes.split(TABLE_CELLS // 1024)]
    return float(torch.logsumexp(torch.stack(parts), 0))


def annealed_log_partition(
    rbm: RBMModule, b0: Tensor, n_steps: int, n_chains: int, rng: Generator | None
) -> tuple[float, float]:
    """log Z by annealed importance sampling, too low on average, and its standard error."""
    log_w, log_z0 = annealed_log_weights(rbm, b0, n_steps, n_chains, rng)
    return float(log_mean_exp(log_w)) + log_z0, float(relative_error(log_w))


def relative_error(log_w: Tensor) -> Tensor:
    """Standard error of the log of the mean of weights along axis 0, by the delta method; inf for one weight."""
    if len(log_w) == 1:
        return torch.full_like(log_w[0], math.inf)
    w = torch.exp(log_w - log_w.max(0, keepdim=True).values)
    return w.std(0) / w.mean(0) / math.sqrt(len(w))


def log_mixture(p_x: Bernoulli | Normal, log_weights: Tensor, x: Tensor) -> Tensor:
    """log sum_h p(x | h) P(h) for codes of these log-weights; (n,)."""
    parts = [torch.logsumexp(p_x.cross_log_prob(rows) + log_weights, 1) for rows in x.split(rows_at_once(log_weights))]
    return torch.cat(parts)

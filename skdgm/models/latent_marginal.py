"""The best latent marginal of a layer: the criterion of Arnold & Ollivier 2012 (arXiv 1212.1524).

A layer p(x | h) is judged before the layers above it exist. Whatever p(h) they will define,

    E_D log sum_h p(x | h) p(h)  <=  U_D = max_Q E_D log sum_h p(x | h) Q(h),

and the gap is at most KL(Q || p(h)) at the maximizing Q. The q lower bound uses q_D(h) = E_D q(h | x) as Q. All sums
run over ``codes``: all codes if they can be enumerated, else some distinct ones. A sum over some codes is a lower bound
on the full sum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skdgm.models.binary_codes import BinaryCodeModule
from skdgm.models.enumeration import rows_at_once

# Largest number of cells of the (rows, codes) table of the upper bound, which needs the whole table in memory.
MAX_TABLE_CELLS = 1 << 28
# EM stops when its certificate says that at most this much, in nats, is left to gain.
EM_TOLERANCE = 0.01
EM_STEPS = 500


class QBounds(NamedTuple):
    """Bounds of each row, (n,). Their means over rows are lower bounds on the criterion, in nats per row."""

    q_lower: Tensor
    autoencoder: Tensor


def q_bounds(layer: BinaryCodeModule, x: Tensor, codes: Tensor, source: Tensor) -> QBounds:
    """log sum_h p(x | h) q_D(h) per row, with q_D from the rows ``source``; and log sum_h p(x | h) q(h | x) - log n."""
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


class BestMarginal(NamedTuple):
    """Result of EM over Q(h).

    Attributes
    ----------
    log_marginal : Tensor of shape (n_codes,)
        log Q(h).
    values : list of float
        E_D log sum_h p(x | h) Q(h) after each step; it never decreases and stays below U_D.
    gap : float
        log max_h E_D[p(x | h) / P(x)], an upper bound on what is left to gain. It is below ``EM_TOLERANCE``, unless EM
        stopped after ``EM_STEPS``.
    """

    log_marginal: Tensor
    values: list[float]
    gap: float

    @property
    def certified(self) -> float:
        """An upper bound on U_D."""
        return self.values[-1] + self.gap


def best_latent_marginal(layer: BinaryCodeModule, x: Tensor, codes: Tensor) -> BestMarginal:
    """Maximize E_D log sum_h p(x | h) Q(h) over Q by EM: Q(h) <- Q(h) E_D[p(x | h) / P(x)].

    The objective is concave. By Jensen's inequality no Q' gains more than log E_D[P'(x) / P(x)], and the best single
    code bounds this gain: this is the certificate.
    """
    if len(x) * len(codes) > MAX_TABLE_CELLS:
        raise ValueError(
            f"the upper bound needs a table of {len(x)} rows times {len(codes)} codes, more than {MAX_TABLE_CELLS} "
            "cells. Pass fewer rows, or certify=False."
        )
    p_x = layer.p_x(codes)
    log_p = torch.cat([p_x.cross_log_prob(rows) for rows in x.split(rows_at_once(codes))])
    highest = log_p.max(1, keepdim=True).values
    ratio = torch.exp(log_p.sub_(highest))  # scaled to 1 at each row's best code, so the largest value never underflows
    q = torch.full((len(codes),), 1 / len(codes), device=x.device)
    values: list[float] = []
    for _ in range(EM_STEPS):
        p = ratio @ q
        em_ratio = (1 / p) @ ratio / len(x)  # E_D[p(x | h) / P(x)]
        values.append(float((p.log() + highest[:, 0]).double().mean()))
        gap = max(0.0, float(em_ratio.max().log()))
        if gap <= EM_TOLERANCE:
            break
        q = q * em_ratio
        q = q / q.sum()
    return BestMarginal(q.log(), values, gap)


def clearly_above(bound: Tensor, density: Tensor) -> bool:
    """Whether the mean bound is above the mean density, over the same rows, by more than two standard errors."""
    gain = (bound - density).double()
    return bool(gain.mean() > 2 * gain.std(correction=0) / len(gain) ** 0.5)

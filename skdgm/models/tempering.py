"""Gibbs sampling of an RBM at several temperatures, which exchange their chains: parallel tempering.

The path is that of annealing: p_t(x) proportional to exp(log_base(x, b_t)) prod_j (1 + exp(t (c + W x)_j)) with
b_t = (1 - t) b0 + t b, from independent columns at t = 0, where chains move freely, to the RBM at t = 1. Chains are
held as codes h of shape (n_temperatures, n, n_hidden), in order of t.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skdgm.distributions import Bernoulli, linear
from skdgm.models.rbm import RBMModule
from skdgm.noise import uniform


def inverse_temperatures(n: int, device: torch.device) -> Tensor:
    """t of the chains, equally spaced from 0 to 1; (n, 1, 1)."""
    return torch.linspace(0, 1, n, device=device)[:, None, None]


def tempered_gibbs(
    rbm: RBMModule, h: Tensor, b0: Tensor, n_steps: int, rng: Generator | None
) -> tuple[Tensor, Bernoulli]:
    """Run ``n_steps`` of Gibbs sampling and exchanges at every temperature; return the last x, and q_t(h | x).

    Parameters
    ----------
    rbm : RBMModule
    h : Tensor of shape (n_temperatures, n, n_hidden)
        Codes to start from; there are at least two temperatures.
    b0 : Tensor of shape (n_columns,)
        Visible biases at t = 0.
    n_steps : int
    rng : Generator or None

    Returns
    -------
    x : Tensor of shape (n_temperatures, n, n_columns)
        The last entry holds the draws of the RBM itself.
    q_h : Bernoulli
        Codes given x, to continue; (n_temperatures, n, n_hidden).
    """
    t = inverse_temperatures(len(h), h.device)
    x, q_h = tempered_step(rbm, h, b0, t, rng)
    for _ in range(n_steps - 1):
        x, q_h = tempered_step(rbm, q_h.rsample(rng), b0, t, rng)
    return x, q_h


def tempered_step(rbm: RBMModule, h: Tensor, b0: Tensor, t: Tensor, rng: Generator | None) -> tuple[Tensor, Bernoulli]:
    """Draw x from p_t(x | h), exchange neighbors; return x and q_t(h | x)."""
    x = rbm.p_x_at(h, torch.lerp(b0, rbm.b, t), t).rsample(rng)
    x, logits = exchanged(rbm, x, b0, t, rng)
    return x, Bernoulli(t * logits)


def exchanged(rbm: RBMModule, x: Tensor, b0: Tensor, t: Tensor, rng: Generator | None) -> tuple[Tensor, Tensor]:
    """Exchange rows of neighboring temperatures: in the pairs (0, 1), (2, 3), ..., then in (1, 2), (3, 4), ...

    Returns
    -------
    x : Tensor of shape (n_temperatures, n, n_columns)
    logits : Tensor of shape (n_temperatures, n, n_hidden)
        c + W x, which the next Gibbs step needs, too.
    """
    logits = linear(rbm.scaled(x), rbm.W, rbm.c).float()
    slope = (rbm.scaled(x) * (rbm.b - b0)).sum(-1)  # of log_base(x, b_t) in t, up to a constant
    rows = torch.arange(x.shape[1], device=x.device)
    for first in range(min(2, len(t) - 1)):
        order = order_after_exchange(logits, slope, t, first, rng)
        x, logits, slope = x[order, rows], logits[order, rows], slope[order, rows]
    return x, logits


def order_after_exchange(logits: Tensor, slope: Tensor, t: Tensor, first: int, rng: Generator | None) -> Tensor:
    """Indices of temperatures after Metropolis exchanges in (first, first + 1), (first + 2, first + 3), ...; (n_t, n).

    A pair exchanges its rows with probability min(1, p_t(x') p_t'(x) / (p_t(x) p_t'(x'))), which leaves the product of
    all p_t invariant.
    """
    end = len(t) - (len(t) - first) % 2
    lower, upper = slice(first, end, 2), slice(first + 1, end, 2)

    def gain(part: slice) -> Tensor:
        """log p_upper - log p_lower of the rows in this part of the temperatures, up to a constant; (n_pairs, n)."""
        softplus = F.softplus(t[upper] * logits[part]) - F.softplus(t[lower] * logits[part])
        return (t[upper] - t[lower])[..., 0] * slope[part] + softplus.sum(-1)

    log_ratio = gain(lower) - gain(upper)
    accepted = torch.log(uniform(log_ratio.shape, rng, log_ratio)) < log_ratio
    order = torch.arange(len(t), device=t.device)[:, None].repeat(1, logits.shape[1])
    order[lower] += accepted
    order[upper] -= accepted.long()
    return order

"""The restricted Boltzmann machine: energies, conditionals, Gibbs steps.

Binary rows:  E(x, h) = -b x - c h - h W x.
Real rows:    E(x, h) = sum (x - b)^2 / (2 s^2) - c h - h W (x / s^2), so that p(x | h) = N(b + h W, diag(s^2)).

p(x, h) = exp(-E) / Z and F(x) = -log sum_h exp(-E(x, h)), so that log p(x) = -F(x) - log Z.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skdgm.distributions import LOG_2PI, Bernoulli, Normal
from skdgm.likelihoods import bounded
from skdgm.models.binary_codes import TiedModule
from skdgm.noise import sample_bernoulli


class RBMModule(TiedModule):
    """p(x, h) = exp(-E(x, h)) / Z over binary h and binary or real x."""

    def log_base(self, x: Tensor, b: Tensor) -> Tensor:
        """The part of -E that depends on x only, under visible biases ``b``; (n,)."""
        if self.is_binary:
            return x @ b
        return -0.5 * ((x - b) ** 2 * torch.exp(-bounded(self.log_var))).sum(-1)

    def free_energy(self, x: Tensor) -> Tensor:
        """F(x) = -log sum_h exp(-E(x, h)); (n,)."""
        return -self.log_base(x, self.b) - F.softplus(self.q_h(x).logits).sum(-1)

    def free_energy_of_codes(self, h: Tensor) -> Tensor:
        """-log of the sum, or integral, of exp(-E(x, h)) over x; (n,)."""
        return -h @ self.c - self.log_visible_partition(self.b, h @ self.W)

    def log_visible_partition(self, b: Tensor, field: Tensor) -> Tensor:
        """Log of the sum, or integral, over x of exp(log_base(x, b) + scaled(x) field); ``field``: (n, n_columns)."""
        if self.is_binary:
            return F.softplus(b + field).sum(-1)
        log_var = bounded(self.log_var)
        cells = 0.5 * (LOG_2PI + log_var) + (b + 0.5 * field) * field * torch.exp(-log_var)
        return cells.sum(-1)

    def p_x_at(self, h: Tensor, b: Tensor, t: float | Tensor) -> Bernoulli | Normal:
        """p(x | h) at inverse temperature ``t`` of the path of annealing, where the visible biases are ``b``."""
        return self.likelihood(b + t * (h @ self.W), self.log_var)

    def gibbs(self, h: Tensor, n_steps: int, rng: Generator | None) -> tuple[Tensor, Bernoulli]:
        """Run ``n_steps`` of block Gibbs sampling from codes ``h``; return the last x, and q(h | x) to continue."""
        x = self.p_x(h).rsample(rng)
        for _ in range(n_steps - 1):
            x = self.p_x(self.q_h(x).rsample(rng)).rsample(rng)
        return x, self.q_h(x)

    def log_prob(self, x: Tensor, log_z: float | Tensor) -> Tensor:
        """log p(x) = -F(x) - log Z; (n,)."""
        return -self.free_energy(x) - log_z

    def monitor(self, x: Tensor, rng: Generator | None) -> Tensor:
        """Value to monitor in training; (n,). Pseudo-likelihood of binary rows, E_q[log p(x | h)] of real ones."""
        if self.is_binary:
            return self.pseudo_likelihood(sample_bernoulli(x, rng), rng)
        return self.p_x(self.q_h(x).rsample(rng)).log_prob(x)

    def pseudo_likelihood(self, x: Tensor, rng: Generator | None) -> Tensor:
        """Log pseudo-likelihood sum_i log p(x_i | the other columns) of binary rows; (n,).

        An unbiased estimate from one random column per row, times the number of columns.
        """
        column = torch.randint(self.n_columns, (len(x),), generator=rng, device=x.device)
        flip = 1 - 2 * x.gather(1, column[:, None])
        logits = self.q_h(x).logits
        gain = F.softplus(logits + flip * self.W.T[column]).sum(1) - F.softplus(logits).sum(1)
        return -self.n_columns * F.softplus(flip[:, 0] * self.b[column] + gain)

    def n_enumerable_bits(self) -> int:
        """Number of bits to enumerate for an exact log Z: those of h, or of binary x if these are fewer."""
        return min(self.n_hidden, self.n_columns) if self.is_binary else self.n_hidden

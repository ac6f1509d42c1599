"""The restricted Boltzmann machine: energies, Gibbs steps, and contrastive divergence with a hand-written gradient.

Binary rows:  E(x, h) = -b x - c h - h W x.
Real rows:    E(x, h) = sum (x - b)^2 / (2 s^2) - c h - h W (x / s^2), so that p(x | h) = N(b + h W, diag(s^2)).

p(x, h) = exp(-E) / Z and F(x) = -log sum_h exp(-E(x, h)), so that log p(x) = -F(x) - log Z.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skdgm.distributions import LOG_2PI, Bernoulli
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


# Number of rows per step to monitor; few, because the monitor must cost much less than the step.
N_MONITOR_ROWS = 10


class ContrastiveDivergence:
    """Objective with a hand-written gradient: that of log p(x), with the expectation under p from Gibbs sampling.

    Parameters
    ----------
    rbm : RBMModule
    n_steps : int
        Gibbs steps for the expectation: CD-k (Hinton 2002). More steps give less bias.
    persistent : bool
        Start from the last batch's samples instead of this batch's rows (Tieleman 2008).
    """

    def __init__(self, rbm: RBMModule, n_steps: int = 1, persistent: bool = False) -> None:
        self.rbm, self.n_steps, self.persistent = rbm, n_steps, persistent
        self.chains: Tensor | None = None

    def state_dict(self) -> dict[str, Tensor]:
        """The persistent chains."""
        return {} if self.chains is None else {"chains": self.chains}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with other chains."""
        self.chains = state["chains"].to(self.rbm.W.device) if "chains" in state else None

    @torch.no_grad()
    def __call__(self, x: Tensor, rng: Generator | None, weight: Tensor | None = None) -> Tensor:
        """Write the gradients of minus the mean log p(x), and return the monitor of some of the rows.

        The gradients and the monitor of all rows are multiplied by the mean ``weight``.
        """
        rbm = self.rbm
        h = rbm.q_h(x).mean
        start = sample_bernoulli(h, rng) if self.chains is None else self.chains
        model_x, q_h = rbm.gibbs(start, self.n_steps, rng)
        model_h = q_h.mean
        if self.persistent:
            self.chains = sample_bernoulli(model_h, rng)
        self.write_gradients((x, h), (model_x, model_h))
        monitor = rbm.monitor(x[:N_MONITOR_ROWS], rng)
        if weight is None:
            return monitor
        for parameter in rbm.parameters():
            if parameter.grad is not None:
                parameter.grad *= weight.mean()
        return monitor.mean().expand(len(x))

    def write_gradients(self, data: tuple[Tensor, Tensor], model: tuple[Tensor, Tensor]) -> None:
        """Set each ``grad`` to d(-log p)/d(parameter) = E_data[dE] - E_model[dE], from (x, E[h | x]) of both."""
        rbm = self.rbm
        (x, h), (model_x, model_h) = data, model
        model_hx = model_h.T @ model_x
        rbm.W.grad = rbm.scaled(torch.addmm(model_hx, h.T, x, beta=1 / len(model_x), alpha=-1 / len(x)).float())
        rbm.b.grad = rbm.scaled(model_x.mean(0) - x.mean(0))
        rbm.c.grad = model_h.mean(0) - h.mean(0)
        if not rbm.is_binary:
            rbm.log_var.grad = self.log_var_force(model_x, model_h) - self.log_var_force(x, h)

    def log_var_force(self, x: Tensor, h: Tensor) -> Tensor:
        """Mean of -dE/d(log s^2): ((x - b)^2 / 2 - x (h W)) / s^2."""
        rbm = self.rbm
        cells = 0.5 * (x - rbm.b) ** 2 - x * (h @ rbm.W)
        return (cells * torch.exp(-bounded(rbm.log_var))).mean(0)

"""The posterior of each row, fitted anew from that of the encoder on: tighter bounds on log p(x) from as many draws.

One encoder serves all rows and therefore fits none of them best, new rows least of all: the amortization gap of Cremer,
Li, and Duvenaud 2018 (arXiv 1801.03558). A few steps of gradient ascent on a row's own bound narrow it, as in Kim et
al. 2018 (arXiv 1802.02550). The model itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skdgm.models.bound import ImportanceBound
from skdgm.noise import Rng
from skdgm.optimizer import adam_step
from skdgm.structured_normals import AnyNormal, EqualMixture

# Draws per step, and the learning rate, in standard deviations of a code, which falls to 0 over the steps.
N_DRAWS, RATE = 5, 0.1
# Draws that estimate these standard deviations.
N_DRAWS_OF_SD = 32
# A step needs as much memory as so many draws without gradient.
DRAWS_IN_MEMORY = 4 * N_DRAWS


class Moved:
    """A distribution q of codes, moved and stretched: z = m + shift + exp(log_scale) (z' - m) for z' ~ q of mean m.

    Parameters
    ----------
    q : distribution with rows of shape (n, d)
    mean, shift, log_scale : Tensor of shape (n, d)
    """

    def __init__(self, q: AnyNormal | EqualMixture, mean: Tensor, shift: Tensor, log_scale: Tensor) -> None:
        self.q, self.mean, self.shift, self.log_scale = q, mean, shift, log_scale

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n)."""
        z, log_q = self.q.rsample_and_log_prob(rng)
        moved = self.mean + self.shift + torch.exp(self.log_scale) * (z - self.mean)
        return moved, log_q - self.log_scale.sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, of shape (..., n)."""
        back = self.mean + torch.exp(-self.log_scale) * (z - self.mean - self.shift)
        return self.q.log_prob(back) - self.log_scale.sum(-1)

    def expand(self, n_draws: int) -> Moved:
        """The same distribution, for ``n_draws`` draws per row."""
        return Moved(self.q.expand(n_draws), self.mean, self.shift, self.log_scale)


def refined(
    q: AnyNormal | EqualMixture, bound: Callable[[Moved, int], ImportanceBound], rng: Rng, n_steps: int
) -> Moved:
    """q, moved and stretched by ``n_steps`` steps of Adam that maximize the importance-weighted bound of each row.

    ``bound`` takes such a distribution and a number of draws. The bound with several draws wants q
    to cover the posterior, as importance sampling does; that with one draw, the ELBO, would let it fall short.
    """
    mean = q.mean
    sd = (q.expand(N_DRAWS_OF_SD).rsample_and_log_prob(rng)[0] - mean).square().mean(0).sqrt()
    change = torch.zeros(2, *mean.shape, device=mean.device)  # of the mean, in sd, and of log sd
    first_moment, second_moment = torch.zeros_like(change), torch.zeros_like(change)
    for step in range(n_steps):
        with torch.enable_grad():
            change.requires_grad_()
            total = bound(Moved(q, mean, sd * change[0], change[1]), N_DRAWS).total().sum()
            (gradient,) = torch.autograd.grad(total, change)
        change = change.detach()
        t = torch.tensor(step + 1.0, device=mean.device)
        # a row whose bound is not finite stays where it is
        descent = -torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
        adam_step(change, descent, first_moment, second_moment, t, RATE * (1 - step / n_steps), 0.0)
    return Moved(q, mean, sd * change[0], change[1])

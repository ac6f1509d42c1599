"""Semi-amortized inference: the encoder's posterior of each row, improved by gradient ascent on the bound of that row.

One encoder serves all rows. This leaves a gap to the best posterior of each, which is widest for new rows: the
amortization gap of Cremer, Li, and Duvenaud 2018 (arXiv 1801.03558). A few steps of gradient ascent narrow it, as in
Kim et al. 2018 (arXiv 1802.02550). The model does not change.
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
# Adam's epsilon, in nats per standard deviation: where gradients are smaller, Adam would take steps of full size
# after noise, in every dimension at once.
EPSILON = 0.03
MAX_GRADIENT = 1e6  # its square is finite
# Draws that estimate the standard deviations.
N_DRAWS_OF_SD = 32
# A step needs as much memory as so many draws without gradient.
DRAWS_IN_MEMORY = 8 * N_DRAWS


class LocationScale:
    """The distribution of z = c + shift + exp(log_scale) (z' - c) for z' ~ q, in each dimension.

    Parameters
    ----------
    q : distribution with rows of shape (n, d)
    center, shift, log_scale : Tensor of shape (n, d)
    """

    def __init__(self, q: AnyNormal | EqualMixture, center: Tensor, shift: Tensor, log_scale: Tensor) -> None:
        self.q, self.center, self.shift, self.log_scale = q, center, shift, log_scale

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n)."""
        standard, log_q = self.q.rsample_and_log_prob(rng)
        z = self.center + self.shift + torch.exp(self.log_scale) * (standard - self.center)
        return z, log_q - self.log_scale.sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density, of shape (..., n)."""
        standard = self.center + torch.exp(-self.log_scale) * (z - self.center - self.shift)
        return self.q.log_prob(standard) - self.log_scale.sum(-1)

    def expand(self, n_draws: int) -> LocationScale:
        """The same distribution, for ``n_draws`` draws per row.

        If q is a mixture, this number is rounded up to as many draws of each component. The first few components alone
        would not stand for all of them once shift and scale depend on them.
        """
        if isinstance(self.q, EqualMixture):
            n_components = len(self.q.components.mean)
            n_draws = -(-n_draws // n_components) * n_components
        return LocationScale(self.q.expand(n_draws), self.center, self.shift, self.log_scale)


def refined(
    q: AnyNormal | EqualMixture, bound: Callable[[LocationScale, int], ImportanceBound], rng: Rng, n_steps: int
) -> LocationScale:
    """q with the location and scale of each row that ``n_steps`` steps of Adam on its importance-weighted bound find.

    ``bound`` takes a distribution of codes and a number of draws. With several draws, its maximum covers the posterior,
    as importance sampling demands; with one, it would be the ELBO, which prefers a q that is too narrow.
    """
    center = q.mean
    sd = (q.expand(N_DRAWS_OF_SD).rsample_and_log_prob(rng)[0] - center).square().mean(0).sqrt()
    parameters = torch.zeros(2, *center.shape, device=center.device)  # shift in sd, and log_scale
    first_moment, second_moment = torch.zeros_like(parameters), torch.zeros_like(parameters)
    for step in range(n_steps):
        with torch.enable_grad():
            parameters.requires_grad_()
            shift, log_scale = parameters
            total = bound(LocationScale(q, center, sd * shift, log_scale), N_DRAWS).total().sum()
            (gradient,) = torch.autograd.grad(total, parameters)
        parameters = parameters.detach()
        downhill = -torch.nan_to_num(gradient, 0.0, 0.0, 0.0).clamp(-MAX_GRADIENT, MAX_GRADIENT)
        t, rate = torch.full((), step + 1.0, device=center.device), RATE * (1 - step / n_steps)
        adam_step(parameters, downhill, first_moment, second_moment, t, rate, epsilon=EPSILON)
    return LocationScale(q, center, sd * parameters[0], parameters[1])

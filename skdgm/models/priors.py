"""The prior p(z) of a latent code: standard normal, or a mixture of normals that is learned with the networks.

Under a standard normal prior, the codes of separate groups of rows must meet, since their union fills one normal; draws
of z between the groups decode to rows of neither. A mixture leaves the space between them empty. With the codes given,
the best prior is the mean of q(z | x) over the rows (Hoffman, Johnson 2016; Tomczak, Welling 2018, arXiv 1705.07120).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import LOG_2PI, float32_products, linear, log_standard_normal
from skdgm.likelihoods import bounded
from skdgm.noise import Rng, standard_normal, uniform
from skdgm.structured_normals import AnyNormal

# Means of the components start at draws of this standard deviation; the mixture starts with the variances of N(0, I).
INITIAL_SPREAD = 0.7


class StandardNormalPrior(nn.Module):
    """p(z) = N(z; 0, I)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., n)."""
        return log_standard_normal(z)

    def log_prob_of(self, z: Tensor, dimensions: Tensor) -> Tensor:
        """The marginal log-density of some dimensions, given by a mask; z has only these: (..., n)."""
        return log_standard_normal(z)

    def draw_and_kl(self, q_z: AnyNormal, rng: Rng, *lead: int) -> tuple[Tensor, Tensor]:
        """A draw of z ~ q(z | x), (*lead, n, n_latent), and KL(q(z | x) || p(z)), (n,), in closed form.

        The KL of a ``TopDownNormal`` is the mean of those at such draws.
        """
        return q_z.rsample_and_kl(rng, *lead)

    def sample(self, shape: tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
        """Draw from p(z) with ``shape`` (..., n, n_latent)."""
        return standard_normal(shape, rng, like)

    expectation = 0.0  # E[z], which broadcasts against codes


class MixturePrior(nn.Module):
    """p(z) = sum_k pi_k N(z; m_k, diag v_k) on the last dimensions of z, and N(0, I) on those before them.

    Parameters
    ----------
    n_components : int
    n_latent : int
        Dimensions of the mixture.
    rng : Generator or None
        Draws the initial means.
    """

    def __init__(self, n_components: int, n_latent: int, rng: Generator | None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.mean = nn.Parameter(INITIAL_SPREAD * torch.randn(n_components, n_latent, generator=rng))
        self.log_var = nn.Parameter(torch.full((n_components, n_latent), math.log(1 - INITIAL_SPREAD**2)))

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., n)."""
        below, z = z.split([z.shape[-1] - self.mean.shape[-1], self.mean.shape[-1]], -1)
        log_p = self.log_density(z, self.mean, bounded(self.log_var))
        return log_p + log_standard_normal(below) if below.shape[-1] else log_p

    def log_prob_of(self, z: Tensor, dimensions: Tensor) -> Tensor:
        """The marginal log-density of some dimensions, given by a mask; z has only these: (..., n)."""
        return self.log_density(z, self.mean[:, dimensions], bounded(self.log_var[:, dimensions]))

    def log_density(self, z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """log sum_k pi_k N(z; m_k, diag v_k), by matrix products; (..., n)."""
        precision = torch.exp(-log_var)
        with float32_products(z):  # a distance is a difference of large numbers
            squares = linear(z * z, precision) - 2 * linear(z, mean * precision)
        constants = (mean**2 * precision + log_var + LOG_2PI).sum(-1)
        return torch.logsumexp(torch.log_softmax(self.logits, 0) - 0.5 * (squares + constants), -1)

    def draw_and_kl(self, q_z: AnyNormal, rng: Rng, *lead: int) -> tuple[Tensor, Tensor]:
        """A draw of z ~ q(z | x), (*lead, n, n_latent), and log q(z | x) - log p(z) there, whose mean is the KL."""
        z, log_q_z = q_z.expand(*lead).rsample_and_log_prob(rng)
        return z, log_q_z - self.log_prob(z)

    def sample(self, shape: tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
        """Draw from p(z) with ``shape`` (..., n, n_latent)."""
        *lead, n_latent = shape
        edges = torch.softmax(self.logits, 0).cumsum(0)[:-1]
        component = torch.searchsorted(edges, uniform((*lead, 1), rng, like)[..., 0].contiguous(), right=True)
        noise = standard_normal(shape, rng, like)
        below, noise = noise.split([n_latent - self.mean.shape[-1], self.mean.shape[-1]], -1)
        z = self.mean[component] + torch.exp(0.5 * bounded(self.log_var))[component] * noise
        return torch.cat([below, z], -1)

    @property
    def expectation(self) -> Tensor:
        """E[z] of the dimensions of the mixture, (n_latent,)."""
        return torch.softmax(self.logits, 0) @ self.mean

    def log_hyperprior(self) -> Tensor:
        """-sum_k KL(N(m_k, diag v_k) || N(0, I)): log-density, up to a constant, of one pseudo-row per component.

        A few such rows keep a component from shrinking to a handful of rows.
        """
        log_var = bounded(self.log_var)
        return 0.5 * (1 + log_var - self.mean**2 - torch.exp(log_var)).sum()


Prior = StandardNormalPrior | MixturePrior


def prior(n_components: int, n_latent: int, rng: Generator | None) -> Prior:
    """A mixture of ``n_components`` normals, or N(0, I) if there are none."""
    return MixturePrior(n_components, n_latent, rng) if n_components else StandardNormalPrior()

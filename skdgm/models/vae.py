"""The variational auto-encoder: M1 of Kingma et al. 2014 (arXiv 1406.5298)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from skdgm.distributions import (
    Distribution,
    Normal,
    Rng,
    kl_to_standard,
    log_mean_exp,
    seen,
    standard,
    standard_normal,
)
from skdgm.models.bound import Bound
from skdgm.networks import DecoderNetwork, NormalNetwork


class VAEModule(nn.Module):
    """p(x, z) = p(z) p(x | z) with p(z) = N(0, I), eq. (1); q(z | x) = N(mean(x), diag var(x)), eq. (3)."""

    def __init__(
        self,
        n_columns: int,
        n_latent: int,
        hidden: Sequence[int],
        activation: str,
        likelihood: str,
        rng: Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.encoder = NormalNetwork(n_columns, n_latent, hidden, activation, rng)
        self.decoder = DecoderNetwork(n_latent, n_columns, list(hidden)[::-1], activation, likelihood, rng)

    def q_z(self, x: Tensor, observed: Tensor | None = None) -> Normal:
        """q(z | x), rows of shape (n, n_latent)."""
        return self.encoder(seen(x, observed))

    def p_x(self, z: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | z), rows of shape (..., n, n_columns)."""
        return self.decoder(z, observed=observed)

    def bound(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> Bound:
        """E_q[log p(x | z)] - KL(q(z | x) || p(z)), eq. (5), by one draw of z; (n,)."""
        q_z = self.q_z(x, observed)
        z = q_z.rsample(rng)
        return Bound(self.p_x(z, observed).log_prob(x), kl_to_standard(q_z))

    def elbo(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """The bound of eq. (5), its expectation by ``n_draws`` draws of z; (n,)."""
        q_z = self.q_z(x, observed)
        z = q_z.expand(n_draws).rsample(rng)
        return self.p_x(z, observed).log_prob(x).mean(0) - kl_to_standard(q_z)

    def log_weights(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """log p(x, z) - log q(z | x) at ``n_draws`` draws of z; (n_draws, n)."""
        q_z = self.q_z(x, observed).expand(n_draws)
        z = q_z.rsample(rng)
        return self.p_x(z, observed).log_prob(x) + standard(q_z).log_prob(z) - q_z.log_prob(z)

    def log_likelihood(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """Importance-weighted bound on log p(x); (n,)."""
        return log_mean_exp(self.log_weights(x, rng, n_draws, observed))

    def sample(self, n: int, rng: Generator | None) -> Tensor:
        """Rows drawn from p(x)."""
        z = standard_normal((n, self.n_latent), rng, like=next(self.parameters()))
        return self.p_x(z).rsample(rng)

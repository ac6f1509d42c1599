"""The stack M1+M2 of Kingma et al. 2014 (arXiv 1406.5298): an M2 on the codes of a trained VAE."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import Categorical, Distribution, contiguous_last, log_mean_exp
from skdgm.models.gaussian_latent import of_observed
from skdgm.models.imputation import chosen_rows, mixture_center, resampled_draws
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule
from skdgm.noise import Rng


class M1M2Module(nn.Module):
    """p(x, y, z1, z2) = p(y) p(z2) p(z1 | y, z2) p(x | z1), for prediction: both layers are already trained.

    The upper layer models the ``active`` dimensions of z1, standardized; the others stay at their prior p(z1).

    Parameters
    ----------
    lower : VAEModule
    upper : M2Module
        An M2 whose columns are the active dimensions, standardized.
    active : Tensor of int of shape (n_active,)
        Indices of the active dimensions in z1.
    center, scale : Tensor of shape (n_active,)
        What standardizes them.
    """

    active: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, lower: VAEModule, upper: M2Module, active: Tensor, center: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper
        self.register_buffer("active", active)
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)

    @property
    def p_y(self) -> Categorical:
        """p(y), the class prior."""
        return self.upper.p_y

    def code_mean(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """E_q[z1 | x] of the active dimensions, standardized; (n, n_active)."""
        return self.standardized(self.lower.q_z(x, observed).mean)

    def standardized(self, z1: Tensor) -> Tensor:
        """The active dimensions of z1 as the upper layer reads them; (..., n_active)."""
        return (z1[..., self.active] - self.center) / self.scale

    def log_p_active(self, log_p: Tensor) -> Tensor:
        """log p of the active dimensions of z1 from that of the standardized ones."""
        return log_p - self.scale.log().sum()

    def q_y(self, x: Tensor, observed: Tensor | None = None) -> Categorical:
        """q(y | E_q[z1 | x]), with x beside the code if the classifier reads both; (n, n_classes)."""
        q_y_labeled = self.upper.q_y_labeled(self.with_side(self.code_mean(x, observed), x, observed))
        return self.upper.predicted(q_y_labeled.log_probs, observed)

    def q_y_marginal(self, x: Tensor, rng: Rng, observed: Tensor) -> Categorical:
        """q(y | x_observed): q(y | x), averaged over fills of the missing cells; (n, n_classes)."""
        return Categorical(log_mean_exp(self.q_y(*self.lower.filled(x, rng, observed)).log_probs))

    def code_marginal(self, x: Tensor, rng: Rng, observed: Tensor) -> Tensor:
        """E_q[z2 | x_observed]; (n, n_latent)."""
        filled, mask = self.lower.filled(x, rng, observed)
        rows = zip(filled, filled if mask is None else mask, strict=True)
        return torch.stack([self.code(x, mask) for x, mask in rows]).mean(0)

    def code(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """E_q[z2 | E_q[z1 | x]]; (n, n_latent)."""
        return self.upper.code(self.with_side(self.code_mean(x, observed), x, observed))

    def with_side(self, z1: Tensor, x: Tensor, observed: Tensor | None) -> Tensor:
        """The code, followed by the row as the encoder reads it if the upper classifier has side columns."""
        return torch.cat([z1, self.lower.encoder_inputs(x, observed)], -1) if self.upper.n_side else z1

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x | z1] at z1 = E[z1 | y, z2], averaged over p(y) if y is None; (n, n_columns)."""
        if y is not None:
            return self.p_x(z, y).mean
        p_x = self.p_x(z, self.upper.every_class)
        return p_x.center(torch.einsum("y,ynd->nd", self.p_y.probs, p_x.mean_parameters))

    def p_x(self, z: Tensor, y: Tensor) -> Distribution:
        """p(x | z1) at z1 = E[z1 | y, z2]; rows of shape (..., n, n_columns)."""
        z1 = self.upper.p_x(y, z).mean
        expected = z1.new_zeros(*z1.shape[:-1], self.lower.n_latent) + self.lower.p_z.expectation
        return self.lower.p_x(self.with_active(expected, z1))

    def with_active(self, z1: Tensor, standardized: Tensor) -> Tensor:
        """Set the active dimensions of z1, given standardized; (n, n_latent)."""
        return z1.index_copy(-1, self.active, self.center + self.scale * standardized)

    def log_joint(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """Importance-weighted bound on log p(x, y) of every class, with one z2 per draw of z1; (n, n_classes)."""
        log_w, _ = self.weighted_draws(x, self.upper.every_class, rng, n_draws, observed)
        log_joint = log_mean_exp(log_w).T.contiguous()
        if observed is None:
            return log_joint
        return torch.where(observed.any(-1, keepdim=True), log_joint, self.upper.log_p_y)

    def weighted_draws(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """log p(x | z1) + log p(z1, y) - log q(z1 | x) of k classes y, (k, 1), with one z2 per draw and class.

        Returns the weights, (n_draws, k, n), and the draws of z1, (n_draws, n, n_latent of the lower layer).
        """
        z, log_q_z = self.lower.proposal(x, rng, observed).expand(n_draws).rsample_and_log_prob(rng)
        below = self.lower.p_x(z, observed).log_prob(x) + self.log_p_inactive(z) - log_q_z
        above = self.upper.weighted_draws(self.standardized(z)[:, None], y, rng, 1)[0][0]
        return below[:, None] + self.log_p_active(above) + self.upper.log_p_y[y], z

    def log_likelihood(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """Importance-weighted bound on log p(x); (n,)."""
        return torch.logsumexp(self.log_joint(x, rng, n_draws, observed), -1)

    def elbo(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """E_q[log p(x | z1) - log q(z1 | x) - U(z1)] from ``n_draws`` draws; (n,)."""
        draws = torch.stack([self.elbo_draw(x, rng, observed) for _ in range(n_draws)])
        return of_observed(contiguous_last(draws).mean(-1), observed)

    def elbo_draw(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> Tensor:
        """The bound on log p(x) from one draw; (n,)."""
        z, log_q_z = self.draw_z1(x, rng, observed)
        above = self.upper.elbo_draw(self.with_side(self.standardized(z), x, observed), rng)
        above = self.log_p_active(above) + self.log_p_inactive(z)
        return self.lower.p_x(z, observed).log_prob(x) + above - log_q_z

    def draw_z1(self, x: Tensor, rng: Rng, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """A draw of all dimensions of z1 from q(z1 | x_observed), and its log-density."""
        z, log_q_z = self.lower.proposal(x, rng, observed).expand(1).rsample_and_log_prob(rng)
        return z[0], log_q_z[0]

    def log_p_inactive(self, z: Tensor) -> Tensor:
        """log p(z1) of the inactive dimensions; (n,)."""
        inactive = torch.ones(self.lower.n_latent, dtype=torch.bool, device=z.device).index_fill(0, self.active, False)
        return self.lower.p_z.log_prob_of(z[..., inactive], inactive)

    # --- missing cells ------------------------------------------------------------------------------------------

    def expected(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor, y: Tensor | None = None) -> Tensor:
        """Center of p(x | x_observed), or of p(x | x_observed, y) for y of shape (1, 1); (n, n_columns)."""
        log_w, z = self.code_draws(x, rng, n_draws, observed, y)
        return mixture_center(log_w, self.lower.p_x(z))

    def resampled(
        self, x: Tensor, rng: Generator | None, n_draws: int, observed: Tensor, y: Tensor | None = None
    ) -> Tensor:
        """Draw from the distribution whose center is ``expected``, with z1 resampled by weight; (n, n_columns)."""
        log_w, z = self.code_draws(x, rng, n_draws, observed, y)
        return self.lower.p_x(chosen_rows(z, resampled_draws(log_w, rng))).rsample(rng)

    def code_draws(
        self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Weights of draws of z1, summed over the classes y, (k, 1), or all: (n_draws, n); and the draws."""
        log_w, z = self.weighted_draws(x, self.upper.every_class if y is None else y, rng, n_draws, observed)
        return torch.logsumexp(contiguous_last(log_w, 1), -1), z

    def sample(self, y: Tensor, rng: Generator | None) -> Tensor:
        """Rows drawn from p(x | y), one for each entry of y."""
        active = self.upper.sample(y, rng)
        z1 = self.lower.p_z.sample((len(y), self.lower.n_latent), rng, active)
        return self.lower.p_x(self.with_active(z1, active)).rsample(rng)

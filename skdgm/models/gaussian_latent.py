"""Base class of models with a continuous latent code z: bounds, samples, and missing cells.

A model defines q(z | x) and p(x | z); z may concatenate the codes of several layers.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import Distribution, contiguous_last, log_mean_exp
from skdgm.models.adaptive import Proposal, adapted_draws, chosen_by_weight, draws_at, in_parts
from skdgm.models.bound import Bound, ImportanceBound
from skdgm.models.holes import N_FILLS, N_STARTS, EncoderInput, fills, has_holes, has_new_holes
from skdgm.models.imputation import chosen_rows, mixture_center, resampled_draws
from skdgm.models.priors import Prior
from skdgm.models.refinement import LocationScale, refined
from skdgm.noise import Rng, standard_normal
from skdgm.structured_normals import AnyNormal, EqualMixture


class GaussianLatentModule(nn.Module):
    """p(x, z) = p(z) p(x | z) with encoder q(z | x)."""

    p_z: Prior
    n_latents: list[int]  # latent dimensions of each layer
    learned_holes: Tensor  # which columns had missing cells in training; the encoder has learned to read these

    @property
    def n_latent(self) -> int:
        """Number of latent dimensions of all layers."""
        return sum(self.n_latents)

    @abstractmethod
    def q_z(self, x: Tensor, observed: Tensor | None = None) -> AnyNormal:
        """q(z | x), rows of shape (n, n_latent)."""

    @abstractmethod
    def p_x(self, z: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | z), rows of shape (..., n, n_columns)."""

    def bound(
        self,
        x: Tensor,
        rng: Rng,
        observed: Tensor | None = None,
        encoder_input: EncoderInput | None = None,
        code_noise: float = 0.0,
    ) -> Bound:
        """E_q[log p(x | z)] - KL(q(z | x) || p(z)) from one draw of z; (n,).

        The encoder reads ``encoder_input``, if given, instead of (x, observed). Noise of standard deviation
        ``code_noise`` is added to the draw. Both regularize the model.
        """
        z, kl = self.p_z.draw_and_kl(self.q_z(*(encoder_input or (x, observed))), rng)
        return Bound(self.p_x(add_code_noise(z, code_noise, rng), observed).log_prob(x), of_observed(kl, observed))

    def importance_bound(
        self,
        x: Tensor,
        rng: Rng,
        n_draws: int,
        observed: Tensor | None = None,
        encoder_input: EncoderInput | None = None,
        code_noise: float = 0.0,
    ) -> ImportanceBound:
        """Importance-weighted bound from ``n_draws`` draws, for training; arguments as in ``bound``."""
        q_z = self.q_z(*(encoder_input or (x, observed)))
        return self.importance_bound_by(x, rng, q_z, n_draws, observed, code_noise)

    def importance_bound_by(
        self,
        x: Tensor,
        rng: Rng,
        q_z: AnyNormal | LocationScale,
        n_draws: int,
        observed: Tensor | None = None,
        code_noise: float = 0.0,
    ) -> ImportanceBound:
        """Importance-weighted bound from draws of ``q_z``, which may be any distribution of the codes of each row."""
        z, log_q_z = draw_with_path_gradient(q_z.expand(n_draws), rng)
        reconstruction = self.p_x(add_code_noise(z, code_noise, rng), observed).log_prob(x)
        kl = of_observed(log_q_z - self.p_z.log_prob(z), observed)
        return ImportanceBound(reconstruction, kl, paths=[z, log_q_z])

    def elbo(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """E_q[log p(x | z)] - KL(q(z | x) || p(z)), with the expectation from ``n_draws`` draws of z; (n,)."""
        if has_new_holes(observed, self.learned_holes):
            z, log_q_z = self.proposal(x, rng, observed).expand(n_draws).rsample_and_log_prob(rng)
            draws = self.log_joint(x, z, observed) - log_q_z
        else:
            z, kl = self.p_z.draw_and_kl(self.q_z(x, observed), rng, n_draws)
            draws = self.p_x(z, observed).log_prob(x) - kl
        return of_observed(contiguous_last(draws).mean(-1), observed)

    def log_weights(
        self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None, n_refinement_steps: int = 0
    ) -> Tensor:
        """log p(x, z) - log q(z | x) at ``n_draws`` draws of z, with q refined in so many steps; (n_draws, n)."""
        return self.weighted_draws(x, rng, n_draws, observed, n_refinement_steps)[0]

    def weighted_draws(
        self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None, n_refinement_steps: int = 0
    ) -> tuple[Tensor, Tensor]:
        """``log_weights`` and the draws of z, (n_draws, n, n_latent); more draws if cells are missing."""
        proposal, log_joint = self.proposal(x, rng, observed), partial(self.log_joint, x, observed=observed)
        if has_holes(observed) and not n_refinement_steps:
            return adapted_draws(log_joint, Proposal.of(proposal, rng), self.prior(x, rng), rng, n_draws)
        bound = partial(self.importance_bound_by, x, rng, observed=observed)
        q_z = refined(proposal, bound, rng, n_refinement_steps) if n_refinement_steps else proposal
        z, log_q_z = q_z.expand(n_draws).rsample_and_log_prob(rng)
        return log_joint(z) - log_q_z, z

    def log_joint(self, x: Tensor, z: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x, z), or log p(x_observed, z), at draws of z; (..., n)."""
        return self.p_x(z, observed).log_prob(x) + self.p_z.log_prob(z)

    def prior(self, x: Tensor, rng: Rng) -> Proposal:
        """p(z), from which codes of the rows are drawn."""
        return Proposal(lambda n_draws: self.p_z.sample((n_draws, len(x), self.n_latent), rng, x), self.p_z.log_prob)

    def log_likelihood(
        self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None, n_refinement_steps: int = 0
    ) -> Tensor:
        """Importance-weighted bound on log p(x); (n,)."""
        log_w = self.log_weights(x, rng, n_draws, observed, n_refinement_steps)
        return of_observed(log_mean_exp(log_w), observed)

    def sample(self, n: int, rng: Generator | None) -> Tensor:
        """Rows drawn from p(x)."""
        z = self.p_z.sample((n, self.n_latent), rng, like=next(self.parameters()))
        return self.p_x(z).rsample(rng)

    # --- missing cells ------------------------------------------------------------------------------------------

    def proposal(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> AnyNormal | EqualMixture:
        """q(z | x_observed): q(z | x), averaged over fills of the cells whose absence the encoder has not learned."""
        if observed is None or not has_new_holes(observed, self.learned_holes):
            return self.q_z(x, observed)
        return EqualMixture(self.q_z(*self.filled(x, rng, observed)))

    def filled(self, x: Tensor, rng: Rng, observed: Tensor) -> EncoderInput:
        """Rows filled by independent Markov chains, (n_fills, n, n_columns), and the mask with which to read them."""
        z = self.prior(x, rng).draw(N_STARTS)
        log_w = in_parts(lambda z: self.p_x(z, observed).log_prob(x), z)
        start = self.p_x(draws_at(z, chosen_by_weight(log_w, rng, N_FILLS)))

        def step(x: Tensor, mask: Tensor) -> Distribution:
            return self.p_x(self.q_z(x, mask).rsample(rng))

        return fills(x, rng, observed, self.learned_holes, start, step)

    def expected(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor) -> Tensor:
        """Center of p(x | x_observed) by self-normalized importance sampling with ``n_draws`` draws; (n, n_columns).

        This is the mean of a number and the most probable category.
        """
        log_w, z = self.posterior_draws(x, rng, n_draws, observed)
        return mixture_center(log_w, self.p_x(z))

    def resampled(self, x: Tensor, rng: Generator | None, n_draws: int, observed: Tensor) -> Tensor:
        """Draw from p(x | x_observed), with z resampled from ``n_draws`` draws by weight; (n, n_columns)."""
        log_w, z = self.posterior_draws(x, rng, n_draws, observed)
        return self.p_x(chosen_rows(z, resampled_draws(log_w, rng))).rsample(rng)

    def posterior_draws(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor) -> tuple[Tensor, Tensor]:
        """``weighted_draws``, but draws of p(z), with equal weights, for rows without observed cells."""
        log_w, z = self.weighted_draws(x, rng, n_draws, observed)
        has_cells = observed.any(-1)
        if has_cells.all():
            return log_w, z
        of_prior = self.p_z.sample(tuple(z.shape), rng, like=z)
        return of_observed(log_w, observed), torch.where(has_cells[:, None], z, of_prior)

    def chain_step(self, x: Tensor, rng: Generator | None, observed: Tensor) -> Tensor:
        """One step of the Markov chain over missing cells: z ~ q(z | x), x' ~ p(x | z), observed cells kept.

        Rezende et al. 2014, app. F: with the exact posterior, p(x_missing | x_observed) is its stationary distribution.
        """
        return torch.where(observed, x, self.p_x(self.q_z(x).rsample(rng)).rsample(rng))


def of_observed(term: Tensor, observed: Tensor | None) -> Tensor:
    """A log-density or a KL of each row, which is 0 for a row without observed cells: its posterior is p(z); (..., n).

    What an encoder says of such a row, N(0, I), is not p(z) if that is a mixture.
    """
    return term if observed is None else torch.where(observed.any(-1), term, 0.0)


def draw_with_path_gradient(q_z: AnyNormal | LocationScale, rng: Rng) -> tuple[Tensor, Tensor]:
    """A draw of z ~ q(z | x) and log q(z | x), whose gradient is only that through z, not that at a given z."""
    z, log_q_z = q_z.rsample_and_log_prob(rng)
    at_given_z = q_z.log_prob(z.detach())
    return z, log_q_z - (at_given_z - at_given_z.detach())


def add_code_noise(z: Tensor, sd: float, rng: Rng) -> Tensor:
    """Add normal noise of standard deviation ``sd`` to z."""
    return z + sd * standard_normal(z.shape, rng, z) if sd else z

"""M2 with an auxiliary variable: ADGM and SDGM of Maaløe et al. 2016 (arXiv 1602.05473)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from skdgm.distributions import Categorical, Normal, contiguous_last, log_mean_exp, log_standard_normal
from skdgm.models.holes import N_FILLS, has_new_holes
from skdgm.models.m2 import M2Module, at_rows
from skdgm.networks import MLP, ColumnLayers, NormalNetwork
from skdgm.noise import Rng, standard_normal
from skdgm.structured_normals import EqualMixture

# q(y | x) averages q(y | a, x) over this many values of a, pairs on both sides of its mean.
N_POINTS = 32


class Read(NamedTuple):
    """Rows as the inference networks read them, (..., n, n_columns), and a draw of a ~ q(a | x) for each of them.

    ``a`` has shape (..., n, n_auxiliary), and ``log_q_a``, its log-density, (..., n); it may be None where no bound is
    wanted.
    """

    x: Tensor
    a: Tensor
    log_q_a: Tensor | None = None


class ADGMModule(M2Module):
    """An M2 that infers y and z with the help of a: q(a, y, z | x) = q(a | x) q(y | a, x) q(z | a, x, y).

    The model of the rows is p(y) p(z) p(x | y, z) p(a | z, y, x): it is that of M2, since a is integrated out, but the
    posterior may be any mixture over a. With ``skip`` (SDGM) it is p(y) p(z) p(a | z, y) p(x | a, z, y), in which a is
    a second latent variable below z.

    Given a, the bound is that of M2 with one more term, log p(a | .) - log q(a | x).

    The decoder reads codes: z, and under ``skip``, a behind it.

    Parameters
    ----------
    n_auxiliary : int
        Dimensions of a.
    skip : bool
    batch_norm : bool
        Normalize the hidden units of all networks over each batch.
    architecture : dict
        Arguments of ``M2Module``. Its networks start with weights 0 for a, and hence as those of an M2.
    """

    points: Tensor  # values of a at which q(y | a, x) is averaged, in standard deviations; (N_POINTS, n_auxiliary)

    def __init__(
        self,
        n_auxiliary: int,
        skip: bool,
        batch_norm: bool = False,
        *,
        rng: Generator | None = None,
        **architecture: Any,
    ) -> None:
        super().__init__(**architecture, rng=rng)
        self.skip = skip
        self.add_auxiliary_networks(n_auxiliary, architecture, rng)
        for network in (self.classifier, self.encoder):
            network.mlp.read_extra(n_auxiliary)
        if batch_norm:
            for mlp in [part for part in self.modules() if isinstance(part, MLP)]:
                mlp.normalize_hidden()
        half = standard_normal((N_POINTS // 2, n_auxiliary), rng, like=self.log_p_y)
        self.register_buffer("points", torch.cat([half, -half]))

    def add_auxiliary_networks(self, n_auxiliary: int, architecture: dict[str, Any], rng: Generator | None) -> None:
        """Build q(a | x) and p(a | .); under ``skip``, let the decoder read a."""
        columns, hidden, activation = self.decoder.likelihood, list(architecture["hidden"]), architecture["activation"]
        network, image_shape = architecture.get("network", "mlp"), architecture.get("image_shape")
        linear_skip = architecture.get("linear_skip", False)
        options: Any = {
            "linear_skip": linear_skip,
            "clip_inputs": architecture.get("clip_inputs", False),
            "n_indicators": self.n_columns * bool(self.learned_holes.any()),
            "first": ColumnLayers(network, columns, activation, image_shape, rng).reading("encoder"),
        }
        sizes, n_classes = (columns.n_features, n_auxiliary, hidden, activation, rng), self.n_classes
        self.auxiliary_encoder = NormalNetwork(*sizes, **options)
        if self.skip:
            of_z = (self.n_latent, n_auxiliary, hidden[::-1], activation, rng)
            self.auxiliary_decoder = NormalNetwork(*of_z, n_classes, linear_skip=linear_skip)
            self.decoder.mlp.read_extra(n_auxiliary)
        else:
            self.auxiliary_decoder = NormalNetwork(*sizes, n_classes, **options)
            self.auxiliary_decoder.mlp.read_extra(self.n_latent)

    # --- the factors --------------------------------------------------------------------------------------------

    def q_a(self, x: Tensor, observed: Tensor | None = None) -> Normal:
        """q(a | x), (..., n, n_auxiliary)."""
        return self.auxiliary_encoder(self.decoder.features(x, observed), observed=observed)

    def p_a(
        self, y: Tensor, z: Tensor, x: Tensor, observed: Tensor | None = None, rows: Tensor | None = None
    ) -> Normal:
        """p(a | z, y, x), or under ``skip`` p(a | z, y); (..., n, n_auxiliary).

        For rows with missing cells it conditions on the observed ones.
        """
        if self.skip:
            return self.auxiliary_decoder(z, y)
        return self.auxiliary_decoder(self.decoder.features(x, observed), y, observed, rows, z)

    def p_x(self, y: Tensor, z: Tensor, observed: Tensor | None = None) -> Any:
        """p(x | y, z), or under ``skip`` p(x | a, z, y) with a behind z; rows of shape (..., n, n_columns)."""
        if not self.skip:
            return super().p_x(y, z, observed)
        z, a = z[..., : self.n_latent], z[..., self.n_latent :]
        return self.decoder(z, y, observed, a)

    def q_y_of(self, read: Read, observed: Tensor | None = None) -> Categorical:
        """q_labeled(y | a, x), (..., n, n_classes)."""
        return self.classifier(self.classifier_features(read.x, observed), observed, read.a)

    def q_y_labeled(self, x: Tensor, observed: Tensor | None = None) -> Categorical:
        """E_q(a | x)[q_labeled(y | a, x)], averaged over the same ``points`` for every row; (..., n, n_classes)."""
        a = self.a_at_points(x, observed)
        return Categorical(log_mean_exp(self.q_y_of(Read(x, a), observed).log_probs))

    def a_at_points(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Values of a at which q(y | a, x) is averaged, (N_POINTS, ..., n, n_auxiliary)."""
        q_a = self.q_a(x, observed)
        return q_a.mean + q_a.sd * self.points.view(-1, *[1] * (x.ndim - 1), self.points.shape[1])

    def q_z_of(self, read: Read, y: Tensor, observed: Tensor | None = None, rows: Tensor | None = None) -> Normal:
        """q(z | a, x, y), (..., n, n_latent); with ``rows``, that of these rows, (m, n_latent)."""
        return self.encoder(self.decoder.features(read.x, observed), y, observed, rows, at_rows(read.a, rows))

    # --- the bound ----------------------------------------------------------------------------------------------

    def read(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> Read:
        """The rows, and a draw of a ~ q(a | x)."""
        return Read(x, *self.q_a(x, observed).rsample_and_log_prob(rng))

    def draw(self, read: Read, y: Tensor, rng: Rng, observed: Tensor | None = None) -> Tensor:
        """A draw of the code."""
        return self.with_auxiliary(super().draw(read, y, rng, observed), read.a)

    def draw_and_kl(
        self, read: Read, y: Tensor, rng: Rng, observed: Tensor | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A draw of the code, and KL(q(z | a, x, y) || p(z)) + log q(a | x) - log p(a | .)."""
        q_z = self.q_z_of(read, y, observed, rows)
        code, log_ratio = self.code_and_log_ratio(read, y, q_z.rsample(rng), rng, observed, rows)
        return code, q_z.kl_standard_normal() + log_ratio

    def code_and_log_ratio(
        self, read: Read, y: Tensor, z: Tensor, rng: Rng, observed: Tensor | None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the decoder reads at draws of a and z, and log q(a | x) - log p(a | .).

        For a row without observed cells, q(a | x) is N(0, I), and its draw becomes one of p(a | .), the posterior.
        """
        a, log_q_a = at_rows(read.a, rows), at_rows(read.log_q_a, rows)
        p_a = self.p_a(y, z, read.x, observed, rows)
        log_ratio = log_q_a - p_a.log_prob(a)
        if observed is not None:
            is_seen = at_rows(observed.any(-1), rows)
            log_ratio = torch.where(is_seen, log_ratio, 0.0)
            a = torch.where(is_seen[..., None], a, p_a.mean + p_a.sd * a) if self.skip else a
        return self.with_auxiliary(z, a), log_ratio

    def with_auxiliary(self, z: Tensor, a: Tensor) -> Tensor:
        """The code: z, and under ``skip``, a behind it."""
        if not self.skip:
            return z
        lead = torch.broadcast_shapes(z.shape[:-1], a.shape[:-1])
        return torch.cat([z.expand(*lead, -1), a.expand(*lead, -1)], -1)

    def weighted_draws(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As in M2; under ``skip``, where the code is z and a, proposals do not adapt to missing cells."""
        weighted = self.encoder_draws if self.skip else super().weighted_draws
        return weighted(x, y, rng, n_draws, observed)

    def proposal(self, x: Tensor, y: Tensor, rng: Rng, observed: Tensor | None = None) -> EqualMixture:
        """q(z | x_observed, y) of k classes y, (k, 1), as a mixture over draws of a; rows of shape (k, n, n_latent)."""
        read, mask = self.draws_to_read(x, y, rng, N_FILLS, observed)
        return EqualMixture(self.q_z_of(read, y, mask))

    def prior_draws(self, y: Tensor, shape: Sequence[int], rng: Rng) -> Tensor:
        """As in M2; under ``skip``, with draws of p(a | z, y) behind those of p(z)."""
        z = super().prior_draws(y, shape, rng)
        return self.with_auxiliary(z, self.auxiliary_decoder(z, y).rsample(rng)) if self.skip else z

    def encoder_draws(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As in M2, with draws of a and z: log p(x, a, z | y) - log q(a, z | x, y), and the codes."""
        read, mask = self.draws_to_read(x, y, rng, n_draws, observed)
        z, log_q_z = self.q_z_of(read, y, mask).rsample_and_log_prob(rng)
        code, log_ratio = self.code_and_log_ratio(read, y, z, rng, mask)
        return self.p_x(y, code, observed).log_prob(x) + log_standard_normal(z) - log_q_z - log_ratio, code

    def draws_to_read(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None
    ) -> tuple[Read, Tensor | None]:
        """Draws of a that all classes share, (n_draws, 1, n, n_auxiliary), and the mask with which to read the rows.

        New holes are filled for each class and draw, and each has its own draw of a, (n_draws, k, n, n_auxiliary). The
        weight of a draw is then unbiased for each fill, and so is their mean.
        """
        if observed is None or not has_new_holes(observed, self.learned_holes):
            a, log_q_a = self.q_a(x, observed).expand(n_draws, 1).rsample_and_log_prob(rng)
            return Read(x, a, log_q_a), observed
        filled, mask = self.filled_given(x, y, rng, observed)
        chain = torch.arange(n_draws, device=x.device) % len(filled)
        mask = at_rows(mask, chain)
        return self.read(filled[chain], rng, mask), mask

    # --- codes and rows -----------------------------------------------------------------------------------------

    def code(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """E_q[z | x] = E_q(a | x) sum_y q(y | a, x) E_q[z | a, x, y], averaged over the ``points``; (n, n_latent)."""
        parts = [self.code_of(Read(x, a), observed) for a in self.a_at_points(x, observed)]
        return contiguous_last(torch.stack(parts)).mean(-1)

    def code_of(self, read: Read, observed: Tensor | None) -> Tensor:
        """sum_y q(y | a, x) E_q[z | a, x, y]; (n, n_latent)."""
        means = self.q_z_of(read, self.every_class, observed).mean
        return torch.einsum("ny,ynd->nd", self.reweighted(self.q_y_of(read, observed).log_probs, observed).probs, means)

    def code_marginal(self, x: Tensor, rng: Rng, observed: Tensor) -> Tensor:
        """E_q[z | x_observed]; (n, n_latent)."""
        filled, mask = self.filled(x, rng, observed)
        rows = zip(filled, filled if mask is None else mask, strict=True)
        parts = [self.code_of(self.read(x, rng, mask), mask) for x, mask in rows]
        return contiguous_last(torch.stack(parts)).mean(-1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x | y, z], averaged over p(y) if y is None, with ``skip`` at the mean of p(a | z, y); (n, n_columns)."""
        if self.skip:
            z = self.with_auxiliary(z, self.auxiliary_decoder(z, self.every_class if y is None else y).mean)
        return super().decode(z, y)

    def sample(self, y: Tensor, rng: Generator | None) -> Tensor:
        """Rows drawn from p(x | y), one for each entry of y."""
        if not self.skip:
            return super().sample(y, rng)
        z = standard_normal((len(y), self.n_latent), rng, like=self.log_p_y)
        a = self.auxiliary_decoder(z, y).rsample(rng)
        return self.p_x(y, self.with_auxiliary(z, a)).rsample(rng)

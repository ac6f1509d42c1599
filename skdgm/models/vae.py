"""The variational autoencoder: M1 of Kingma et al. 2014 (arXiv 1406.5298)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from skdgm.distributions import Distribution, Normal
from skdgm.likelihoods.columns import Groups, MixedLikelihood
from skdgm.models.gaussian_latent import GaussianLatentModule
from skdgm.models.holes import learned_holes
from skdgm.models.priors import prior
from skdgm.networks import ColumnLayers, DecoderNetwork, NormalNetwork
from skdgm.networks.sizes import Builder


class VAEModule(GaussianLatentModule):
    """p(x, z) = p(z) p(x | z), eq. (1), with p(z) = N(0, I) or a mixture; q(z | x) = N(mean(x), diag var(x)), eq. (3).

    The bound is eq. (5).
    """

    def __init__(
        self,
        n_columns: int,
        n_latent: int,
        hidden: Sequence[int],
        activation: str,
        likelihood: str | Groups,
        rng: Generator | None = None,
        missing_indicator: bool | Sequence[bool] = False,
        linear_skip: bool = False,
        clip_inputs: bool = False,
        n_prior_components: int = 0,
        network: str | Builder = "mlp",
        image_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.n_latents = [n_latent]
        self.register_buffer("learned_holes", learned_holes(missing_indicator, n_columns), persistent=False)
        columns, downward = MixedLikelihood(likelihood, n_columns), list(hidden)[::-1]
        layers = ColumnLayers(network, columns, activation, image_shape, rng)
        input_options: Any = {
            "n_indicators": n_columns * bool(self.learned_holes.any()),
            "linear_skip": linear_skip,
            "clip_inputs": clip_inputs,
            "first": layers.reading("encoder"),
        }
        self.encoder = NormalNetwork(columns.n_features, n_latent, hidden, activation, rng, **input_options)
        self.decoder = DecoderNetwork(n_latent, columns, downward, activation, rng, 0, linear_skip, layers.writing)
        self.p_z = prior(n_prior_components, n_latent, rng)

    def q_z(self, x: Tensor, observed: Tensor | None = None) -> Normal:
        """q(z | x), rows of shape (n, n_latent)."""
        return self.encoder(self.decoder.features(x, observed), observed=observed)

    def encoder_inputs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """The rows as the encoder reads them: features, clipped far from the others, and the mask of missing cells."""
        read = self.encoder.mlp.read(self.decoder.fixed_features(x, observed))
        if self.encoder.mlp.missing_weight is None:
            return read
        missing = torch.zeros_like(x) if observed is None else (~observed).to(x.dtype)
        return torch.cat([read, missing], -1)

    def p_x(self, z: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | z), rows of shape (..., n, n_columns)."""
        return self.decoder(z, observed=observed)

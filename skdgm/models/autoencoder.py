"""Autoencoders with binary codes: the lower layers of Arnold & Ollivier 2012 (arXiv 1212.1524).

As generative models (their sec. 2.4): with q_D(h) = E_D q(h | x), the criterion of a lower layer is the empirical bound
E_D log sum_h p(x | h) q_D(h). On a data set D, q_D(h) >= q(h | x) / |D|, hence

    E_D log sum_h p(x | h) q_D(h)  >=  E_D log sum_h p(x | h) q(h | x) - log|D|  >=  E_D E_q[log p(x | h)] - log|D|.

An autoencoder maximizes the last expression, without its constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from skdgm.distributions import Bernoulli, Normal
from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.columns import MixedLikelihood
from skdgm.models.binary_codes import BinaryCodeModule, TiedModule, output_at
from skdgm.networks import MLP, DecoderNetwork


class AutoencoderModule(BinaryCodeModule):
    """A layer trained as an autoencoder."""

    def bound(
        self, x: Tensor, rng: Generator | None, encoder_input: tuple[Tensor, Tensor | None] | None = None
    ) -> Tensor:
        """E_q[log p(x | h)] from one binary draw of h; the encoder reads ``encoder_input``, if given, not x; (n,)."""
        h = self.q_h(*(encoder_input or (x, None))).straight_through(rng)
        return self.p_x(h).log_prob(x)


class VanillaModule(TiedModule, AutoencoderModule):
    """x -> h -> x with tied weights."""


class RichModule(AutoencoderModule):
    """x -> h' -> h -> x: the encoder has hidden layers h', which the decoder lacks, and its own weights ("AERI").

    The encoder q is not part of the generative model, so its size cannot make the generative model overfit.
    """

    def __init__(
        self,
        n_columns: int,
        n_hidden: int,
        likelihood: str,
        hidden: Sequence[int],
        activation: str,
        rng: Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_columns, self.n_hidden = n_columns, n_hidden
        columns = MixedLikelihood(likelihood, n_columns)
        self.likelihood = LIKELIHOODS[likelihood](n_columns)
        self.encoder = MLP(n_columns, n_hidden, hidden, activation, rng)
        self.decoder = DecoderNetwork(n_hidden, columns, [], activation, rng)

    def q_h(self, x: Tensor, observed: Tensor | None = None) -> Bernoulli:
        """q(h | x), rows of shape (n, n_hidden)."""
        return Bernoulli(self.encoder(x, observed=observed))

    def p_x(self, h: Tensor) -> Bernoulli | Normal:
        """p(x | h), rows of shape (..., n, n_columns)."""
        return self.decoder(h)

    @torch.no_grad()
    def init_bias(self, mean: Tensor) -> None:
        """Initialize the decoder's bias to give rows this mean, (n_columns,)."""
        bias = self.decoder.mlp.get_parameter("layers.0.bias")
        bias.copy_(output_at(mean, self.likelihood))

"""A stack of layers with binary codes below an RBM: a deep generative model (Arnold & Ollivier 2012, sec. 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import log_mean_exp
from skdgm.models.autoencoder import RichModule, VanillaModule
from skdgm.models.binary_codes import BinaryCodeModule
from skdgm.models.enumeration import MAX_CODE_BITS, all_codes, log_mixture
from skdgm.models.partition import can_enumerate_partition, relative_error
from skdgm.models.rbm import RBMModule
from skdgm.noise import Rng, sample_bernoulli


def new_layer(
    kind: str,
    n_columns: int,
    n_hidden: int,
    likelihood: str,
    hidden: Sequence[int] = (),
    activation: str = "relu",
    rng: Generator | None = None,
) -> BinaryCodeModule:
    """A layer of kind "rich", "vanilla" or "rbm"; only "rich" uses ``hidden``, the encoder's hidden layers."""
    if kind == "rich":
        return RichModule(n_columns, n_hidden, likelihood, hidden, activation, rng)
    return {"vanilla": VanillaModule, "rbm": RBMModule}[kind](n_columns, n_hidden, likelihood, rng)


class StackModule(nn.Module):
    """p(x) = sum p(x | h_1) p(h_1 | h_2) ... p_RBM(h_L-1, h_L): ``layers`` from x upward, an RBM last.

    Without an RBM at the top, the stack has codes but no density.
    """

    layers: Any  # a ModuleList of BinaryCodeModule, from x upward

    def __init__(self, layers: Sequence[BinaryCodeModule]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def top(self) -> RBMModule:
        """The RBM at the top."""
        return self.layers[-1]

    @property
    def lower(self) -> list[BinaryCodeModule]:
        """The layers below the RBM."""
        return list(self.layers[:-1])

    # --- up and down --------------------------------------------------------------------------------------------

    def mean_codes(self, x: Tensor) -> Tensor:
        """Mean hidden units of the highest layer; each layer reads the means of the one below; (n, n_hidden)."""
        for layer in self.layers:
            x = layer.q_h(x).mean
        return x

    def mean_rows(self, h: Tensor) -> Tensor:
        """Rows decoded from hidden units of the highest layer; each layer passes its means down; (n, n_columns)."""
        for layer in reversed(self.layers):
            h = layer.p_x(h).mean
        return h

    def draw_codes(self, x: Tensor, rng: Rng) -> Tensor:
        """Draw codes of the highest layer, upward from layer to layer; (n, n_hidden)."""
        for layer in self.layers:
            x = layer.q_h(x).rsample(rng)
        return x

    def sample(self, n: int, n_steps: int, rng: Generator | None) -> Tensor:
        """Draw rows: ``n_steps`` of Gibbs sampling in the RBM, then down from layer to layer."""
        h = torch.full((n, self.top.n_hidden), 0.5, device=self.top.W.device)
        x, _ = self.top.gibbs(sample_bernoulli(h, rng), n_steps, rng)
        for layer in reversed(self.lower):
            x = layer.p_x(x).rsample(rng)
        return x

    # --- density ------------------------------------------------------------------------------------------------

    @property
    def codes_can_be_enumerated(self) -> bool:
        """Whether the codes of all lower layers are enumerated."""
        return all(layer.n_hidden <= MAX_CODE_BITS for layer in self.lower)

    @property
    def is_exact(self) -> bool:
        """Whether log p(x) is exact, including log Z."""
        return self.codes_can_be_enumerated and can_enumerate_partition(self.top)

    def log_prior(self, log_z: float) -> Tensor:
        """log p(h_1) of every code of the lowest layer, (2^n_hidden,); without lower layers, only -log Z."""
        codes = [all_codes(layer.n_hidden, self.top.W.device) for layer in self.lower]
        if not codes:
            return torch.tensor(-log_z, device=self.top.W.device)
        log_p = self.top.log_prob(codes[-1], log_z)
        for layer, below, own in zip(reversed(self.lower[1:]), codes[-2::-1], codes[:0:-1], strict=True):
            log_p = log_mixture(layer.p_x(own), log_p, below)
        return log_p

    def log_likelihood(self, x: Tensor, log_prior: Tensor) -> Tensor:
        """log p(x), given ``log_prior``; (n,)."""
        if not self.lower:
            return self.top.log_prob(x, -log_prior)
        first = self.lower[0]
        return log_mixture(first.p_x(all_codes(first.n_hidden, x.device)), log_prior, x)

    def estimated_log_likelihood(self, x: Tensor, log_z: float, n_draws: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Estimate of log p(x) from ``n_draws`` draws from q, too low on average, and its standard error; (n,) each."""
        h, log_w = x, torch.zeros(())
        for level, layer in enumerate(self.lower):
            q_h, below = layer.q_h(h), h
            q_h = q_h if level else q_h.expand(n_draws)
            h = q_h.rsample(rng)
            log_w = log_w + layer.p_x(h).log_prob(below) - q_h.log_prob(h)
        log_w = log_w + self.top.log_prob(h, log_z)
        return log_mean_exp(log_w), relative_error(log_w)

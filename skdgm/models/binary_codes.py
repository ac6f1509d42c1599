"""Base classes of layers with binary codes h: a decoder p(x | h) and an encoder q(h | x).

``TiedModule`` uses one weight matrix in both directions. The restricted Boltzmann machine and the vanilla autoencoder
share it and differ only in their training.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import Bernoulli, Normal, linear
from skdgm.likelihoods import LIKELIHOODS, Likelihood, bounded

# Initial standard deviation of weights (Hinton 2010): codes carry no information yet, and every hidden unit is free to
# specialize.
INITIAL_SD = 0.01
# Initial visible biases correspond to probabilities of a 1 at least this far from 0 and 1.
INITIAL_MARGIN = 0.01


class BinaryCodeModule(nn.Module):
    """A layer p(x | h) over binary codes h of ``n_hidden`` bits, with encoder q(h | x)."""

    n_columns: int
    n_hidden: int
    likelihood: Likelihood

    @abstractmethod
    def q_h(self, x: Tensor, observed: Tensor | None = None) -> Bernoulli:
        """q(h | x), rows of shape (n, n_hidden)."""

    @abstractmethod
    def p_x(self, h: Tensor) -> Bernoulli | Normal:
        """p(x | h), rows of shape (..., n, n_columns)."""

    @abstractmethod
    def init_bias(self, mean: Tensor) -> None:
        """Initialize the biases of p(x | h) to give rows this mean, (n_columns,)."""


class TiedModule(BinaryCodeModule):
    """Both conditionals of an RBM, with weights W of shape (n_hidden, n_columns) and biases b of x, c of h.

    Binary rows: p(x | h) = Bernoulli(sigmoid(b + h W)), q(h | x) = Bernoulli(sigmoid(c + W x)). Real rows:
    p(x | h) = N(b + h W, diag(s^2)), q(h | x) = Bernoulli(sigmoid(c + W (x / s^2))).
    """

    def __init__(self, n_columns: int, n_hidden: int, likelihood: str, rng: Generator | None = None) -> None:
        super().__init__()
        self.n_columns, self.n_hidden = n_columns, n_hidden
        self.likelihood = LIKELIHOODS[likelihood](n_columns)
        self.W = nn.Parameter(INITIAL_SD * torch.randn(n_hidden, n_columns, generator=rng))
        self.b = nn.Parameter(torch.zeros(n_columns))
        self.c = nn.Parameter(torch.zeros(n_hidden))
        self.log_var = nn.Parameter(torch.zeros(self.likelihood.n_shared))

    @property
    def is_binary(self) -> bool:
        """Whether rows are binary; else they are real."""
        return self.likelihood.is_binary

    def scaled(self, x: Tensor) -> Tensor:
        """x as it enters the energy: divided by its variance if rows are real."""
        return x if self.is_binary else x * torch.exp(-bounded(self.log_var))

    def q_h(self, x: Tensor, observed: Tensor | None = None) -> Bernoulli:
        """q(h | x), rows of shape (n, n_hidden)."""
        x = x if observed is None else torch.where(observed, x, 0.0)
        return Bernoulli(linear(self.scaled(x), self.W, self.c).float())

    def p_x(self, h: Tensor) -> Bernoulli | Normal:
        """p(x | h), rows of shape (..., n, n_columns)."""
        return self.likelihood(linear(h, self.W.T, self.b).float(), self.log_var)

    @torch.no_grad()
    def init_bias(self, mean: Tensor) -> None:
        """Initialize b to give rows this mean, (n_columns,)."""
        self.b.copy_(output_at(mean, self.likelihood))


def output_at(mean: Tensor, likelihood: Likelihood) -> Tensor:
    """The decoder output that gives rows this mean."""
    return torch.logit(mean.clamp(INITIAL_MARGIN, 1 - INITIAL_MARGIN)) if likelihood.is_binary else mean

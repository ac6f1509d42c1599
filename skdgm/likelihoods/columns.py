"""Combine one likelihood per group of columns of a table into one distribution over rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skdgm.distributions import Distribution, sum_of
from skdgm.likelihoods import LIKELIHOODS
from skdgm.noise import Rng

Groups = Sequence[tuple[str, Sequence[int]]]  # names in LIKELIHOODS, and the columns of each


class MixedLikelihood(nn.Module):
    """p(x | z) from a decoder's outputs: each group of columns has its own likelihood, independent given z.

    Parameters
    ----------
    groups : sequence of (str, sequence of int)
        Names in ``LIKELIHOODS`` and the columns of each, in the order in which the decoder gives their outputs.
    """

    columns: Tensor
    back: Tensor

    def __init__(self, groups: Groups) -> None:
        super().__init__()
        self.likelihoods = [LIKELIHOODS[name] for name, _ in groups]
        self.sizes = [len(columns) for _, columns in groups]
        both = list(zip(self.likelihoods, self.sizes, strict=True))
        self.n_outputs = [likelihood.outputs_per_column * size for likelihood, size in both]
        self.n_shared = [likelihood.shared_per_column * size for likelihood, size in both]
        order = torch.tensor([column for _, columns in groups for column in columns], dtype=torch.long)
        self.register_buffer("columns", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> ProductDistribution:
        """p(x | z) from ``outputs`` of shape (..., n, sum of ``n_outputs``) and ``shared`` (sum of ``n_shared``,)."""
        parts = zip(self.likelihoods, outputs.split(self.n_outputs, -1), shared.split(self.n_shared), strict=True)
        masks = [None] * len(self.sizes) if observed is None else observed[:, self.columns].split(self.sizes, -1)
        joined = [likelihood(out, numbers, mask) for (likelihood, out, numbers), mask in zip(parts, masks, strict=True)]
        return ProductDistribution(joined, self.sizes, self.columns, self.back)


class ProductDistribution:
    """The joint distribution of independent groups of columns.

    Parameters
    ----------
    parts : sequence of Distribution
    sizes : sequence of int
        Number of columns of each part.
    columns, back : Tensor of int of shape (n_columns,)
        The columns in the order of the parts, and the inverse order.
    """

    def __init__(self, parts: Sequence[Distribution], sizes: Sequence[int], columns: Tensor, back: Tensor) -> None:
        self.parts, self.sizes, self.columns, self.back = parts, list(sizes), columns, back

    @property
    def mean(self) -> Tensor:
        """Expectation of a row, of shape (..., n, n_columns)."""
        return self.in_order([part.mean for part in self.parts])

    def rsample(self, rng: Rng) -> Tensor:
        """One draw per row, of shape (..., n, n_columns)."""
        return self.in_order([part.rsample(rng) for part in self.parts])

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of the parts' log-densities, of shape (..., n)."""
        split = x[..., self.columns].split(self.sizes, -1)
        return sum_of([part.log_prob(columns) for part, columns in zip(self.parts, split, strict=True)])

    def in_order(self, values: Sequence[Tensor]) -> Tensor:
        """Put the parts' columns into the order of the table."""
        return torch.cat(list(values), -1)[..., self.back]

"""The Bernoulli likelihood: columns of 0 and 1, and of gray values in between."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skdgm.distributions import Bernoulli


@dataclass(frozen=True)
class BernoulliLikelihood:
    """Each column is 0 or 1 with the decoder's probability; a gray value in [0, 1] counts as a probability."""

    is_binary = True
    standardize = False
    outputs_per_column = 1
    shared_per_column = 0

    def __call__(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Bernoulli:
        """p(x | z) from ``outputs`` of shape (..., n, n_columns)."""
        return Bernoulli(outputs, observed)

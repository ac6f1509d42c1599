"""The Bernoulli likelihood: columns of 0 and 1, and of gray values in between."""

from __future__ import annotations

from torch import Tensor

from skdgm.distributions import Bernoulli
from skdgm.likelihoods.base import Likelihood


class BernoulliLikelihood(Likelihood):
    """Each column is 0 or 1 with the decoder's probability; a gray value in [0, 1] counts as a probability."""

    is_binary = True

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Bernoulli:
        return Bernoulli(outputs, observed)

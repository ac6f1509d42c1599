"""Likelihoods p(x | z): from a decoder's output to a distribution over rows.

A likelihood defines how many decoder outputs a column needs, how many learned parameters per column all rows share,
which distribution these define, and whether its rows are binary. To add one, write a class in its own file and register
it in ``LIKELIHOODS``. ``columns`` combines the likelihoods of the columns of a table.
"""

from __future__ import annotations

from skdgm.likelihoods.bernoulli import BernoulliLikelihood
from skdgm.likelihoods.gaussian import (
    MAX_LOG_VAR,
    MIN_LOG_VAR,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
    bounded,
)

Likelihood = BernoulliLikelihood | GaussianLikelihood | HeteroscedasticGaussianLikelihood

LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": BernoulliLikelihood(),
    "gaussian": GaussianLikelihood(),
    "gaussian_heteroscedastic": HeteroscedasticGaussianLikelihood(),
}

__all__ = [
    "LIKELIHOODS",
    "MAX_LOG_VAR",
    "MIN_LOG_VAR",
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "HeteroscedasticGaussianLikelihood",
    "Likelihood",
    "bounded",
]

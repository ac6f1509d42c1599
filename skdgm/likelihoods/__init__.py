"""Likelihoods p(x | z): from a decoder's output to a distribution over rows.

A likelihood says how many outputs the decoder needs per column, how many learned numbers per column all rows share,
which distribution they make, and whether its rows are binary. To add one: write a class in a file of its own and name
it in ``LIKELIHOODS``. ``columns`` joins the likelihoods of the columns of one table.
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

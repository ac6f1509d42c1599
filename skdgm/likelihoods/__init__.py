"""Likelihoods p(x | z): from a decoder's output to a distribution over rows.

A likelihood defines how many decoder outputs its columns need, how many learned parameters all rows share, which
distribution these define, and which features of a cell the networks read. To add one, write a class in its own file and
register it in ``LIKELIHOODS``. ``columns`` combines the likelihoods of the columns of a table.
"""

from __future__ import annotations

from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.bernoulli import BernoulliLikelihood
from skdgm.likelihoods.gaussian import (
    MAX_LOG_VAR,
    MIN_LOG_VAR,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
    bounded,
)

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "gaussian_heteroscedastic": HeteroscedasticGaussianLikelihood,
}

__all__ = [
    "LIKELIHOODS",
    "MAX_LOG_VAR",
    "MIN_LOG_VAR",
    "Arguments",
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "HeteroscedasticGaussianLikelihood",
    "Likelihood",
    "bounded",
]

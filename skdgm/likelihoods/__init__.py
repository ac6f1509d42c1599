"""Likelihoods p(x | z): from a decoder's output to a distribution over rows.

A likelihood defines how many decoder outputs its columns need, how many learned parameters all rows share, which
distribution these define, and which features of a cell the networks read. To add one, write a class in its own file and
register it in ``LIKELIHOODS``. ``columns`` combines the likelihoods of the columns of a table.
"""

from __future__ import annotations

from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.bernoulli import BernoulliLikelihood
from skdgm.likelihoods.categorical import CategoricalLikelihood
from skdgm.likelihoods.counts import MultinomialLikelihood, NegativeBinomialLikelihood, PoissonLikelihood
from skdgm.likelihoods.gaussian import (
    MAX_LOG_VAR,
    MIN_LOG_VAR,
    GaussianLikelihood,
    HeteroscedasticGaussianLikelihood,
    bounded,
)
from skdgm.likelihoods.ordinal import OrdinalLikelihood
from skdgm.likelihoods.positive import LognormalLikelihood, ZeroInflatedLognormalLikelihood
from skdgm.likelihoods.quantile import GaussianQuantileLikelihood
from skdgm.likelihoods.student_t import StudentTLikelihood

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "categorical": CategoricalLikelihood,
    "gaussian": GaussianLikelihood,
    "gaussian_heteroscedastic": HeteroscedasticGaussianLikelihood,
    "gaussian_quantile": GaussianQuantileLikelihood,
    "lognormal": LognormalLikelihood,
    "multinomial": MultinomialLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
    "ordinal": OrdinalLikelihood,
    "poisson": PoissonLikelihood,
    "student_t": StudentTLikelihood,
    "zero_inflated_lognormal": ZeroInflatedLognormalLikelihood,
}

__all__ = [
    "LIKELIHOODS",
    "MAX_LOG_VAR",
    "MIN_LOG_VAR",
    "Arguments",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "GaussianLikelihood",
    "GaussianQuantileLikelihood",
    "HeteroscedasticGaussianLikelihood",
    "Likelihood",
    "LognormalLikelihood",
    "MultinomialLikelihood",
    "NegativeBinomialLikelihood",
    "OrdinalLikelihood",
    "PoissonLikelihood",
    "StudentTLikelihood",
    "ZeroInflatedLognormalLikelihood",
    "bounded",
]

"""Initialize a latent Gaussian model as factor analysis: both networks linear, the bound exact."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skdgm.networks import DecoderNetwork, NormalNetwork


class Factors(NamedTuple):
    """x = mean + W z + noise with z ~ N(0, I) and noise ~ N(0, diag variances), for the Gaussian columns of a table.

    Attributes
    ----------
    mean, variances : Tensor of shape (n_columns,)
    loadings : Tensor of shape (n_columns, n_factors)
        W.
    """

    mean: Tensor
    loadings: Tensor
    variances: Tensor


def diagonal_posterior(factors: Factors) -> tuple[Factors, Tensor]:
    """Rotate W to make the posterior covariance G = (I + W^T Psi^-1 W)^-1 diagonal, and return diag G as well.

    The density stays the same.
    """
    information = (factors.loadings.T / factors.variances) @ factors.loadings
    eigenvalues, rotation = torch.linalg.eigh(information)
    return factors._replace(loadings=factors.loadings @ rotation), 1 / (1 + eigenvalues)


@torch.no_grad()
def init_from_factors(encoder: NormalNetwork, decoder: DecoderNetwork, factors: Factors) -> None:
    """Set the linear paths to give p(x | z) = N(mean + W z, Psi) and q(z | x) = N(G W^T Psi^-1 (x - mean), G).

    Latent dimensions beyond the factors, and other columns in the decoder, keep their small random weights.
    """
    (mean, loadings, noise_variances), posterior_variance = diagonal_posterior(factors)
    regression = posterior_variance[:, None] * (loadings / noise_variances[:, None]).T
    columns, outputs, shared, features = decoder.likelihood.positions_of("gaussian")
    n_factors = len(posterior_variance)

    weight, bias = (parameter.clone() for parameter in decoder.mlp.linear_parameters)
    weight[outputs, :n_factors], bias[outputs] = loadings.to(weight), mean.to(bias)
    decoder.mlp.init_linear(weight, bias)
    decoder.shared[shared] = torch.log(noise_variances).to(decoder.shared)

    weight, bias = (parameter.clone() for parameter in encoder.mlp.linear_parameters)
    means, log_variances = slice(0, n_factors), slice(encoder.n_out, encoder.n_out + n_factors)
    weight[means] = weight[log_variances] = 0.0
    weight[means, features] = regression.to(weight)
    bias[means], bias[log_variances] = -(regression @ mean).to(bias), torch.log(posterior_variance).to(bias)
    encoder.mlp.init_linear(weight, bias)
    missing_weight = encoder.mlp.linear_missing_weight
    if missing_weight is not None:  # if only column j is missing, the precision of z_k is 1 / G_k - W_jk^2 / Psi_j
        lost = posterior_variance[:, None] * (loadings**2 / noise_variances[:, None]).T
        missing_weight[log_variances, columns] = -torch.log1p(-lost).to(missing_weight)

"""Missing cells given the observed ones, from weighted draws of the latent variables.

Self-normalized importance sampling: with weights w = p(x_observed, z) / q(z) at draws z ~ q, the mixture of p(x | z)
with the normalized weights approximates p(x | x_observed). All leading axes number draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skdgm.distributions import Categorical, Distribution, contiguous_last
from skdgm.noise import Rng


def mixture_center(log_w: Tensor, p_x: Distribution) -> Tensor:
    """Center of the mixture of p(x | z), the mean of a number and the most probable category; (n, n_columns).

    Parameters
    ----------
    log_w : Tensor of shape (..., n)
        Logarithms of the weights, up to a constant for each row.
    p_x : Distribution over (..., n, n_columns)
        p(x | z) at each draw.
    """
    weight = torch.softmax(draws_last(log_w), -1).T
    of_draws = p_x.mean_parameters.flatten(0, -3)
    return p_x.center(contiguous_last(weight[..., None] * of_draws).sum(-1))


def resampled_draws(log_w: Tensor, rng: Rng) -> Tensor:
    """Index into the flattened leading axes of one draw per row, chosen by weight; (n,)."""
    return Categorical(draws_last(log_w)).sample(rng)


def draws_last(log_w: Tensor) -> Tensor:
    """Flatten (..., n) to (n, n_draws)."""
    return contiguous_last(log_w.flatten(0, -2))


def chosen_rows(z: Tensor, index: Tensor) -> Tensor:
    """Draws of these indices from z of shape (..., n, d); (n, d)."""
    return z.flatten(0, -3)[index, torch.arange(len(index), device=z.device)]

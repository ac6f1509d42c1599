"""Missing cells that an encoder has not learned to read: fill them by the Markov chain of Rezende et al. 2014, app. F.

An encoder that was trained on rows without missing cells misreads rows with some. With the exact posterior,

    p(z | x_observed) = E[q(z | x_observed, x_missing)] over p(x_missing | x_observed),

and a chain that alternates z ~ q(z | x) and x_missing ~ p(x_missing | z) draws x_missing from that distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skdgm.distributions import Distribution
from skdgm.noise import Rng

EncoderInput = tuple[Tensor, Tensor | None]  # rows that the encoder reads, and which cells are observed

# Number of independent chains per row, and of their steps; and of draws of p(z), among which their start is chosen.
N_FILLS, N_STEPS, N_STARTS = 20, 5, 200


def learned_holes(missing_indicator: bool | Sequence[bool], n_columns: int) -> Tensor:
    """Which columns had missing cells in training, (n_columns,)."""
    return torch.as_tensor(missing_indicator, dtype=torch.bool).expand(n_columns).clone()


def has_holes(observed: Tensor | None) -> bool:
    """Tell whether some row misses some of its cells, but not all."""
    return observed is not None and bool((observed.any(-1) & ~observed.all(-1)).any())


def has_new_holes(observed: Tensor | None, learned: Tensor) -> bool:
    """Tell whether cells are missing whose absence the encoder has not learned to read.

    A row without any cell is read exactly: its posterior is the prior.
    """
    return observed is not None and bool((observed.any(-1, keepdim=True) & ~observed & ~learned).any())


def fills(
    x: Tensor,
    rng: Rng,
    observed: Tensor,
    learned: Tensor,
    start: Distribution,
    step: Callable[[Tensor, Tensor], Distribution],
    lead: tuple[int, ...] = (N_FILLS,),
) -> EncoderInput:
    """Rows whose new holes are filled by independent chains, (*lead, n, n_columns), and the mask to read them with.

    A few steps do not carry a chain far: it must start from rows that agree with the observed cells.

    Parameters
    ----------
    x, observed : Tensor of shape (n, n_columns)
    learned : Tensor of bool of shape (n_columns,)
        Columns whose missing cells stay missing, since the encoder reads them.
    start : Distribution over (*lead, n, n_columns)
        p(x | z) at draws of z that explain the observed cells.
    step : callable
        Takes rows and mask, and returns p(x | z) at a draw of z.
    lead : tuple of int
        Numbers of chains per row.
    """
    kept = observed | learned
    state, has_cells = torch.where(kept, x, start.rsample(rng)), observed.any(-1, keepdim=True)
    readable = (has_cells & (observed | ~learned)).expand_as(state)  # without any cell, q(z | x) is the prior
    for _ in range(N_STEPS):
        state = torch.where(kept, state, step(state, readable).rsample(rng))
    return state, readable

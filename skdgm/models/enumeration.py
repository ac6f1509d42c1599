"""Sums over binary codes, term by term: over all codes or over distinct drawn codes, and mixtures over codes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from skdgm.distributions import Bernoulli, Normal
from skdgm.models.binary_codes import BinaryCodeModule

# Codes of up to this many bits are enumerated, for every row.
MAX_CODE_BITS = 15
# Largest number of cells of a (rows, codes) table that is held in memory at once.
TABLE_CELLS = 1 << 24


def codes_to_sum(layer: BinaryCodeModule, x: Tensor, method: str, n_draws: int, rng: Generator | None) -> Tensor:
    """All codes of a layer ("enumerate"), or the distinct codes among draws from q(h | x) of the rows ("sample")."""
    if method == "enumerate" and layer.n_hidden > MAX_CODE_BITS:
        raise ValueError(
            f"method='enumerate' sums over 2^n_hidden codes and needs n_hidden <= {MAX_CODE_BITS}, got "
            f"{layer.n_hidden}. Use method='sample'."
        )
    if method == "sample" or layer.n_hidden > MAX_CODE_BITS:
        return distinct_draws(layer, x, n_draws, rng)
    return all_codes(layer.n_hidden, x.device)


def all_codes(n_bits: int, device: torch.device | str = "cpu") -> Tensor:
    """Every binary code, (2^n_bits, n_bits)."""
    indices = torch.arange(1 << n_bits, device=device)[:, None]
    return ((indices >> torch.arange(n_bits, device=device)) & 1).float()


def distinct_draws(layer: BinaryCodeModule, x: Tensor, n_draws: int, rng: Generator | None) -> Tensor:
    """The distinct codes among ``n_draws`` from q(h | x) of each row, (n_codes, n_hidden)."""
    q_h = layer.q_h(x)
    return torch.unique(torch.cat([q_h.rsample(rng) for _ in range(n_draws)]), dim=0)


def rows_at_once(codes: Tensor) -> int:
    """Number of rows whose table with all codes is held in memory at once."""
    return max(1, TABLE_CELLS // len(codes))


def log_mixture(p_x: Bernoulli | Normal, log_weights: Tensor, x: Tensor) -> Tensor:
    """log sum_h p(x | h) P(h) for codes with these log-weights; (n,)."""
    parts = [torch.logsumexp(p_x.cross_log_prob(rows) + log_weights, 1) for rows in x.split(rows_at_once(log_weights))]
    return torch.cat(parts)

"""Random numbers: from a torch generator, or from noise that depends only on a row's values.

Every function that draws takes ``rng``: a ``torch.Generator``, a :class:`RowNoise`, or None (the device's default
generator, for shape checks on ``meta``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood 2014): the step of its counter, and the factors of its mixing function.
GOLDEN, FACTOR_1, FACTOR_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class RowNoise:
    """Noise that depends on a row's values, not on its position in a batch: a function of (seed, row, draw number).

    A row's noise does not depend on the other rows, their order or their number, yet differs from theirs: with one
    block of noise for all rows, the mean over rows would vary with that block. Each row reads the SplitMix64 stream
    from a position hashed from its values, and later calls continue from there. The stream repeats after 2^64 steps.

    Parameters
    ----------
    seed : int
    x : Tensor of shape (n, n_columns)
        The rows that draw. Equal rows draw equal noise.
    """

    def __init__(self, seed: int, x: Tensor) -> None:
        self.start = splitmix64(hash_rows(x) ^ seed)
        self.n_used = 0

    def normal(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Draw from N(0, 1) with ``shape`` (..., n, d), by the Box-Muller method: 64 bits give a pair of draws.

        The radius takes 40 bits, which lets the tails reach 7.5; the angle takes 24.
        """
        *lead, _, d = shape
        n_draws = math.prod(lead)
        words = self.words((n_draws + 1) // 2, d)
        radius = torch.sqrt(-2 * torch.log((logical_right_shift(words, 24).float() + 0.5) * 2.0**-40))
        angle = (words & 0xFFFFFF).float() * (2 * math.pi / 2**24)
        return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])[:n_draws].reshape(shape)

    def uniform(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Draw from [0, 1) with ``shape`` (..., n, d); each draw has 24 bits, as many as float32 holds."""
        *lead, _, d = shape
        return logical_right_shift(self.words(math.prod(lead), d), 40).float().reshape(shape) * 2.0**-24

    def words(self, n_draws: int, d: int) -> Tensor:
        """Return the next 64 random bits for every draw, row and column; (n_draws, n, d)."""
        counter = torch.arange(self.n_used, self.n_used + n_draws * d, device=self.start.device)
        self.n_used += len(counter)
        return splitmix64(self.start[:, None] + (counter * GOLDEN).view(n_draws, 1, d))


Rng = torch.Generator | RowNoise | None


def splitmix64(z: Tensor) -> Tensor:
    """SplitMix64's mixing function, one-to-one on int64: each output bit depends on all input bits. Products wrap."""
    z = (z ^ logical_right_shift(z, 30)) * FACTOR_1
    z = (z ^ logical_right_shift(z, 27)) * FACTOR_2
    return z ^ logical_right_shift(z, 31)


def logical_right_shift(z: Tensor, n_bits: int) -> Tensor:
    """Shift int64 to the right and fill with zeros; torch's own shift repeats the sign bit."""
    return (z >> n_bits) & ((1 << (64 - n_bits)) - 1)


def hash_rows(x: Tensor) -> Tensor:
    """Hash each row's float32 values to an int64, (n,)."""
    bits = (x.float() + 0.0).contiguous().view(torch.int32).long()  # + 0.0 makes -0.0 the same as 0.0
    column = torch.arange(1, x.shape[1] + 1, device=x.device)
    return splitmix64(bits + column * GOLDEN).sum(1)


def standard_normal(shape: torch.Size | tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
    """Draw from N(0, 1) in float32 on the device of ``like``."""
    if isinstance(rng, RowNoise):
        return rng.normal(shape)
    return torch.randn(shape, generator=rng, device=like.device)


def uniform(shape: torch.Size | tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
    """Draw from [0, 1) in float32 on the device of ``like``."""
    if isinstance(rng, RowNoise):
        return rng.uniform(shape)
    return torch.rand(shape, generator=rng, device=like.device)


def open_uniform(shape: torch.Size | tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
    """Draw from (0, 1) in float64, never 0 or 1: quantiles are finite. The centers of the cells of ``uniform``."""
    return uniform(shape, rng, like).double() + 2.0**-25


def sample_bernoulli(mean: Tensor, rng: Rng) -> Tensor:
    """Draw 0/1 cells that are 1 with probability ``mean``. On a CPU twice as fast as ``torch.bernoulli``."""
    return (uniform(mean.shape, rng, mean) < mean).to(mean.dtype)

"""Where draws come from: generators, and noise that belongs to a row.

Every draw takes ``rng``: a ``torch.Generator``, a :class:`RowNoise`, or None (the device's default, for shape checks on
``meta``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAP_SHIFT = 7919  # a prime: the next lap of a noise tape meets other numbers


class RowNoise:
    """Standard normal noise that belongs to a row's content, not to its place in a batch.

    One tape of noise serves all rows. A row reads it from an offset hashed from its own bytes, so its noise does not
    depend on its neighbors, on the order, or on the size of the batch, and yet differs from theirs: a single block
    shared by all rows would make the mean over rows wander with that block.

    Parameters
    ----------
    tape : Tensor of shape (n_tape,)
        Standard normal draws.
    x : Tensor of shape (n, n_columns)
        The rows that draw.
    """

    def __init__(self, tape: Tensor, x: Tensor) -> None:
        self.tape = tape
        self.offset = hash_rows(x) % len(tape)

    def normal(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Noise of ``shape`` (..., n, d); each call begins at an offset of its own, each lap of the tape too."""
        *lead, n, d = shape
        steps = torch.arange(math.prod(lead) * d, device=self.tape.device)
        steps = steps + steps // len(self.tape) * LAP_SHIFT
        noise = self.tape[(self.offset[:, None] + steps) % len(self.tape)]
        self.offset = hash_rows(self.offset[:, None]) % len(self.tape)
        return noise.reshape(n, *lead, d).movedim(0, -2)


Rng = torch.Generator | RowNoise | None


def hash_rows(x: Tensor) -> Tensor:
    """Hash each row's float32 bytes to an integer in [0, 2^62), of shape (n,)."""
    bits = (x.float() + 0.0).contiguous().view(torch.int32).long()  # + 0.0 makes -0.0 the same as 0.0
    place = torch.arange(1, x.shape[1] + 1, device=x.device)
    mixed = (bits + place * 0x9E3779B97F4A7C1) * 0x5851F42D4C957F2D  # int64 products wrap, as a hash may
    mixed = (mixed ^ (mixed >> 29)) * 0x14057B7EF767814F
    total = mixed.sum(1) * 0x5851F42D4C957F2D
    return (total ^ (total >> 31)) & (2**62 - 1)


def standard_normal(shape: torch.Size | tuple[int, ...], rng: Rng, like: Tensor) -> Tensor:
    """Draws from N(0, 1), in float32, on the device of ``like``."""
    if isinstance(rng, RowNoise):
        return rng.normal(shape)
    return torch.randn(shape, generator=rng, device=like.device)


def bits(mean: Tensor, rng: torch.Generator | None) -> Tensor:
    """0/1 cells with these probabilities of a 1. On a CPU twice as fast as ``torch.bernoulli``."""
    return (torch.rand(mean.shape, generator=rng, device=mean.device) < mean).to(mean.dtype)

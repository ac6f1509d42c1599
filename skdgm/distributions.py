"""The densities of the models: reparametrised draws, log-densities per row, divergences.

The last axis of a sample is the columns of one row, and ``log_prob`` sums it out: a log-density has the shape of the
batch, ``(..., n)``. Arithmetic is float32 whatever the precision of the networks. Every draw takes ``rng``: a
``torch.Generator``, a :class:`RowNoise`, or None (the device's default, for shape checks on ``meta``).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG_2PI = math.log(2 * math.pi)
EXP_OVERFLOWS = 80.0  # in float32, beyond this; log(1 + exp(l)) is l there


class Distribution(Protocol):
    """What a network returns: a distribution over rows."""

    @property
    def mean(self) -> Tensor:
        """Expectation of a row, of shape (..., n, n_columns)."""
        ...

    def rsample(self, rng: Rng) -> Tensor:
        """One draw per row, of shape (..., n, n_columns)."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per row, of shape (..., n)."""
        ...


class RowNoise:
    """Standard normal noise that belongs to a row's content, not to its place in a batch.

    One tape of noise serves all rows. A row reads it from an offset hashed from its own bytes, so its noise does not
    depend on its neighbours, on the order, or on the size of the batch, and yet differs from theirs: a single block
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
        """Noise of ``shape`` (..., n, d); each call reads on where the last one stopped."""
        *lead, n, d = shape
        count = math.prod(lead) * d
        steps = torch.arange(count, device=self.tape.device)
        noise = self.tape[(self.offset[:, None] + steps) % len(self.tape)]
        self.offset = (self.offset + count) % len(self.tape)
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


class Normal:
    """Normal distribution with independent columns, N(mean, diag(exp(log_var))).

    Parameters
    ----------
    mean, log_var : Tensor of shape (..., n, n_columns)
        The two may broadcast.
    observed : Tensor of bool of shape (n, n_columns) or None
        The observed cells: the others do not count in ``log_prob``. None means all.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, observed: Tensor | None = None) -> None:
        self.mean = mean
        self.log_var = log_var
        self.observed = observed

    @property
    def sd(self) -> Tensor:
        """Standard deviation of each column, of shape (..., n, n_columns)."""
        return torch.exp(0.5 * self.log_var)

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrised draw per row: mean + sd * noise."""
        return self.mean + self.sd * standard_normal(self.mean.shape, rng, self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of log N(x; mean, var), of shape (..., n)."""
        x = seen(x, self.observed)
        cells = -0.5 * (LOG_2PI + self.log_var + (x - self.mean) ** 2 * torch.exp(-self.log_var))
        return sum_observed(cells, self.observed)

    def expand(self, *lead: int) -> Normal:
        """The same distribution with ``lead`` axes of independent draws in front."""
        shape = (*lead, *self.mean.shape)
        return Normal(self.mean.expand(shape), self.log_var.expand(shape), self.observed)


class Bernoulli:
    """Independent Bernoulli columns, given by their logits.

    ``log_prob`` is linear in x, so at a grey x it is the *expected* log-probability of the binary rows drawn from x:
    a bound at grey rows is a bound on the mean over binarisations, without the noise of drawing them.
    """

    def __init__(self, logits: Tensor, observed: Tensor | None = None) -> None:
        self.logits = logits
        self.observed = observed

    @property
    def mean(self) -> Tensor:
        """Probability of a 1, of shape (..., n, n_columns)."""
        return torch.sigmoid(self.logits)

    def rsample(self, rng: Rng) -> Tensor:
        """Draw 0/1 rows. Not differentiable; named alike so that every decoder can be sampled alike."""
        generator = rng if isinstance(rng, torch.Generator) else None
        return torch.bernoulli(self.mean, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of x log p + (1 - x) log (1 - p), of shape (..., n)."""
        return BernoulliLogProb.apply(seen(x, self.observed), self.logits, self.observed)


class BernoulliLogProb(torch.autograd.Function):
    """sum_j x_j l_j - log(1 + exp(l_j)) over the observed columns, of logits l: half the passes that autograd makes.

    With a class or a draw per leading axis the cells are millions, and passes over them cost as much as the products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor, observed: Tensor | None) -> Tensor:
        """The log-density, (..., n); x and logits broadcast."""
        ctx.save_for_backward(x, logits, observed)
        softplus = logits.clamp(max=EXP_OVERFLOWS).exp_().add_(1).log_()
        torch.maximum(softplus, logits, out=softplus)
        return sum_observed(torch.addcmul(softplus, x, logits, value=-1), observed).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """x - sigmoid(l) in logits; l in x, where anybody asks."""
        x, logits, observed = ctx.saved_tensors
        row = grads[0][..., None] if observed is None else grads[0][..., None] * observed
        of_x = (row * logits).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        return of_x, (x - torch.sigmoid(logits)).mul_(row).sum_to_size(logits.shape), None


class Categorical:
    """A class per row, given by unnormalised log-probabilities of shape (..., n, n_classes)."""

    def __init__(self, logits: Tensor) -> None:
        self.log_probs = F.log_softmax(logits, dim=-1)

    @cached_property
    def probs(self) -> Tensor:
        """Probabilities of shape (..., n, n_classes)."""
        return torch.exp(self.log_probs)

    def log_prob(self, y: Tensor) -> Tensor:
        """Log-probability of the class index ``y``; ``y`` broadcasts against the rows: (..., n)."""
        if self.log_probs.ndim == 1:  # one distribution for all rows
            return self.log_probs[y]
        y, log_probs = torch.broadcast_tensors(y[..., None], self.log_probs)
        return log_probs.gather(-1, y[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape (..., n)."""
        return -(self.probs * self.log_probs).sum(-1)

    def sample(self, rng: torch.Generator | None) -> Tensor:
        """One class index per row, of shape (..., n)."""
        flat = self.probs.reshape(-1, self.log_probs.shape[-1])
        return torch.multinomial(flat, 1, generator=rng).reshape(self.log_probs.shape[:-1])


def standard(like: Normal) -> Normal:
    """N(0, 1) of the shape of ``like``: the prior over codes."""
    zeros = torch.zeros_like(like.mean)
    return Normal(zeros, zeros)


def kl_to_standard(q: Normal) -> Tensor:
    """KL(q || N(0, 1)) in nats per row, of shape (..., n): Kingma et al. 2014, appendix; exact."""
    return 0.5 * (q.mean**2 + torch.exp(q.log_var) - 1.0 - q.log_var).sum(-1)


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(log_w) along ``dim``, without overflow."""
    return torch.logsumexp(log_w, dim) - math.log(log_w.shape[dim])


def seen(x: Tensor, observed: Tensor | None) -> Tensor:
    """A row with 0 in place of its missing cells (a column's mean once standardised), whatever stood there."""
    return x if observed is None else torch.where(observed, x, 0.0)


def sum_observed(cells: Tensor, observed: Tensor | None) -> Tensor:
    """Sum cells over the columns that are observed."""
    return cells.sum(-1) if observed is None else torch.where(observed, cells, 0.0).sum(-1)

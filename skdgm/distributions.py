"""The densities of the models: reparametrised draws, log-densities per row, divergences.

The last axis of a sample is the columns of one row, and ``log_prob`` sums it out: a log-density has the shape of the
batch, ``(..., n)``. Arithmetic is float32 whatever the precision of the networks. Every draw takes ``rng``: a
``torch.Generator``, a :class:`RowNoise`, or None (the device's default, for shape checks on ``meta``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG_2PI = math.log(2 * math.pi)
LAP_SHIFT = 7919  # a prime: the next lap of a noise tape meets other numbers
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

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A draw per row and its log-density, (..., n)."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.mean + self.sd * noise, log_standard_normal(noise) - 0.5 * self.log_var.sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of log N(x; mean, var), of shape (..., n)."""
        x = seen(x, self.observed)
        cells = -0.5 * (LOG_2PI + self.log_var + (x - self.mean) ** 2 * torch.exp(-self.log_var))
        return sum_observed(cells, self.observed)

    def cross_log_prob(self, x: Tensor) -> Tensor:
        """``log_prob`` of every row of x under every row here, (n_x, n): products of matrices.

        In float64, since its terms are far larger than their sum.
        """
        x, mean, log_var = x.double(), self.mean.double(), self.log_var.double()
        precision = torch.exp(-log_var)
        constant = (LOG_2PI + log_var + mean**2 * precision).sum(-1)
        return (x @ (mean * precision).T - 0.5 * (x**2 @ precision.T + constant)).to(self.mean.dtype)

    def kl_to_standard(self) -> Tensor:
        """KL(q || N(0, 1)) in nats per row, of shape (..., n): Kingma et al. 2014, appendix; exact."""
        return 0.5 * (self.mean**2 + torch.exp(self.log_var) - 1.0 - self.log_var).sum(-1)

    def expand(self, *lead: int) -> Normal:
        """The same distribution with ``lead`` axes of independent draws in front."""
        shape = (*lead, *self.mean.shape)
        return Normal(self.mean.expand(shape), self.log_var.expand(shape), self.observed)


class LowRankNormal:
    """Normal whose precision is diagonal plus low rank: N(mean, (D + U U^T)^-1).

    The structured posterior of Rezende et al. 2014, sec. 4.3, there of rank one. Nothing of size d x d is made: with
    A = D^(-1/2) U and the Cholesky factor L of G = I + A^T A, a draw is mean + R noise for
    R = D^(-1/2) (I - A ((L + I) L^T)^-1 A^T), whose R R^T is the covariance. At rank one this is the paper's R; in this
    form nothing is divided by U, so that it holds at U = 0.

    Parameters
    ----------
    mean : Tensor of shape (..., n, d)
    log_d : Tensor of shape (n, d)
        Logarithm of D's diagonal.
    factors : Tensor of shape (n, rank, d)
        U^T: a column of U in each row.
    max_narrowing : float, default=inf
        Columns of A are shortened so that none is longer: along a column the normal is at most so much narrower than D
        alone makes it.
    """

    def __init__(self, mean: Tensor, log_d: Tensor, factors: Tensor, max_narrowing: float = math.inf) -> None:
        self.mean, self.log_d = mean, log_d
        self.sd = torch.exp(-0.5 * log_d)  # of D alone
        scaled = self.sd[:, None] * factors
        gram = products(scaled, scaled)
        shortened = torch.rsqrt(1 + diagonal(gram) / max_narrowing**2)[..., None]
        self.scaled = shortened * scaled  # A^T
        self.chol = cholesky_of_identity_plus(shortened * gram * shortened.mT)  # L

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrised draw per row: mean + R noise."""
        return self.at(standard_normal(self.mean.shape, rng, self.mean))

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A draw per row and its log-density, (..., n), by the noise: exact however far the draw lies."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.at(noise), log_standard_normal(noise) + 0.5 * self.log_det_precision

    def at(self, noise: Tensor) -> Tensor:
        """The draw that a noise gives: mean + R noise."""
        identity = torch.eye(self.rank, device=noise.device)
        with float32_products(noise):
            inner = solve(products(self.chol + identity, self.chol), along(self.scaled, noise))
        return self.mean + self.sd * (noise - combined(self.scaled, inner))

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, (D + U U^T)^-1), of shape (..., n)."""
        off = (x - self.mean) / self.sd
        squares = (off**2).sum(-1) + (along(self.scaled, off) ** 2).sum(-1)
        return -0.5 * (self.mean.shape[-1] * LOG_2PI + squares - self.log_det_precision)

    @property
    def log_det_precision(self) -> Tensor:
        """log |D + U U^T|, of shape (n,), by the matrix determinant lemma."""
        return self.log_d.sum(-1) + 2 * torch.log(diagonal(self.chol)).sum(-1)

    @property
    def trace(self) -> Tensor:
        """Trace of the covariance, of shape (n,): that of D^-1 - B G^-1 B^T for B = D^(-1/2) A."""
        b = self.sd[:, None] * self.scaled
        with float32_products(b):
            return (self.sd**2).sum(-1) - trace_of_solution(self.chol, products(b, b))

    def kl_to_standard(self) -> Tensor:
        """KL(q || N(0, I)) in nats per row, of shape (..., n): Rezende et al. 2014, eq. (11) ff.; exact."""
        d = self.mean.shape[-1]
        return 0.5 * ((self.mean**2).sum(-1) + self.trace - d + self.log_det_precision)

    def expand(self, *lead: int) -> LowRankNormal:
        """The same distribution with ``lead`` axes of independent draws in front."""
        expanded = copy.copy(self)
        expanded.mean = self.mean.expand(*lead, *self.mean.shape)
        return expanded

    @property
    def rank(self) -> int:
        """Columns of U."""
        return self.scaled.shape[-2]


class FullNormal:
    """Normal with any covariance, given by its Cholesky factor: N(mean, C C^T).

    Parameters
    ----------
    mean : Tensor of shape (..., n, d)
    chol : Tensor of shape (n, d, d)
        C, lower triangular with a positive diagonal.
    """

    def __init__(self, mean: Tensor, chol: Tensor) -> None:
        self.mean, self.chol = mean, chol

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrised draw per row: mean + C noise."""
        return self.at(standard_normal(self.mean.shape, rng, self.mean))

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A draw per row and its log-density, (..., n), by the noise: exact however far the draw lies."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.at(noise), log_standard_normal(noise) - self.log_det

    def at(self, noise: Tensor) -> Tensor:
        """The draw that a noise gives: mean + C noise."""
        with float32_products(self.mean):
            return self.mean + torch.einsum("nij,...nj->...ni", self.chol, noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, C C^T), of shape (..., n)."""
        off = x - self.mean
        columns = off.reshape(-1, *off.shape[-2:]).permute(1, 2, 0)  # each row's draws side by side
        with float32_products(off):
            squares = (torch.linalg.solve_triangular(self.chol, columns, upper=False) ** 2).sum(1)
        squares = squares.mT.reshape(off.shape[:-1])
        return -0.5 * (off.shape[-1] * LOG_2PI + squares) - self.log_det

    @property
    def log_det(self) -> Tensor:
        """log |C|, of shape (n,)."""
        return torch.log(diagonal(self.chol)).sum(-1)

    def kl_to_standard(self) -> Tensor:
        """KL(q || N(0, I)) in nats per row, of shape (..., n); exact."""
        d = self.mean.shape[-1]
        return 0.5 * ((self.mean**2).sum(-1) + (self.chol**2).sum((-1, -2)) - d) - self.log_det

    def expand(self, *lead: int) -> FullNormal:
        """The same distribution with ``lead`` axes of independent draws in front."""
        return FullNormal(self.mean.expand(*lead, *self.mean.shape), self.chol)


class Blocks:
    """Independent normals of some columns each, side by side: the codes of several layers."""

    def __init__(self, blocks: Sequence[AnyNormal]) -> None:
        self.blocks = blocks

    @property
    def mean(self) -> Tensor:
        """Expectation of a row, of shape (..., n, d)."""
        return torch.cat([block.mean for block in self.blocks], -1)

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrised draw per row."""
        return torch.cat([block.rsample(rng) for block in self.blocks], -1)

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A draw per row and its log-density, (..., n)."""
        draws, log_probs = zip(*(block.draw(rng) for block in self.blocks), strict=True)
        return torch.cat(draws, -1), sum_of(log_probs)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of the blocks' log-densities, of shape (..., n)."""
        parts = x.split([block.mean.shape[-1] for block in self.blocks], -1)
        return sum_of([block.log_prob(part) for block, part in zip(self.blocks, parts, strict=True)])

    def kl_to_standard(self) -> Tensor:
        """KL(q || N(0, I)) in nats per row, of shape (..., n)."""
        return sum_of([block.kl_to_standard() for block in self.blocks])

    def expand(self, *lead: int) -> Blocks:
        """The same distribution with ``lead`` axes of independent draws in front."""
        return Blocks([block.expand(*lead) for block in self.blocks])


AnyNormal = Normal | LowRankNormal | FullNormal | Blocks


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
        if isinstance(rng, RowNoise):
            return (torch.special.ndtr(rng.normal(self.logits.shape)) < self.mean).to(self.logits.dtype)
        return bits(self.mean, rng)

    def expand(self, *lead: int) -> Bernoulli:
        """The same distribution with ``lead`` axes of independent draws in front."""
        return Bernoulli(self.logits.expand(*lead, *self.logits.shape), self.observed)

    def straight_through(self, rng: torch.Generator | None) -> Tensor:
        """Draw 0/1 rows that pass their gradient on to the mean: biased, of little variance (Bengio et al. 2013)."""
        mean = self.mean
        return bits(mean.detach(), rng) + mean - mean.detach()

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of x log p + (1 - x) log (1 - p), of shape (..., n)."""
        return BernoulliLogProb.apply(seen(x, self.observed), self.logits, self.observed)  # type: ignore[no-untyped-call]

    def cross_log_prob(self, x: Tensor) -> Tensor:
        """``log_prob`` of every row of x under every row here, (n_x, n): products of matrices."""
        return torch.addmm(-F.softplus(self.logits).sum(-1), x, self.logits.T)


def bits(mean: Tensor, rng: torch.Generator | None) -> Tensor:
    """0/1 cells with these probabilities of a 1. On a CPU twice as fast as ``torch.bernoulli``."""
    return (torch.rand(mean.shape, generator=rng, device=mean.device) < mean).to(mean.dtype)


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


def log_standard_normal(noise: Tensor) -> Tensor:
    """log N(noise; 0, I), of shape (..., n)."""
    return -0.5 * (noise**2 + LOG_2PI).sum(-1)


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(log_w) along ``dim``, without overflow.

    Each row's numbers lie side by side: along another axis the rounding of torch's sum depends on the row's place.
    """
    return torch.logsumexp(log_w.movedim(dim, -1).contiguous(), -1) - math.log(log_w.shape[dim])


def smooth_clip(x: Tensor, knee: float = 5.0) -> Tensor:
    """x itself up to ``knee``, then bending towards twice that; for what is read, never for what is modeled."""
    core = x.clamp(-knee, knee)
    excess = x - core
    return core + excess * (knee / (knee + excess.abs()))


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself, whose gradient is ``factor`` times as large."""
    return x if factor == 1 else x.detach() + factor * (x - x.detach())


def seen(x: Tensor, observed: Tensor | None) -> Tensor:
    """A row with 0 in place of its missing cells (a column's mean once standardised), whatever stood there."""
    return x if observed is None else torch.where(observed, x, 0.0)


def sum_observed(cells: Tensor, observed: Tensor | None) -> Tensor:
    """Sum cells over the columns that are observed."""
    return cells.sum(-1) if observed is None else torch.where(observed, cells, 0.0).sum(-1)


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Sum of tensors of one shape."""
    return torch.stack(list(parts)).sum(0)


# --- small matrices: rank one is the common case, and a call to a library for each row costs more than the layers -----


def float32_products(like: Tensor) -> AbstractContextManager[object]:
    """Keep products of matrices in float32 under the engine's autocast, which is meant for linear layers alone."""
    return torch.autocast(like.device.type, enabled=False)


def products(one: Tensor, other: Tensor) -> Tensor:
    """one other^T for (..., rank, d) each, of shape (..., rank, rank)."""
    if one.shape[-2] == 1:
        return (one * other).sum(-1, keepdim=True)
    with float32_products(one):
        return one @ other.mT


def along(factors: Tensor, x: Tensor) -> Tensor:
    """Products of x, (..., n, d), with each of the factors (n, rank, d): (..., n, rank)."""
    if factors.shape[-2] == 1:
        return (factors[:, 0] * x).sum(-1, keepdim=True)
    with float32_products(x):
        return torch.einsum("nrd,...nd->...nr", factors, x)


def combined(factors: Tensor, weights: Tensor) -> Tensor:
    """Sum of the factors (n, rank, d) by weights (..., n, rank): (..., n, d)."""
    if factors.shape[-2] == 1:
        return factors[:, 0] * weights
    with float32_products(weights):
        return torch.einsum("nrd,...nr->...nd", factors, weights)


def cholesky_of_identity_plus(gram: Tensor) -> Tensor:
    """Lower Cholesky factor of I + gram for positive semi-definite (n, rank, rank)."""
    if gram.shape[-1] == 1:
        return torch.sqrt(1 + gram)
    return torch.linalg.cholesky_ex(gram + torch.eye(gram.shape[-1], device=gram.device)).L


def solve(matrix: Tensor, vectors: Tensor) -> Tensor:
    """matrix^-1 vectors for (n, rank, rank) and (..., n, rank)."""
    if matrix.shape[-1] == 1:
        return vectors / matrix[..., 0]
    return torch.einsum("nij,...nj->...ni", torch.linalg.inv_ex(matrix).inverse, vectors)


def trace_of_solution(chol: Tensor, matrix: Tensor) -> Tensor:
    """Trace of (chol chol^T)^-1 matrix for (n, rank, rank) each: (n,)."""
    if chol.shape[-1] == 1:
        return (matrix / chol**2)[:, 0, 0]
    return diagonal(torch.cholesky_solve(matrix, chol)).sum(-1)


def diagonal(matrix: Tensor) -> Tensor:
    """The diagonal, (n, rank)."""
    return matrix.diagonal(dim1=-2, dim2=-1)

"""Probability distributions of the models: reparametrized draws, log-densities per row, KL divergences.

The last axis of a sample holds the columns of one row. ``log_prob`` sums over it, so a log-density has the shape of the
batch, ``(..., n)``. Arithmetic is float32, whatever the precision of the networks. Every function that draws takes
``rng``, as described in ``noise``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, reduce
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from skdgm.noise import Rng, RowNoise, sample_bernoulli, standard_normal, uniform

LOG_2PI = math.log(2 * math.pi)
# Logits are clamped to this before exp, which overflows float32 near 88; above it, log(1 + exp(l)) equals l.
MAX_EXP_ARGUMENT = 80.0
# Prediction pads the columns of matrix products to a multiple of four: otherwise the libraries of some processors round
# a row differently depending on its position in the batch.
PRODUCT_BLOCK = 4


class Distribution(Protocol):
    """What a network returns: a distribution over rows."""

    @property
    def mean(self) -> Tensor:
        """Center of each cell, of shape (..., n, n_columns): the mean, or the mode of categories."""
        ...

    @property
    def mean_parameters(self) -> Tensor:
        """What mixes linearly if distributions are mixed, (..., n, n_mean_parameters): means, and probabilities."""
        ...

    def center(self, mean_parameters: Tensor) -> Tensor:
        """Center of each cell of a mixture that has these mean parameters; (..., n, n_columns)."""
        ...

    def rsample(self, rng: Rng) -> Tensor:
        """One draw per row, of shape (..., n, n_columns)."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats per row, of shape (..., n)."""
        ...


class HasMean(Protocol):
    """What ``WithMeans`` needs."""

    @property
    def mean(self) -> Tensor:
        """Mean of each cell, (..., n, n_columns)."""
        ...


class WithMeans:
    """Mixin of distributions whose mean parameters are the means of the cells."""

    @property
    def mean_parameters(self: HasMean) -> Tensor:
        """The means, (..., n, n_columns)."""
        return self.mean

    def center(self, mean_parameters: Tensor) -> Tensor:
        """The means themselves."""
        return mean_parameters


class WithKL:
    """Mixin of normals whose KL divergence from N(0, I) needs no draw."""

    def rsample_and_kl(self: Any, rng: Rng, *lead: int) -> tuple[Tensor, Tensor]:
        """Draws per row, (*lead, n, d), and KL(q || N(0, I)), (n,)."""
        return self.expand(*lead).rsample(rng), self.kl_standard_normal()


class Normal(WithMeans, WithKL):
    """Normal distribution with independent columns, N(mean, diag(exp(log_var))).

    Parameters
    ----------
    mean, log_var : Tensor of shape (..., n, n_columns)
        The two may broadcast.
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, observed: Tensor | None = None) -> None:
        self.mean = mean
        self.log_var = log_var
        self.observed = observed

    @property
    def sd(self) -> Tensor:
        """Standard deviation of each column, of shape (..., n, n_columns)."""
        return torch.exp(0.5 * self.log_var)

    @property
    def covariance(self) -> Tensor:
        """Diagonal covariance of each row, of shape (..., n, n_columns, n_columns)."""
        return torch.diag_embed(self.sd**2)

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row: mean + sd * noise."""
        return self.mean + self.sd * standard_normal(self.mean.shape, rng, self.mean)

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """A draw per row and its log-density, (..., n)."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.mean + self.sd * noise, log_standard_normal(noise) - 0.5 * self.log_var.sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of log N(x; mean, var), of shape (..., n)."""
        x = zero_fill(x, self.observed)
        return NormalLogProb.apply(x, self.mean, self.log_var, self.observed)  # type: ignore[no-untyped-call]

    def cross_log_prob(self, x: Tensor) -> Tensor:
        """``log_prob`` of every row of x under every row of this distribution, (n_x, n), by matrix products.

        Computed in float64, since the terms are far larger than their sum.
        """
        x, mean, log_var = x.double(), self.mean.double(), self.log_var.double().expand_as(self.mean)
        precision = torch.exp(-log_var)
        constant = (LOG_2PI + log_var + mean**2 * precision).sum(-1)
        return (x @ (mean * precision).T - 0.5 * (x**2 @ precision.T + constant)).to(self.mean.dtype)

    def kl_standard_normal(self) -> Tensor:
        """Exact KL(q || N(0, 1)) in nats per row, of shape (..., n); Kingma et al. 2014, appendix."""
        return 0.5 * (self.mean**2 + torch.exp(self.log_var) - 1.0 - self.log_var).sum(-1)

    def expand(self, *lead: int) -> Normal:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        shape = (*lead, *self.mean.shape)
        return Normal(self.mean.expand(shape), self.log_var.expand(shape), self.observed)


class NormalLogProb(torch.autograd.Function):
    """sum_j log N(x_j; m_j, exp(v_j)) over the observed columns, in half the passes of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, log_var: Tensor, observed: Tensor | None) -> Tensor:
        """The log-density, (..., n); x, the mean, and the log-variance broadcast."""
        inverse_sd = torch.exp(-0.5 * log_var)
        scaled = (x - mean) * inverse_sd
        ctx.save_for_backward(scaled, inverse_sd, observed)
        ctx.shapes = x.shape, mean.shape, log_var.shape
        return sum_observed(scaled.square().add_(LOG_2PI + log_var), observed).mul_(-0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients: (x - m) / exp(v) for the mean, its negative for x, ((x - m)^2 / exp(v) - 1) / 2 for v."""
        scaled, inverse_sd, observed = ctx.saved_tensors
        row = grads[0][..., None] if observed is None else grads[0][..., None] * observed
        of_x, of_mean, of_log_var = ctx.needs_input_grad[:3]
        x_shape, mean_shape, log_var_shape = ctx.shapes
        force = scaled * row
        by_mean = force * inverse_sd if of_x or of_mean else force
        return (
            by_mean.neg().sum_to_size(x_shape) if of_x else None,
            by_mean.sum_to_size(mean_shape) if of_mean else None,
            force.mul_(scaled).sub_(row).mul_(0.5).sum_to_size(log_var_shape) if of_log_var else None,
            None,
        )


class Bernoulli(WithMeans):
    """Independent Bernoulli columns, given by their logits.

    ``log_prob`` is linear in x, so at a gray x it is the *expected* log-probability of binary rows drawn from x. A
    bound at gray rows therefore bounds the mean over binarizations, without the noise of sampling them.
    """

    def __init__(self, logits: Tensor, observed: Tensor | None = None) -> None:
        self.logits = logits
        self.observed = observed

    @property
    def mean(self) -> Tensor:
        """Probability of a 1, of shape (..., n, n_columns)."""
        return torch.sigmoid(self.logits)

    def rsample(self, rng: Rng) -> Tensor:
        """Draw 0/1 rows. Not differentiable; the name is the same for all distributions of a decoder."""
        return sample_bernoulli(self.mean, rng)

    def expand(self, *lead: int) -> Bernoulli:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        return Bernoulli(self.logits.expand(*lead, *self.logits.shape), self.observed)

    def straight_through(self, rng: torch.Generator | None) -> Tensor:
        """Draw 0/1 rows that pass their gradient on to the mean: biased, of little variance (Bengio et al. 2013)."""
        mean = self.mean
        return sample_bernoulli(mean.detach(), rng) + mean - mean.detach()

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of x log p + (1 - x) log (1 - p), of shape (..., n)."""
        return BernoulliLogProb.apply(zero_fill(x, self.observed), self.logits, self.observed)  # type: ignore[no-untyped-call]

    def cross_log_prob(self, x: Tensor) -> Tensor:
        """``log_prob`` of every row of x under every row of this distribution, by matrix products; (n_x, n)."""
        return torch.addmm(-F.softplus(self.logits).sum(-1), x, self.logits.T)


class BernoulliLogProb(torch.autograd.Function):
    """sum_j x_j l_j - log(1 + exp(l_j)) over the observed columns, for logits l, in half the passes of autograd.

    With leading axes for classes or draws there are millions of cells, and passes over them cost as much as the matrix
    products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor, observed: Tensor | None) -> Tensor:
        """The log-density, (..., n); x and logits broadcast."""
        ctx.save_for_backward(x, logits, observed)
        softplus = logits.clamp(max=MAX_EXP_ARGUMENT).exp_().add_(1).log_()
        torch.maximum(softplus, logits, out=softplus)
        return sum_observed(torch.addcmul(softplus, x, logits, value=-1), observed).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """The gradients: x - sigmoid(l) for the logits, and l for x if it is needed."""
        x, logits, observed = ctx.saved_tensors
        row = grads[0][..., None] if observed is None else grads[0][..., None] * observed
        of_x = (row * logits).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        return of_x, (x - torch.sigmoid(logits)).mul_(row).sum_to_size(logits.shape), None


class Categorical:
    """A class per row, given by unnormalized log-probabilities of shape (..., n, n_classes)."""

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

    def sample(self, rng: Rng) -> Tensor:
        """One class index per row, of shape (..., n)."""
        if isinstance(rng, RowNoise):  # by inversion
            cells = uniform((*self.log_probs.shape[:-1], 1), rng, self.log_probs)
            return (self.probs.cumsum(-1) <= cells).sum(-1).clamp(max=self.log_probs.shape[-1] - 1)
        # the first of exponential waiting times, as torch.multinomial draws; that would make the CPU wait for a GPU
        probs = self.probs.detach()
        return (probs / torch.empty_like(probs).exponential_(generator=rng)).argmax(-1)


def log_standard_normal(noise: Tensor) -> Tensor:
    """log N(noise; 0, I), of shape (..., n)."""
    return -0.5 * (noise**2 + LOG_2PI).sum(-1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; without gradients a row's result does not depend on its place among the rows."""
    if torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    spare = -x.shape[-1] % PRODUCT_BLOCK
    if not spare:
        return F.linear(x.contiguous(), weight, bias)
    return F.linear(F.pad(x, (0, spare)), F.pad(weight, (0, spare)), bias)


def float32_products(like: Tensor) -> AbstractContextManager[object]:
    """Keep matrix products in float32 under autocast, which is meant for the linear layers of networks only."""
    device = like.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def contiguous_last(x: Tensor, dim: int = 0) -> Tensor:
    """Move ``dim`` last, in memory too: along other axes the rounding of torch's sums depends on a row's position."""
    return x.movedim(dim, -1).contiguous()


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(log_w) along ``dim``, without overflow."""
    return torch.logsumexp(contiguous_last(log_w, dim), -1) - math.log(log_w.shape[dim])


def smooth_clip(x: Tensor, knee: float = 5.0) -> Tensor:
    """x itself up to ``knee``, then a smooth approach to twice that; for network inputs, never for modeled values."""
    core = x.clamp(-knee, knee)
    excess = x - core
    return core + excess * (knee / (knee + excess.abs()))


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself, with its gradient multiplied by ``factor``."""
    return x.detach() + factor * (x - x.detach())


def zero_fill(x: Tensor, observed: Tensor | None) -> Tensor:
    """Rows with 0 in missing cells (the median of a standardized column), whatever the cells held."""
    return x if observed is None else torch.where(observed, x, 0.0)


def sum_observed(cells: Tensor, observed: Tensor | None) -> Tensor:
    """Sum cells over the columns that are observed."""
    return cells.sum(-1) if observed is None else torch.where(observed, cells, 0.0).sum(-1)


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Sum of tensors of one shape."""
    return reduce(torch.add, parts)

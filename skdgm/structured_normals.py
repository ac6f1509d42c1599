"""Normal distributions with correlated columns, and those of several layers of codes: posteriors of deep models.

As in ``distributions``, the last axis of a sample holds the columns of one row, and ``log_prob`` sums over it. Matrix
products stay in float32, whatever the precision of the networks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from skdgm.distributions import (
    LOG_2PI,
    Normal,
    WithKL,
    float32_products,
    log_mean_exp,
    log_standard_normal,
    sum_of,
)
from skdgm.noise import Rng, standard_normal

# Numbers of draws times components of a mixture that are in memory together.
MAX_CELLS = 1 << 22


class LowRankNormal(WithKL):
    """Normal whose precision is diagonal plus low rank: N(mean, (D + U U^T)^-1).

    The structured posterior of Rezende et al. 2014, sec. 4.3, where it has rank one. No d x d matrix is formed. With
    A = D^(-1/2) U and the Cholesky factor L of G = I + A^T A, a draw is mean + R noise, where
    R = D^(-1/2) (I - A ((L + I) L^T)^-1 A^T) and R R^T is the covariance. At rank one this is the paper's R; this form
    does not divide by U, so it also holds at U = 0.

    Parameters
    ----------
    mean : Tensor of shape (..., n, d)
    log_d : Tensor of shape (..., n, d)
        Logarithm of D's diagonal.
    factors : Tensor of shape (..., n, rank, d)
        U^T: each row is a column of U.
    max_narrowing : float, default=inf
        Columns of A are shortened to at most this length. Along a column, the normal is at most this many times
        narrower than with D only.
    """

    def __init__(self, mean: Tensor, log_d: Tensor, factors: Tensor, max_narrowing: float = math.inf) -> None:
        self.mean, self.log_d = mean, log_d
        self.sd = torch.exp(-0.5 * log_d)  # of D only
        scaled = self.sd.unsqueeze(-2) * factors
        squares = gram(scaled, scaled)
        shortened = torch.rsqrt(1 + diagonal(squares) / max_narrowing**2)[..., None]
        self.scaled = shortened * scaled  # A^T
        self.chol = cholesky_of_identity_plus(shortened * squares * shortened.mT)  # L

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row: mean + R noise."""
        return self.at(standard_normal(self.mean.shape, rng, self.mean))

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n), computed from the noise: exact even for extreme draws."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.at(noise), log_standard_normal(noise) + 0.5 * self.log_det_precision

    def at(self, noise: Tensor) -> Tensor:
        """The draw for a given noise: mean + R noise."""
        identity = torch.eye(self.rank, device=noise.device)
        with float32_products(noise):
            inner = solve(gram(self.chol + identity, self.chol), inner_products(self.scaled, noise))
        return self.mean + self.sd * (noise - weighted_sum(self.scaled, inner))

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, (D + U U^T)^-1), of shape (..., n)."""
        off = (x - self.mean) / self.sd
        squares = (off**2).sum(-1) + (inner_products(self.scaled, off) ** 2).sum(-1)
        return -0.5 * (self.mean.shape[-1] * LOG_2PI + squares - self.log_det_precision)

    @property
    def log_det_precision(self) -> Tensor:
        """log |D + U U^T|, of shape (n,), by the matrix determinant lemma."""
        return self.log_d.sum(-1) + 2 * torch.log(diagonal(self.chol)).sum(-1)

    @property
    def trace(self) -> Tensor:
        """Trace of the covariance D^-1 - B G^-1 B^T, where B = D^(-1/2) A; of shape (n,)."""
        b = self.sd.unsqueeze(-2) * self.scaled
        with float32_products(b):
            return (self.sd**2).sum(-1) - trace_of_solution(self.chol, gram(b, b))

    def kl_standard_normal(self) -> Tensor:
        """Exact KL(q || N(0, I)) in nats per row, of shape (..., n); Rezende et al. 2014, eq. (11) ff."""
        d = self.mean.shape[-1]
        return 0.5 * ((self.mean**2).sum(-1) + self.trace - d + self.log_det_precision)

    @property
    def covariance(self) -> Tensor:
        """D^-1 - B^T G^-1 B with B = A^T D^(-1/2), a d x d matrix per row: (..., n, d, d)."""
        b = self.scaled * self.sd.unsqueeze(-2)
        with float32_products(b):
            return torch.diag_embed(self.sd**2) - b.mT @ torch.cholesky_solve(b, self.chol)

    def expand(self, *lead: int) -> LowRankNormal:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        expanded = copy.copy(self)
        expanded.mean = self.mean.expand(*lead, *self.mean.shape)
        return expanded

    @property
    def rank(self) -> int:
        """Number of columns of U."""
        return self.scaled.shape[-2]


class FullNormal(WithKL):
    """Normal with a full covariance matrix, given by its Cholesky factor: N(mean, C C^T).

    Parameters
    ----------
    mean : Tensor of shape (..., n, d)
    chol : Tensor of shape (..., n, d, d)
        C, lower triangular with a positive diagonal.
    """

    def __init__(self, mean: Tensor, chol: Tensor) -> None:
        self.mean, self.chol = mean, chol

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row: mean + C noise."""
        return self.at(standard_normal(self.mean.shape, rng, self.mean))

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n), computed from the noise: exact even for extreme draws."""
        noise = standard_normal(self.mean.shape, rng, self.mean)
        return self.at(noise), log_standard_normal(noise) - self.log_det

    def at(self, noise: Tensor) -> Tensor:
        """The draw for a given noise: mean + C noise."""
        with float32_products(self.mean):
            return self.mean + torch.einsum("...nij,...nj->...ni", self.chol, noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, C C^T), of shape (..., n)."""
        off = x - self.mean
        columns = off.reshape(-1, *self.chol.shape[:-1]).movedim(0, -1)  # each row's draws as columns
        with float32_products(off):
            squares = (torch.linalg.solve_triangular(self.chol, columns, upper=False) ** 2).sum(-2)
        squares = squares.movedim(-1, 0).reshape(off.shape[:-1])
        return -0.5 * (off.shape[-1] * LOG_2PI + squares) - self.log_det

    @property
    def log_det(self) -> Tensor:
        """log |C|, of shape (n,)."""
        return torch.log(diagonal(self.chol)).sum(-1)

    def kl_standard_normal(self) -> Tensor:
        """Exact KL(q || N(0, I)) in nats per row, of shape (..., n)."""
        d = self.mean.shape[-1]
        return 0.5 * ((self.mean**2).sum(-1) + (self.chol**2).sum((-1, -2)) - d) - self.log_det

    @property
    def covariance(self) -> Tensor:
        """C C^T, (..., n, d, d)."""
        with float32_products(self.chol):
            return self.chol @ self.chol.mT

    def expand(self, *lead: int) -> FullNormal:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        return FullNormal(self.mean.expand(*lead, *self.mean.shape), self.chol)


class EqualMixture:
    """The mixture of normals with equal weights; their first axis numbers the components.

    Parameters
    ----------
    components : normal with rows of shape (n_components, ..., n, d)
    """

    def __init__(self, components: AnyNormal) -> None:
        self.components, self.n_draws = components, 1

    @property
    def mean(self) -> Tensor:
        """Mean of each row, (..., n, d)."""
        return self.components.mean.mean(0)

    @property
    def covariance(self) -> Tensor:
        """Covariance of each row, (..., n, d, d): the components' mean covariance and the covariance of their means."""
        off = self.components.mean - self.mean
        return (self.components.covariance + off.unsqueeze(-1) * off.unsqueeze(-2)).mean(0)

    def expand(self, n_draws: int) -> EqualMixture:
        """The same mixture, for ``n_draws`` draws per row."""
        mixture = EqualMixture(self.components)
        mixture.n_draws = n_draws
        return mixture

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draws per row, of shape (n_draws, ..., n, d), evenly from the components, and their log-densities."""
        n_components = len(self.components.mean)
        z = self.components.expand(-(-self.n_draws // n_components)).rsample(rng).flatten(0, 1)[: self.n_draws]
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of draws of shape (n_draws, ..., n, d), (n_draws, ..., n)."""
        n_together = max(1, MAX_CELLS // (len(self.components.mean) * z[0].numel()))  # bounds the memory
        parts = (self.components.log_prob(part[:, None]) for part in z.split(n_together))
        return torch.cat([log_mean_exp(part, dim=1) for part in parts])


class ProductNormal(WithKL):
    """Independent normals over consecutive blocks of columns: the latent codes of several layers."""

    def __init__(self, blocks: Sequence[BlockNormal]) -> None:
        self.blocks = blocks

    @property
    def mean(self) -> Tensor:
        """Expectation of a row, of shape (..., n, d)."""
        return torch.cat([block.mean for block in self.blocks], -1)

    @property
    def covariance(self) -> Tensor:
        """Block diagonal covariance of each row, (..., n, d, d)."""
        parts = [block.covariance for block in self.blocks]
        whole = parts[0].new_zeros(*self.mean.shape, self.mean.shape[-1])
        start = 0
        for part in parts:
            stop = start + part.shape[-1]
            whole[..., start:stop, start:stop] = part
            start = stop
        return whole

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row."""
        return torch.cat([block.rsample(rng) for block in self.blocks], -1)

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n)."""
        draws, log_probs = zip(*(block.rsample_and_log_prob(rng) for block in self.blocks), strict=True)
        return torch.cat(draws, -1), sum_of(log_probs)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of the blocks' log-densities, of shape (..., n)."""
        parts = x.split([block.mean.shape[-1] for block in self.blocks], -1)
        return sum_of([block.log_prob(part) for block, part in zip(self.blocks, parts, strict=True)])

    def kl_standard_normal(self) -> Tensor:
        """KL(q || N(0, I)) in nats per row, of shape (..., n)."""
        return sum_of([block.kl_standard_normal() for block in self.blocks])

    def expand(self, *lead: int) -> ProductNormal:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        return ProductNormal([block.expand(*lead) for block in self.blocks])


class LowerLayer(NamedTuple):
    """A layer of codes xi below others, h = t(h_above) + g(xi), as ``TopDownNormal`` draws it.

    Attributes
    ----------
    t, g : callable
        The maps of the model, from and to tensors of shape (..., n, d).
    q : callable
        Takes t(h_above), and returns the normal of xi given the layers above.
    """

    t: Callable[[Tensor], Tensor]
    q: Callable[[Tensor], BlockNormal]
    g: Callable[[Tensor], Tensor]


class TopDownNormal:
    """Codes of several layers, each normal given those above: q(xi) = q(xi_L) prod_l q(xi_l | xi_{l+1}, ..., xi_L).

    Blocks of columns are numbered as in ``ProductNormal``: the top layer is the last one. The joint distribution is no
    normal if the maps between the layers are not affine.

    Parameters
    ----------
    sizes : sequence of int
        Dimensions of xi_1, ..., xi_L.
    top : normal
        q(xi_L), where h_L = xi_L.
    below : sequence of LowerLayer
        The other layers, from the top down.
    """

    def __init__(self, sizes: Sequence[int], top: BlockNormal, below: Sequence[LowerLayer]) -> None:
        self.sizes, self.top, self.below = list(sizes), top, below

    def descend(self, visit: Callable[[BlockNormal], tuple[Tensor, T]]) -> tuple[Tensor, list[T]]:
        """Go through the layers from the top down; ``visit`` takes a layer's normal given the codes above.

        It returns the layer's code and one more value. Returned are the codes of all layers, (..., n, d), and a list of
        the values, both from the lowest layer upward.
        """
        h, value = visit(self.top)
        visited = [(h, value)]
        for layer in self.below:
            center = layer.t(h)
            xi, value = visit(layer.q(center))
            visited.append((xi, value))
            if layer is not self.below[-1]:  # no normal is given h_1
                h = center + layer.g(xi)
        codes, values = zip(*reversed(visited), strict=True)
        return torch.cat(codes, -1), list(values)

    @property
    def at_means(self) -> ProductNormal:
        """The normals of the layers, each given the mean of those above."""
        return ProductNormal(self.descend(lambda q: (q.mean, q))[1])

    @property
    def mean(self) -> Tensor:
        """Mean of each layer given the means above, (..., n, d). It is E[xi] if all maps and means are affine."""
        return self.at_means.mean

    @property
    def covariance(self) -> Tensor:
        """Covariances of the layers given the means above, as a block diagonal matrix per row, (..., n, d, d)."""
        return self.at_means.covariance

    def rsample(self, rng: Rng) -> Tensor:
        """One reparametrized draw per row."""
        return self.descend(lambda q: (q.rsample(rng), None))[0]

    def rsample_and_log_prob(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """One draw per row and its log-density, (..., n)."""
        draws, log_probs = self.descend(lambda q: q.rsample_and_log_prob(rng))
        return draws, sum_of(log_probs)

    def rsample_and_kl(self, rng: Rng, *lead: int) -> tuple[Tensor, Tensor]:
        """Draws per row, (*lead, n, d), and sum_l KL(q(xi_l | draw of the layers above) || N(0, I)), (*lead, n).

        The mean of the latter is KL(q || N(0, I)).
        """
        draws, kls = self.expand(*lead).descend(lambda q: q.rsample_and_kl(rng))
        return draws, sum_of(kls)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density, of shape (..., n)."""
        parts = reversed(x.split(self.sizes, -1))
        return sum_of(self.descend(lambda q: (xi := next(parts), q.log_prob(xi)))[1])

    def expand(self, *lead: int) -> TopDownNormal:
        """The same distribution with axes of sizes ``lead`` in front, for independent draws."""
        return TopDownNormal(self.sizes, self.top.expand(*lead), self.below)


BlockNormal = Normal | LowRankNormal | FullNormal
AnyNormal = BlockNormal | ProductNormal | TopDownNormal
T = TypeVar("T")


# --- small matrices: rank one is the common case, and a library call for each row would cost more than the layers -----


def gram(one: Tensor, other: Tensor) -> Tensor:
    """one other^T for (..., rank, d) each, of shape (..., rank, rank)."""
    if one.shape[-2] == 1:
        return (one * other).sum(-1, keepdim=True)
    with float32_products(one):
        return one @ other.mT


def inner_products(factors: Tensor, x: Tensor) -> Tensor:
    """Inner products of x, (..., n, d), with each of the factors (n, rank, d): (..., n, rank)."""
    if factors.shape[-2] == 1:
        return (factors[..., 0, :] * x).sum(-1, keepdim=True)
    with float32_products(x):
        return torch.einsum("...nrd,...nd->...nr", factors, x)


def weighted_sum(factors: Tensor, weights: Tensor) -> Tensor:
    """Sum of the factors (n, rank, d) weighted by ``weights`` (..., n, rank): (..., n, d)."""
    if factors.shape[-2] == 1:
        return factors[..., 0, :] * weights
    with float32_products(weights):
        return torch.einsum("...nrd,...nr->...nd", factors, weights)


def cholesky_of_identity_plus(gram: Tensor) -> Tensor:
    """Lower Cholesky factor of I + gram for positive semi-definite (n, rank, rank)."""
    if gram.shape[-1] == 1:
        return torch.sqrt(1 + gram)
    return torch.linalg.cholesky_ex(gram + torch.eye(gram.shape[-1], device=gram.device)).L


def solve(matrix: Tensor, vectors: Tensor) -> Tensor:
    """matrix^-1 vectors for (n, rank, rank) and (..., n, rank)."""
    if matrix.shape[-1] == 1:
        return vectors / matrix[..., 0]
    return torch.einsum("...nij,...nj->...ni", torch.linalg.inv_ex(matrix).inverse, vectors)


def trace_of_solution(chol: Tensor, matrix: Tensor) -> Tensor:
    """Trace of (chol chol^T)^-1 matrix for (n, rank, rank) each: (n,)."""
    if chol.shape[-1] == 1:
        return (matrix / chol**2)[..., 0, 0]
    return diagonal(torch.cholesky_solve(matrix, chol)).sum(-1)


def diagonal(matrix: Tensor) -> Tensor:
    """The diagonal, (n, rank)."""
    return matrix.diagonal(dim1=-2, dim2=-1)

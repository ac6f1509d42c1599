"""Tests of normals with correlated columns against SciPy and dense formulas: values, draws, divergences, gradients."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from skdgm.distributions import Normal
from skdgm.structured_normals import EqualMixture, FullNormal, LowRankNormal, ProductNormal


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def a_normal(*shape):
    return Normal(noise(*shape, seed=1), noise(*shape, seed=2))


def a_low_rank(n=4, d=5, rank=2, scale=1.0, **limits):
    factors = scale * noise(n, rank, d, seed=3)
    q = LowRankNormal(noise(n, d, seed=1), noise(n, d, seed=2), factors, **limits)
    q.given = factors.double().numpy()  # for the dense reference
    return q


def a_full(n=4, d=5):
    chol = torch.tril(noise(n, d, d, seed=3), -1) + torch.diag_embed(noise(n, d, seed=2).exp())
    return FullNormal(noise(n, d, seed=1), chol)


def covariances(q):
    """Dense covariance matrices, in float64."""
    if isinstance(q, FullNormal):
        return (q.chol.double() @ q.chol.double().mT).numpy()
    D = np.eye(q.mean.shape[1]) * np.exp(q.log_d.double().numpy())[:, None]
    return np.linalg.inv(D + q.given.swapaxes(1, 2) @ q.given)


CORRELATED = {
    "rank 1": lambda: a_low_rank(rank=1),
    "rank 2": a_low_rank,
    "rank 5 of 5": lambda: a_low_rank(rank=5),
    "rank 1, U = 0": lambda: a_low_rank(rank=1, scale=0.0),
    "rank 3, tiny U": lambda: a_low_rank(rank=3, scale=1e-6),
    "rank 1, large U": lambda: a_low_rank(rank=1, scale=30.0),
    "full": a_full,
    "full, one column": lambda: a_full(d=1),
}


@pytest.mark.parametrize("make", CORRELATED.values(), ids=CORRELATED)
def test_correlated_normals_agree_with_scipy(make):
    """log N(x; mean, covariance) row by row, with and without a leading axis of draws."""
    q, x = make(), None
    for lead in [(), (3,), (2, 3)]:
        x = noise(*lead, *q.mean.shape)
        rows = zip(q.mean.numpy(), covariances(q), strict=True)
        wanted = [scipy.stats.multivariate_normal(m, c).logpdf(x[..., i, :].numpy()) for i, (m, c) in enumerate(rows)]
        np.testing.assert_allclose(q.log_prob(x).numpy(), np.stack(wanted, -1), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("make", CORRELATED.values(), ids=CORRELATED)
def test_the_factor_behind_the_draws_squares_to_the_covariance(make, monkeypatch):
    """R R^T = C, with R read column by column from unit noise, as no K x K matrix is formed."""
    q = make()
    d = q.mean.shape[1]
    unit = lambda shape, rng, like: torch.eye(d)[:, None].expand(shape)  # noqa: E731
    monkeypatch.setattr("skdgm.structured_normals.standard_normal", unit)
    R = q.expand(d).rsample(None) - q.mean  # (d, n, d): the images of the unit vectors
    found = torch.einsum("kni,knj->nij", R.double(), R.double()).numpy()
    np.testing.assert_allclose(found, covariances(q), rtol=1e-3, atol=1e-4 * np.abs(covariances(q)).max())


@pytest.mark.parametrize("make", CORRELATED.values(), ids=CORRELATED)
def test_the_covariance_is_the_dense_one(make):
    q = make()
    np.testing.assert_allclose(q.covariance, covariances(q), rtol=1e-3, atol=1e-4 * np.abs(covariances(q)).max())


def test_covariances_of_blocks_and_mixtures():
    """Blocks lie on the diagonal; the covariance of a mixture is that of its pooled draws."""
    one, other = a_full(d=2), a_normal(4, 3)
    whole = ProductNormal([one, other]).covariance
    for row in range(4):
        expected = scipy.linalg.block_diag(one.covariance[row], np.diag(other.log_var[row].exp()))
        np.testing.assert_allclose(whole[row], expected, rtol=1e-6)
    mixture = EqualMixture(a_normal(2, 1, 2))
    means, variances = mixture.components.mean[:, 0].numpy(), mixture.components.log_var[:, 0].exp().numpy()
    expected = np.diag(variances.mean(0)) + np.cov(means.T, bias=True)
    np.testing.assert_allclose(mixture.covariance[0], expected, rtol=1e-5)


@pytest.mark.parametrize("make", [lambda: a_normal(4, 5), *CORRELATED.values()])
def test_a_draw_knows_its_density(make):
    """draw() returns the same as rsample(), and its log_prob()."""
    q = make().expand(3)
    z, log_q = q.rsample_and_log_prob(generator())
    assert torch.equal(z, q.rsample(generator()))
    torch.testing.assert_close(log_q, q.log_prob(z), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", CORRELATED.values(), ids=CORRELATED)
def test_kl_of_correlated_normals_is_the_dense_formula(make):
    """KL(N(m, C) || N(0, I)) = (|m|^2 + tr C - d - log |C|) / 2."""
    q = make()
    C, d = covariances(q), q.mean.shape[1]
    m = (q.mean.double() ** 2).sum(1).numpy()
    wanted = 0.5 * (m + np.trace(C, axis1=1, axis2=2) - d - np.linalg.slogdet(C)[1])
    np.testing.assert_allclose(q.kl_standard_normal().numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2])
def test_columns_narrow_the_low_rank_normal_by_a_bounded_factor(rank):
    """Long columns of A = D^(-1/2) U are shortened to the bound, short ones stay the same."""
    for scale, rtol in [(1e3, 0.01), (1e-3, 1e-6)]:
        free, bounded = a_low_rank(rank=rank, scale=scale), a_low_rank(rank=rank, scale=scale, max_narrowing=10.0)
        longest = free.scaled.norm(dim=-1).clamp(max=10.0)
        torch.testing.assert_close(bounded.scaled.norm(dim=-1), longest, rtol=rtol, atol=0)
        bounded.given = (bounded.scaled * torch.exp(0.5 * bounded.log_d)[:, None]).double().numpy()
        x = noise(*bounded.mean.shape)
        rows = zip(x.numpy(), bounded.mean.numpy(), covariances(bounded), strict=True)
        wanted = [scipy.stats.multivariate_normal(m, c).logpdf(row) for row, m, c in rows]
        np.testing.assert_allclose(bounded.log_prob(x).numpy(), wanted, rtol=2e-4, atol=2e-4)


def test_rank_zero_in_effect_and_full_without_correlation_are_the_diagonal_normal():
    """At U = 0, and at a diagonal factor, draws, densities and KL are the same."""
    mean, log_var = noise(4, 3, seed=1), noise(4, 3, seed=2)
    diagonal = Normal(mean, log_var)
    for q in (
        LowRankNormal(mean, -log_var, torch.zeros(4, 2, 3)),
        FullNormal(mean, torch.diag_embed(torch.exp(0.5 * log_var))),
    ):
        torch.testing.assert_close(q.rsample(generator()), diagonal.rsample(generator()))
        torch.testing.assert_close(q.log_prob(noise(4, 3)), diagonal.log_prob(noise(4, 3)))
        torch.testing.assert_close(q.kl_standard_normal(), diagonal.kl_standard_normal())


@pytest.mark.parametrize("rank", [1, 3])
def test_gradients_of_low_rank_draws_and_divergence_are_those_of_the_dense_normal(rank):
    """Against autograd through the dense precision: KL, and E[|xi|^2] by its trace; finite even at U = 0."""
    shapes = [(2, 4), (2, 4), (2, rank, 4)]
    given = [noise(*shape, seed=seed).double().requires_grad_() for seed, shape in enumerate(shapes)]
    mean, log_d, factors = given
    precision = torch.diag_embed(log_d.exp()) + factors.mT @ factors
    C = torch.linalg.inv(precision)
    trace = C.diagonal(dim1=-2, dim2=-1).sum(-1)
    dense = 0.5 * ((mean**2).sum(-1) + trace - 4 + torch.logdet(precision)).sum()
    ours = LowRankNormal(mean, log_d, factors).kl_standard_normal().sum()
    for one, other in zip(torch.autograd.grad(ours, given), torch.autograd.grad(dense, given), strict=True):
        torch.testing.assert_close(one, other)
    at_zero = torch.zeros(2, rank, 4, requires_grad=True)
    q = LowRankNormal(mean.detach().float(), log_d.detach().float(), at_zero)
    (q.rsample(generator()).pow(2).sum() + q.kl_standard_normal().sum()).backward()
    assert at_zero.grad.isfinite().all()


def test_blocks_are_independent_columns():
    """Log-density and KL are sums; means and draws are concatenated."""
    parts = [a_normal(4, 2), a_low_rank(), a_full()]
    both, x = ProductNormal(parts), noise(3, 4, 12)
    split = x.split([2, 5, 5], -1)
    torch.testing.assert_close(both.log_prob(x), sum(q.log_prob(part) for q, part in zip(parts, split, strict=True)))
    torch.testing.assert_close(both.kl_standard_normal(), sum(q.kl_standard_normal() for q in parts))
    assert torch.equal(both.mean, torch.cat([q.mean for q in parts], -1))
    rng = generator()
    wanted = torch.cat([q.expand(3).rsample(rng) for q in parts], -1)
    assert torch.equal(both.expand(3).rsample(generator()), wanted)


def test_products_of_correlated_normals_stay_in_float32_under_autocast():
    """bfloat16 is for linear layers only."""
    for q in (a_low_rank(), a_full()):
        x = noise(4, 5)
        plain = q.rsample(generator()), q.log_prob(x), q.kl_standard_normal()
        with torch.autocast("cpu", torch.bfloat16):
            again = q.expand()
            cast = again.rsample(generator()), again.log_prob(x), again.kl_standard_normal()
        for one, other in zip(plain, cast, strict=True):
            assert torch.equal(one, other) and other.dtype == torch.float32

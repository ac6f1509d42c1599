"""Tests of the distributions against SciPy: values, draws, divergences."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import logsumexp

from skdgm.distributions import (
    Bernoulli,
    Categorical,
    Normal,
    log_mean_exp,
    log_standard_normal,
    sum_observed,
    zero_fill,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def a_normal(*shape):
    return Normal(noise(*shape, seed=1), noise(*shape, seed=2))


# --- Normal -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (2,), (3, 2)])
def test_normal_log_prob_is_scipys_summed_over_columns(lead):
    """log N(x; mean, var) per row, with any leading axes; x broadcasts over them."""
    q, x = a_normal(*lead, 4, 3), noise(4, 3)
    expected = scipy.stats.norm(q.mean.numpy(), q.sd.numpy()).logpdf(x.numpy()).sum(-1)
    np.testing.assert_allclose(q.log_prob(x).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(q.sd.numpy(), np.exp(q.log_var.numpy() / 2), rtol=1e-6)


def test_normal_integrates_to_one():
    """The integral over a grid of two columns is one."""
    grid = np.linspace(-9, 9, 241)
    x = torch.tensor(list(itertools.product(grid, grid))).float()
    q = Normal(torch.tensor([[0.3, -0.7]]), torch.tensor([[0.5, -0.8]]))
    assert float(q.log_prob(x).double().exp().sum() * (grid[1] - grid[0]) ** 2) == pytest.approx(1, abs=1e-4)


def test_normal_draws_have_its_mean_and_variance_and_shape():
    """Draws pass Kolmogorov-Smirnov against SciPy's normal, column by column."""
    q = a_normal(1, 3).expand(20000)
    draws = q.rsample(generator()).numpy()[:, 0]
    for column, mean, sd in zip(draws.T, q.mean[0, 0].numpy(), q.sd[0, 0].numpy(), strict=True):
        assert scipy.stats.kstest(column, scipy.stats.norm(mean, sd).cdf).pvalue > 0.001
    assert np.abs(np.corrcoef(draws.T)[np.triu_indices(3, 1)]).max() < 0.03


def test_normal_draws_are_reparametrized():
    """d draw / d mean = 1 and d draw / d log_var = (draw - mean) / 2."""
    mean, log_var = noise(4, 3).requires_grad_(), noise(4, 3, seed=1).requires_grad_()
    draw = Normal(mean, log_var).rsample(generator())
    draw.sum().backward()
    assert torch.equal(mean.grad, torch.ones(4, 3))
    torch.testing.assert_close(log_var.grad, ((draw - mean) / 2).detach())


def test_expanded_normal_draws_independently():
    """expand(k) adds a leading axis of k different draws with the same density."""
    q = a_normal(4, 3)
    expanded = q.expand(5, 2)
    draws = expanded.rsample(generator())
    assert draws.shape == (5, 2, 4, 3)
    assert len(np.unique(draws.numpy().reshape(10, -1), axis=0)) == 10
    torch.testing.assert_close(expanded.log_prob(draws)[3, 1], q.log_prob(draws[3, 1]))


def test_expanded_normal_keeps_its_mask():
    """The observed mask survives expand."""
    observed = torch.tensor([[True, False, True]])
    q = Normal(noise(1, 3), noise(1, 3, seed=1), observed)
    x = noise(1, 3, seed=2)
    torch.testing.assert_close(q.expand(2).log_prob(x), q.log_prob(x).expand(2, 1))


def test_kl_to_standard_is_the_integral():
    """KL(q || N(0, I)) = E_q[log q - log p]: SciPy's quadrature column by column; 0 only if q is the prior."""
    q = a_normal(2, 3)
    expected = np.zeros((2, 3))
    for i, j in np.ndindex(2, 3):
        density = scipy.stats.norm(q.mean[i, j].item(), q.sd[i, j].item())
        expected[i, j] = density.expect(lambda z, d=density: d.logpdf(z) - scipy.stats.norm.logpdf(z))
    np.testing.assert_allclose(q.kl_standard_normal().numpy(), expected.sum(1), rtol=1e-4)
    assert torch.equal(Normal(torch.zeros(2, 3), torch.zeros(2, 3)).kl_standard_normal(), torch.zeros(2))


def test_log_standard_normal_is_the_density_of_independent_unit_normals():
    """log N(x; 0, I): SciPy's, summed over columns."""
    x = noise(5, 2, 3)
    np.testing.assert_allclose(log_standard_normal(x).numpy(), scipy.stats.norm.logpdf(x.numpy()).sum(-1), atol=1e-5)


# --- Bernoulli --------------------------------------------------------------------------------------------------------


def test_bernoulli_log_prob_is_scipys():
    """x log p + (1 - x) log(1 - p) on 0/1 rows, with leading axes."""
    p, x = Bernoulli(3 * noise(2, 4, 3)), (noise(4, 3, seed=3) > 0).float()
    expected = scipy.stats.bernoulli(p.mean.double().numpy()).logpmf(x.numpy()).sum(-1)
    np.testing.assert_allclose(p.log_prob(x).numpy(), expected, atol=1e-4)


def test_bernoulli_sums_to_one():
    """Over all 2^5 binary rows."""
    rows = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
    assert Bernoulli(noise(1, 5)).log_prob(rows).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_bernoulli_is_linear_in_x():
    """At a gray row it is the expectation of log p over binary rows drawn from it, by full enumeration."""
    p, gray = Bernoulli(noise(3, 4)), torch.rand(3, 4, generator=generator())
    rows = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    weight = scipy.stats.bernoulli(gray.numpy()[:, None]).pmf(rows.numpy()).prod(-1)
    expected = [(weight[i] * Bernoulli(p.logits[i]).log_prob(rows).numpy()).sum() for i in range(3)]
    np.testing.assert_allclose(p.log_prob(gray).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("of_log_var", [(3,), (5, 3), (2, 5, 3)])
@pytest.mark.parametrize("of_mean", [(3,), (5, 3), (2, 5, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_normal_gradients_are_autograds(of_mean, of_log_var, masked):
    """For the mean, the log-variance, and x, which broadcast, against autograd through the formula."""
    tensors = [noise(*shape, seed=seed).double() for seed, shape in enumerate([of_mean, of_log_var, (5, 3)])]
    mean, log_var, x = (tensor.requires_grad_(True) for tensor in tensors)
    observed = noise(5, 3, seed=4) > 0 if masked else None
    cells = -0.5 * (math.log(2 * math.pi) + log_var + (x - mean) ** 2 / torch.exp(log_var))
    plain = (cells if observed is None else cells * observed).sum(-1)
    weight = noise(*plain.shape, seed=5).double()
    own = Normal(mean, log_var, observed).log_prob(x)
    torch.testing.assert_close(own, plain, rtol=1e-12, atol=1e-12)
    grads = [torch.autograd.grad((weight * value).sum(), (mean, log_var, x)) for value in (own, plain)]
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lead", [(), (1,), (2,)])
@pytest.mark.parametrize("masked", [False, True])
def test_bernoulli_gradients_are_autograds(lead, masked):
    """For logits and x, with leading axes on either, against autograd through the formula."""
    logits = noise(*lead, 5, 3).mul_(40).requires_grad_(True)
    x = torch.rand(5, 3, generator=generator(), requires_grad=True)
    observed = noise(5, 3, seed=4) > 0 if masked else None
    cells = x * logits - torch.logaddexp(logits, torch.zeros(()))
    plain = (cells if observed is None else cells * observed).sum(-1)
    weight = noise(*plain.shape, seed=5)
    own = Bernoulli(logits, observed).log_prob(x)
    torch.testing.assert_close(own, plain, rtol=1e-6, atol=1e-5)
    grads = [torch.autograd.grad((weight * value).sum(), (logits, x)) for value in (own, plain)]
    if masked:  # missing cells are replaced first, so they do not affect the gradient
        grads = [(of_logits, of_x * observed) for of_logits, of_x in grads]
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)


def test_bernoulli_is_finite_at_extreme_logits():
    """Logits of +-1e4 give finite log-probabilities and gradients, certain outcomes 0."""
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    for x, expected in [([[1.0, 0.0]], 0.0), ([[0.0, 1.0]], -2e4)]:
        value = Bernoulli(logits).log_prob(torch.tensor(x))
        assert value.item() == expected
        (grad,) = torch.autograd.grad(value.sum(), logits)
        assert torch.isfinite(grad).all()


def test_bernoulli_draws_have_its_mean():
    """The fraction of ones is within 4 standard errors, and all cells are 0 or 1."""
    p = Bernoulli(noise(1, 6).expand(20000, 6))
    draws = p.rsample(generator()).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    mean = p.mean[0].numpy()
    assert np.all(np.abs(draws.mean(0) - mean) < 4 * np.sqrt(mean * (1 - mean) / 20000))


# --- Categorical ------------------------------------------------------------------------------------------------------


def test_categorical_is_normalized_and_shift_invariant():
    """Softmax: probabilities sum to one, a constant in the logits changes nothing, large ones do not overflow."""
    logits = noise(5, 4)
    q = Categorical(logits)
    np.testing.assert_allclose(q.probs.sum(-1).numpy(), 1.0, rtol=1e-6)
    torch.testing.assert_close(Categorical(logits + 1000).log_probs, q.log_probs, atol=1e-3, rtol=0)
    assert torch.isfinite(Categorical(1e4 * logits).log_probs).all()
    expected = logits.double().numpy() - logsumexp(logits.double().numpy(), axis=-1, keepdims=True)
    np.testing.assert_allclose(q.log_probs.numpy(), expected, atol=1e-5)


def test_categorical_log_prob_picks_the_class_and_broadcasts():
    """A class per row, every class for every row, and one distribution for all rows."""
    q, prior = Categorical(noise(5, 3)), Categorical(noise(3))
    y = torch.tensor([0, 2, 1, 1, 0])
    assert torch.equal(q.log_prob(y), q.log_probs[torch.arange(5), y])
    every = torch.arange(3)[:, None]
    assert torch.equal(q.log_prob(every), q.log_probs.T)
    assert torch.equal(prior.log_prob(y), prior.log_probs[y])
    assert torch.equal(prior.log_prob(every), prior.log_probs[:, None])


def test_categorical_entropy_is_scipys():
    """H(q) in nats, 0 at certainty."""
    q = Categorical(noise(5, 4))
    np.testing.assert_allclose(q.entropy().numpy(), scipy.stats.entropy(q.probs.numpy(), axis=1), atol=1e-5)
    assert Categorical(torch.tensor([[1e4, 0.0]])).entropy().item() == 0.0


def test_categorical_draws_have_its_probabilities():
    """Chi-squared test of the counts, with leading axes."""
    q = Categorical(noise(1, 1, 4).expand(2, 10000, 4))
    draws = q.sample(generator())
    assert draws.shape == (2, 10000)
    counts = np.bincount(draws.numpy().ravel(), minlength=4)
    expected = q.probs[0, 0].double().numpy()
    assert scipy.stats.chisquare(counts, 20000 * expected / expected.sum()).pvalue > 0.001


# --- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, -1000.0, 1000.0])
def test_log_mean_exp_does_not_overflow(offset):
    """log mean exp along an axis, even if exp itself is 0 or infinite."""
    values = noise(6, 3)
    expected = logsumexp(values.double().numpy(), axis=0) - np.log(6) + offset
    np.testing.assert_allclose(log_mean_exp(values + offset).numpy(), expected, atol=2e-4)
    np.testing.assert_allclose(log_mean_exp(values.T, dim=1).numpy(), expected - offset, atol=1e-5)


def test_sum_observed_skips_the_others_whatever_they_hold():
    """Masked cells may hold inf or NaN."""
    cells = torch.tensor([[1.0, torch.inf, 2.0], [torch.nan, 3.0, 4.0]])
    observed = torch.isfinite(cells)
    assert sum_observed(cells, observed).tolist() == [3.0, 7.0]
    assert sum_observed(cells[:, 2:], None).tolist() == [2.0, 4.0]


def test_drawing_leaves_the_global_generator_alone():
    """Every draw comes from the generator that is passed."""
    before = torch.get_rng_state()
    a_normal(3, 2).rsample(generator())
    Bernoulli(noise(3, 2)).rsample(generator())
    Categorical(noise(3, 2)).sample(generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_seen_is_zero_where_nothing_is_observed():
    """Masked cells, including NaN, become zeros; without a mask the row stays the same."""
    x = torch.tensor([[1.0, torch.nan], [3.0, 4.0]])
    observed = torch.tensor([[True, False], [False, True]])
    assert zero_fill(x, observed).tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert zero_fill(x, None) is x


# --- what binary codes need -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p",
    [Bernoulli(3 * noise(5, 4)), a_normal(5, 4), Normal(noise(5, 4), torch.full((5, 4), -9.0))],
    ids=["Bernoulli", "Normal", "narrow Normal"],
)
def test_cross_log_prob_is_log_prob_of_every_pair(p):
    """By matrix products, even if the terms are in the thousands and their sum is small."""
    x = torch.bernoulli(torch.full((6, 4), 0.5), generator=generator())
    pairs = p.expand(6).log_prob(x[:, None].expand(6, 5, 4))
    torch.testing.assert_close(p.cross_log_prob(x), pairs, rtol=1e-5, atol=1e-4)


def test_straight_through_draws_bits_and_passes_the_means_gradient():
    """Forward 0 and 1 with the right mean, backward d mean / d logits."""
    logits = noise(2000, 3, seed=1).requires_grad_(True)
    h = Bernoulli(logits).straight_through(generator())
    np.testing.assert_allclose(h.detach(), h.detach().round(), atol=1e-6)
    assert float(h.detach().mean()) == pytest.approx(float(torch.sigmoid(logits.detach()).mean()), abs=0.02)
    h.sum().backward()
    p = torch.sigmoid(logits.detach())
    torch.testing.assert_close(logits.grad, p * (1 - p))

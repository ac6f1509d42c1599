"""Tests of the log-normal likelihoods against SciPy: densities, point masses, means, draws."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad
from scipy.special import expit, logit

from skdgm.likelihoods import LIKELIHOODS
from skdgm.noise import RowNoise

SPREADS, POSITIVE = np.array([0.5, 1.5]), np.array([0.3, 0.9])
ARGUMENTS = [{"spread": s, "positive_share": p} for s, p in zip(SPREADS, POSITIVE, strict=True)]
NAMES = ["lognormal", "zero_inflated_lognormal"]
SHARED = torch.tensor([0.4, -0.9])
ONE_COLUMN = torch.tensor([[True, False]]), torch.tensor([[False, True]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def made(name):
    return LIKELIHOODS[name](2, ARGUMENTS)


def scipys(outputs):
    """log x ~ N(spread * output, spread^2 * variance)."""
    return scipy.stats.lognorm(SPREADS * np.exp(SHARED.numpy() / 2), scale=np.exp(SPREADS * outputs.numpy()))


def density(name, outputs, column):
    """x -> p(x) of one column."""
    p = made(name)(outputs, SHARED, ONE_COLUMN[column])
    return lambda x: p.log_prob(torch.full((1, 2), float(x))).exp().item()


def test_lognormal_log_prob_and_mean_are_scipys():
    outputs = noise(20, 2)
    p, x = made("lognormal")(outputs, SHARED), torch.exp(2 * noise(20, 2, seed=1))
    np.testing.assert_allclose(p.log_prob(x), scipys(outputs).logpdf(x.numpy()).sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(p.mean, scipys(outputs).mean(), rtol=1e-5)


def test_zero_inflated_log_prob_and_mean_are_those_of_the_mixture():
    """(1 - p) at 0, p times the log-normal density elsewhere; the mean is p times that of the positive cells."""
    outputs = noise(20, 4)
    p, x = made("zero_inflated_lognormal")(outputs, SHARED), torch.exp(noise(20, 2, seed=1))
    x[::2, 0] = x[::3, 1] = 0
    share = expit(logit(POSITIVE) + outputs[:, :2].numpy())
    positive = scipys(outputs[:, 2:])
    safe = np.where(x > 0, x, 1.0)
    expected = np.where(x > 0, np.log(share) + positive.logpdf(safe), np.log1p(-share))
    np.testing.assert_allclose(p.log_prob(x), expected.sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(p.mean, share * positive.mean(), rtol=1e-5)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_densities_integrate_to_one(name, column):
    """The integral over x > 0, in the units of x, and the point mass at 0."""
    likelihood = made(name)
    outputs = noise(1, likelihood.n_outputs, seed=2)
    p = density(name, outputs, column)
    integral, _ = quad(lambda log_x: p(np.exp(log_x)) * np.exp(log_x), -15, 15, points=[0.0], limit=200)
    mass = p(0.0) if name == "zero_inflated_lognormal" else 0.0
    assert integral + mass == pytest.approx(1, abs=1e-4)


def test_outputs_of_zero_give_the_share_and_the_geometric_mean():
    p = made("zero_inflated_lognormal")(torch.zeros(1, 4), SHARED)
    np.testing.assert_allclose(p.is_positive.mean[0], POSITIVE, rtol=1e-6)
    draws = made("lognormal")(torch.zeros(20_000, 2), SHARED).rsample(generator())
    assert np.abs(np.log(draws.numpy()).mean(0) / SPREADS).max() < 4 / np.sqrt(20_000) * 1.3


def test_features_are_scaled_logarithms_with_zeros_two_standard_deviations_below():
    x = torch.tensor([[0.0, np.e], [np.e**2, 0.0]])
    expected = [[0.0, 2 + 1 / 1.5], [2 + 4.0, 0.0]]
    np.testing.assert_allclose(made("zero_inflated_lognormal").features(x), expected, rtol=1e-6)
    np.testing.assert_allclose(made("lognormal").features(x[:1, 1:].expand(1, 2)), [[2.0, 1 / 1.5]], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_follow_the_density(name, rng):
    """Kolmogorov-Smirnov of positive cells, a binomial test of their share; the mean within 4 standard errors."""
    likelihood = made(name)
    outputs = 0.5 * noise(1, likelihood.n_outputs)
    p = likelihood(outputs.expand(20_000, -1), SHARED)
    x, positive = p.rsample(rng).numpy(), scipys(outputs[:, -2:])
    for j in range(2):
        cells = x[x[:, j] > 0, j]
        cdf = scipy.stats.lognorm(positive.kwds.get("s", positive.args[0])[j], scale=positive.kwds["scale"][0, j]).cdf
        assert scipy.stats.kstest(cells, cdf).pvalue > 0.001
        if name == "zero_inflated_lognormal":
            assert scipy.stats.binomtest(len(cells), 20_000, p.is_positive.mean[0, j].item()).pvalue > 0.001
    assert (np.abs(x.mean(0) - p.mean[0].numpy()) < 4 * x.std(0) / np.sqrt(20_000)).all()


@pytest.mark.parametrize("name", NAMES)
def test_draws_and_means_stay_positive_and_finite(name):
    """For outputs that exp would turn into 0 or infinity."""
    likelihood = made(name)
    for output in (-1e3, 1e3):
        p = likelihood(torch.full((9, likelihood.n_outputs), output), SHARED)
        assert p.mean.isfinite().all() and p.rsample(generator()).isfinite().all()
        assert p.log_prob(p.rsample(generator())).isfinite().all()

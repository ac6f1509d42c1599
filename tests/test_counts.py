"""Tests of the likelihoods of counts against SciPy: probabilities, totals, means, draws."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import softmax

from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.counts import MAX_LOG_RATIO, NegativeBinomial, Poisson
from skdgm.noise import RowNoise

MEANS, SPREADS, SIZES = [3.0, 0.2, 400.0], [0.7, 0.3, 1.5], [2.0, 0.5, 30.0]
ARGUMENTS = [
    {"mean": m, "center": 1.0, "spread": s, "dispersion": r} for m, s, r in zip(MEANS, SPREADS, SIZES, strict=True)
]
NO_SHARED = torch.zeros(0)
NAMES = ["poisson", "negative_binomial", "multinomial"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def made(name):
    return LIKELIHOODS[name](3, ARGUMENTS)


def scipys(name, outputs):
    """SciPy's distribution of the cells; a negative binomial of size r and mean m has p = r / (r + m)."""
    outputs = outputs.double().numpy()
    if name == "multinomial":
        return scipy.stats.poisson(np.sum(MEANS) * softmax(outputs + np.log(MEANS), -1))
    mean = MEANS * np.exp(SPREADS * outputs)
    return scipy.stats.poisson(mean) if name == "poisson" else scipy.stats.nbinom(SIZES, SIZES / (SIZES + mean))


@pytest.mark.parametrize("name", NAMES)
def test_log_prob_is_scipys(name):
    outputs = noise(50, 3)
    x = torch.tensor(scipys(name, outputs).rvs(random_state=0)).float()
    x[0] = 0
    p, expected = made(name)(outputs, NO_SHARED), scipys(name, outputs)
    np.testing.assert_allclose(p.log_prob(x).detach().numpy(), expected.logpmf(x.numpy()).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(p.mean.detach().numpy(), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_of_zero_give_the_means(name):
    p = made(name)(torch.zeros(1, 3), NO_SHARED)
    np.testing.assert_allclose(p.mean[0].detach().numpy(), MEANS, rtol=1e-5)


@pytest.mark.parametrize("log_rate", [-12.0, 0.3, 6.9, 13.8, 18.4])
@pytest.mark.parametrize("size", [1e-3, 0.7, 1e3, 1e6])
def test_counts_of_every_size_keep_their_digits(log_rate, size):
    """Rates up to 1e8, at quantiles of the distribution."""
    log_rate = np.float32(log_rate)
    p = size / (size + np.exp(log_rate.astype(float)))
    for expected, distribution in [
        (scipy.stats.poisson(np.exp(log_rate.astype(float))), Poisson(torch.full((5, 1), log_rate.item()))),
        (
            scipy.stats.nbinom(size, p),
            NegativeBinomial(torch.full((5, 1), log_rate.item()), torch.log(torch.tensor([size]))),
        ),
    ]:
        x = np.float32(np.maximum(expected.ppf([1e-3, 0.1, 0.5, 0.9, 0.999]), 0))
        got = distribution.log_prob(torch.tensor(x)[:, None]).numpy()
        np.testing.assert_allclose(got, expected.logpmf(x.astype(float)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_one(name):
    """Over all counts of one column, the others missing."""
    x = torch.arange(3000.0)[:, None].expand(-1, 3)
    for column in range(3):
        observed = (torch.arange(3) == column).expand(3000, 3)
        log_prob = made(name)(0.3 * noise(1, 3).expand(3000, -1), NO_SHARED, observed).log_prob(x)
        assert log_prob.double().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_multinomial_row_has_a_poisson_total_and_multinomial_cells():
    """log Poisson(N; t) + log Multinomial(x; N, p), the coefficient included, with t the sum of the means."""
    outputs = noise(20, 3)
    p = softmax(outputs.double().numpy() + np.log(MEANS), -1)
    x = np.random.default_rng(0).poisson(np.sum(MEANS) * p)
    total = x.sum(1)
    expected = scipy.stats.poisson(np.sum(MEANS)).logpmf(total) + scipy.stats.multinomial.logpmf(x, total, p)
    got = made("multinomial")(outputs, NO_SHARED).log_prob(torch.tensor(x).float())
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-5)


def test_missing_cells_of_a_multinomial_row_are_summed_out():
    """The density of the observed cells is the sum of that of whole rows over the missing cell."""
    outputs, missing = noise(1, 3), torch.arange(2000.0)
    likelihood = made("multinomial")
    rows = torch.stack([torch.full_like(missing, 4.0), torch.full_like(missing, 1.0), missing], -1)
    whole = likelihood(outputs, NO_SHARED).log_prob(rows).double().logsumexp(0)
    part = likelihood(outputs, NO_SHARED, torch.tensor([[True, True, False]])).log_prob(rows[:1])
    assert part.item() == pytest.approx(whole.item(), abs=1e-4)


def test_a_large_size_is_poisson():
    """The negative binomial's limit, whatever is learned: sizes stay between their limits."""
    likelihood, outputs, x = made("negative_binomial"), noise(20, 3), torch.tensor([[2.0, 0.0, 390.0]])
    with torch.no_grad():
        likelihood.log_size.fill_(50.0)
    rate = Poisson(likelihood.log_rate(outputs))
    torch.testing.assert_close(likelihood(outputs, NO_SHARED).log_prob(x), rate.log_prob(x), rtol=1e-2, atol=1e-2)
    with torch.no_grad():
        likelihood.log_size.fill_(-50.0)
    assert likelihood(outputs, NO_SHARED).log_prob(x).isfinite().all()


def test_rates_are_limited():
    """At an output of any size, the mean stays within a factor of exp(MAX_LOG_RATIO) of the column's."""
    means = made("poisson")(torch.tensor([[1e6] * 3, [-1e6] * 3]), NO_SHARED).mean / torch.tensor(MEANS)
    np.testing.assert_allclose(torch.log(means), [[MAX_LOG_RATIO] * 3, [-MAX_LOG_RATIO] * 3], rtol=1e-5)


def test_features_are_standardized_logarithms():
    x = noise(9, 3).exp().round()
    expected = (np.log1p(x.numpy()) - 1.0) / SPREADS
    np.testing.assert_allclose(made("poisson").features(x), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_follow_the_probabilities(name, rng):
    """Chi-squared over 20 cells of nearly equal probability, or fewer, for each column."""
    outputs = noise(1, 3)
    x = made(name)(outputs.expand(20_000, -1), NO_SHARED).rsample(rng).numpy()
    for column in range(3):
        levels = np.unique(scipys(name, outputs).ppf(np.linspace(0.001, 0.999, 21)[:, None])[:, column])
        cdf = scipys(name, outputs).cdf(levels[:, None])[:, column]
        probabilities = np.diff(np.concatenate([[0.0], cdf, [1.0]]))
        counts = np.bincount(np.searchsorted(levels, x[:, column]), minlength=len(levels) + 1)
        assert scipy.stats.chisquare(counts, 20_000 * probabilities).pvalue > 0.001

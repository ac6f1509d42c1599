"""Tests of the ordinal likelihood: the cumulative logit model, its thresholds, draws and scores."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import expit, logit

from skdgm.likelihoods import LIKELIHOODS
from skdgm.noise import RowNoise

SHARES = [[0.2, 0.5, 0.3], [0.6, 0.4], [0.1, 0.2, 0.3, 0.05, 0.35], [1.0]]
NO_SHARED = torch.zeros(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(*shares, values=None):
    return LIKELIHOODS["ordinal"](len(shares), [{"shares": list(p), "values": values} for p in shares])


def probabilities(shares, output):
    """P(x = k) by differences of the cumulative logit model, in float64."""
    cumulative = np.concatenate([[0.0], expit(logit(np.cumsum(shares)[:-1]) - output), [1.0]])
    return np.diff(cumulative)


@pytest.mark.parametrize("output", [0.0, -1.3, 4.0])
def test_probabilities_are_those_of_the_cumulative_logit_model(output):
    """P(x <= k) = sigmoid(logit(cumulative share) - output), for columns of different numbers of levels."""
    likelihood = made(*SHARES)
    p = likelihood(torch.full((1, 4), output), NO_SHARED)
    for j, shares in enumerate(SHARES):
        expected = probabilities(shares, output)
        of_column = p.mean_parameters[0, likelihood.levels.column == j].detach().numpy()
        np.testing.assert_allclose(of_column, expected, rtol=1e-4)
        observed = torch.arange(4)[None] == j
        for k, probability in enumerate(expected):
            log_prob = likelihood(torch.full((1, 4), output), NO_SHARED, observed).log_prob(
                torch.full((1, 4), float(k))
            )
            assert log_prob.item() == pytest.approx(np.log(probability), rel=1e-4, abs=1e-6)
    assert p.mean[0].tolist() == [probabilities(shares, output).argmax() for shares in SHARES]


def test_narrow_levels_and_far_outputs_keep_their_digits():
    """Shares of 1e-6 in the middle, and tails of exp(-40), against float64."""
    shares = [0.9, 1e-6, 0.1 - 2e-6, 1e-6]
    likelihood = made(shares)
    for output in (-30.0, 0.0, 30.0):
        got = likelihood(torch.full((4, 1), output), NO_SHARED).log_prob(torch.arange(4.0)[:, None])
        limits = np.concatenate(
            [[-np.inf], np.log(np.cumsum(shares)[:-1] / np.cumsum(shares[::-1])[::-1][1:]), [np.inf]]
        )
        lower, upper = limits[:-1] - output, limits[1:] - output
        # the smaller of both tails has no cancellation
        expected = np.where(lower > 0, expit(-lower) - expit(-upper), expit(upper) - expit(lower))
        np.testing.assert_allclose(got.detach().numpy(), np.log(expected), rtol=1e-4, atol=1e-4)


def test_thresholds_increase_whatever_is_learned():
    """Probabilities stay positive and sum to one after large changes of all parameters."""
    likelihood = made(*SHARES)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += 3 * torch.randn(parameter.shape, generator=generator())
    lower, upper, width = likelihood.intervals()
    assert (lower < upper).all() and (width > 0).all()
    probs = likelihood(torch.zeros(1, 4), NO_SHARED).mean_parameters
    sums = torch.zeros(1, 4).index_add(1, likelihood.levels.column, probs)
    torch.testing.assert_close(sums, torch.ones(1, 4))


def test_the_likelihood_can_be_learned():
    """Gradient ascent on the thresholds at an output of 0 reaches the shares of the data."""
    likelihood = made([0.25, 0.25, 0.25, 0.25])
    x = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])[:, None]
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss = -likelihood(torch.zeros(10, 1), NO_SHARED).log_prob(x).mean()
        loss.backward()
        optimizer.step()
    probs = likelihood(torch.zeros(1, 1), NO_SHARED).mean_parameters[0]
    np.testing.assert_allclose(probs.detach().numpy(), [0.1, 0.2, 0.1, 0.6], atol=0.005)


def test_features_are_values_or_standardized_ranks():
    """Ranks have mean 0 and variance 1 over the rows, in the order of the codes."""
    assert made(SHARES[0], values=[-1.0, 0.5, 3.0]).features(torch.tensor([[2.0], [0.0]])).tolist() == [[3.0], [-1.0]]
    for shares in SHARES[:3]:
        scores = made(shares).features(torch.arange(float(len(shares)))[:, None])[:, 0].numpy()
        assert (np.diff(scores) > 0).all()
        np.testing.assert_allclose([np.dot(shares, scores), np.dot(shares, scores**2)], [0, 1], atol=1e-5)
    ranks = scipy.stats.rankdata(np.repeat([0, 1, 2], [2, 5, 3]))
    expected = ((ranks - ranks.mean()) / ranks.std())[[0, 2, 7]]
    np.testing.assert_allclose(made(SHARES[0]).features(torch.arange(3.0)[:, None])[:, 0], expected, rtol=1e-5)
    assert made([1.0]).features(torch.zeros(1, 1)).tolist() == [[0.0]]


@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_have_their_probabilities(rng):
    likelihood = made(*SHARES)
    x = likelihood(torch.full((20_000, 4), 0.7), NO_SHARED).rsample(rng)
    for j, shares in enumerate(SHARES[:3]):
        counts = torch.bincount(x[:, j].long(), minlength=len(shares)).numpy()
        assert scipy.stats.chisquare(counts, 20_000 * probabilities(shares, 0.7)).pvalue > 0.001
    assert not x[:, 3].any()


def test_thresholds_are_no_weight_matrix():
    """The normal prior on weight matrices, of parameters of two axes, would draw the steps to one logit."""
    likelihood = made(*SHARES)
    assert all(parameter.ndim == 1 for parameter in likelihood.parameters())

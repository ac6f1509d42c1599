"""Tests of quantiles against SciPy's, over the whole range that draws can ask for."""

import numpy as np
import pytest
import scipy.stats
import torch

from skdgm.likelihoods.inversion import gamma_quantile, poisson_quantile

EXTREME = 2.0**-25 * np.array([1, 3, 5, 101])  # the smallest of ``open_uniform`` and some others
U = np.concatenate([EXTREME, np.linspace(0.001, 0.999, 99), 1 - EXTREME])


@pytest.mark.parametrize("log_rate", np.arange(-30.0, 21.0))
def test_poisson_quantiles_are_scipys(log_rate):
    """Up to 0.002 standard deviations: far in the tails of large rates, torch's incomplete gamma loses digits."""
    rate = np.exp(log_rate)
    got = poisson_quantile(torch.tensor(U), torch.tensor(rate, dtype=torch.float64)).numpy()
    expected = scipy.stats.poisson.ppf(U, rate)
    assert np.abs(got - expected).max() <= 0.002 * np.sqrt(rate)  # equal up to rates of 250,000


def test_poisson_quantiles_of_rate_zero_are_zero():
    assert not poisson_quantile(torch.tensor(U), torch.zeros((), dtype=torch.float64)).any()


@pytest.mark.parametrize("shape", [1e-3, 0.05, 0.5, 1.0, 3.7, 100.0, 1e4, 1e6])
def test_gamma_quantiles_are_scipys(shape):
    """Quantiles below exp(-75) are given as exp(-75)."""
    got = gamma_quantile(torch.tensor(U), torch.tensor(shape, dtype=torch.float64)).numpy()
    expected = np.maximum(scipy.stats.gamma.ppf(U, shape), np.exp(-75.0))
    np.testing.assert_allclose(got, expected, rtol=1e-7)

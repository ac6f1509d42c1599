"""Tests of likelihoods: from outputs to a density over rows, with variance limits and masks."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import bernoulli, norm

from skdgm.distributions import Bernoulli, Normal
from skdgm.likelihoods import LIKELIHOODS, MAX_LOG_VAR, MIN_LOG_VAR, bounded

NAMES = sorted(LIKELIHOODS)
N_COLUMNS = 3


def a_density(name, n=4, observed=None, seed=0):
    """A distribution from random outputs."""
    rng = torch.Generator().manual_seed(seed)
    likelihood = LIKELIHOODS[name]
    outputs = torch.randn(n, likelihood.outputs_per_column * N_COLUMNS, generator=rng)
    shared = torch.randn(likelihood.shared_per_column * N_COLUMNS, generator=rng)
    return likelihood(outputs, shared, observed), outputs, shared


def test_the_table_holds_the_documented_names():
    """The likelihoods of the API, and whether X is standardized for them: not if it is binary."""
    wanted = {"bernoulli": False, "gaussian": True, "gaussian_heteroscedastic": True}
    assert {name: likelihood.standardize for name, likelihood in LIKELIHOODS.items()} == wanted
    assert {name: not likelihood.is_binary for name, likelihood in LIKELIHOODS.items()} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_outputs_mean_what_scipy_says(name):
    """Logits; means and one variance per column; means, then log-variances."""
    p, outputs, shared = a_density(name)
    x = torch.rand(4, N_COLUMNS, generator=torch.Generator().manual_seed(1))
    x = x.round() if name == "bernoulli" else x
    mean = outputs.numpy()[:, :N_COLUMNS]
    if name == "bernoulli":
        expected = bernoulli(1 / (1 + np.exp(-mean))).logpmf(x.numpy())
        mean = 1 / (1 + np.exp(-mean))
    else:
        log_var = shared.numpy() if name == "gaussian" else outputs.numpy()[:, N_COLUMNS:]
        expected = norm(mean, np.exp(log_var / 2)).logpdf(x.numpy())
    np.testing.assert_allclose(p.log_prob(x).numpy(), expected.sum(1), atol=1e-4)
    np.testing.assert_allclose(p.mean.numpy(), mean, atol=1e-5)
    assert isinstance(p, Bernoulli if name == "bernoulli" else Normal)


@pytest.mark.parametrize("name", NAMES)
def test_a_likelihood_is_a_density_over_rows(name):
    """It sums or integrates to one over the rows."""
    p, _, _ = a_density(name, n=1)
    if name == "bernoulli":
        x, cell = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N_COLUMNS))), 1.0
    else:
        grid = torch.linspace(-14, 14, 71)
        x, cell = torch.cartesian_prod(*[grid] * N_COLUMNS), float(grid[1] - grid[0]) ** N_COLUMNS
    assert p.log_prob(x).double().exp().sum().item() * cell == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_masked_columns_have_no_effect(name):
    """With a mask, log_prob is that of the observed columns only, whatever the others hold."""
    observed = torch.tensor([[True, False, True]] * 4)
    x = torch.rand(4, N_COLUMNS, generator=torch.Generator().manual_seed(1))
    with_mask, outputs, shared = a_density(name, observed=observed)
    alone = LIKELIHOODS[name](
        outputs.unflatten(1, (-1, N_COLUMNS))[..., [0, 2]].flatten(1), shared[[0, 2]] if len(shared) else shared
    )
    torch.testing.assert_close(with_mask.log_prob(x), alone.log_prob(x[:, [0, 2]]))
    assert torch.equal(with_mask.log_prob(x + 100 * ~observed), with_mask.log_prob(x))


@pytest.mark.parametrize("name", ["gaussian", "gaussian_heteroscedastic"])
@pytest.mark.parametrize("log_var", [-1e6, -50.0, 50.0, 1e6])
def test_variances_have_lower_and_upper_limits(name, log_var):
    """A density stays bounded for a constant column, and finite far from the data."""
    likelihood = LIKELIHOODS[name]
    shared = torch.full((likelihood.shared_per_column * N_COLUMNS,), log_var)
    outputs = torch.full((2, likelihood.outputs_per_column * N_COLUMNS), log_var if name != "gaussian" else 0.0)
    outputs[:, :N_COLUMNS] = 0.0
    p = likelihood(outputs, shared)
    peak, far = p.log_prob(torch.zeros(2, N_COLUMNS)), p.log_prob(torch.full((2, N_COLUMNS), 1e6))
    assert torch.isfinite(peak).all() and torch.isfinite(far).all()
    assert peak.max() <= N_COLUMNS * -0.5 * (np.log(2 * np.pi) + MIN_LOG_VAR) + 1e-3
    assert 0.009 < np.exp(MIN_LOG_VAR / 2) <= p.sd.min() and p.sd.max() <= np.exp(MAX_LOG_VAR / 2) * 1.0001


def test_bounded_is_the_identity_inside_its_limits():
    """Its gradient there is one."""
    log_var = torch.tensor([-20.0, -5.0, 0.0, 5.0, 20.0], requires_grad=True)
    bounded(log_var).sum().backward()
    assert bounded(log_var)[1:4].tolist() == [-5.0, 0.0, 5.0]
    assert log_var.grad[1:4].tolist() == [1.0, 1.0, 1.0]

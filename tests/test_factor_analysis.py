"""Tests of the start at factor analysis: the exact normal density, and fits to few or collinear rows."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from skdgm import DLGM, VAE
from skdgm.estimators._factors import factor_analysis
from skdgm.models.dlgm import DLGMModule
from skdgm.models.factor_analysis import Factors, diagonal_posterior, init_from_factors
from skdgm.models.vae import VAEModule

STANDING_STILL = {"max_iter": 1, "learning_rate_init": 1e-9, "n_importance_samples": 500, "random_state": 0}


def some_factors(n_columns=5, n_factors=2, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=n_columns), rng.normal(size=(n_columns, n_factors)), rng.uniform(0.1, 1, n_columns)
    return Factors(*(torch.from_numpy(part) for part in parts))


def normal_of(factors):
    covariance = factors.loadings @ factors.loadings.T + torch.diag(factors.variances)
    return multivariate_normal(factors.mean.numpy(), covariance.numpy())


def rows_of_factors(n, seed=0, n_columns=8, n_factors=3):
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(99).normal(size=(n_factors, n_columns))
    return rng.normal(size=(n, n_factors)) @ loadings + 0.5 * rng.normal(size=(n, n_columns))


@pytest.mark.parametrize("n_latent", [2, 4])
@pytest.mark.parametrize("model", ["VAE", "diagonal", "low_rank", "full"])
def test_the_bound_of_a_module_that_starts_at_factors_is_the_normal_density(model, n_latent):
    """Without hidden layers, with more latent dimensions than factors, for every posterior."""
    rng = torch.Generator().manual_seed(0)
    if model == "VAE":
        module = VAEModule(5, n_latent, (), "relu", "gaussian", rng)
    else:
        module = DLGMModule(5, [n_latent], (), "relu", "gaussian", model, 1, rng)
    with torch.no_grad():
        module.decoder.mlp.layers[0].weight.zero_()  # latent dimensions beyond the factors have no effect
        for part in module.encoder.mlp.layers[0].parameters():
            part.zero_()
    factors = some_factors()
    init_from_factors(module.encoder, module.decoder, factors)
    x = torch.from_numpy(normal_of(factors).rvs(50, random_state=0)).float()
    with torch.no_grad():
        log_w = module.log_weights(x, torch.Generator().manual_seed(1), 20)
    wanted = np.broadcast_to(normal_of(factors).logpdf(x.double().numpy()), log_w.shape)
    np.testing.assert_allclose(log_w.numpy(), wanted, atol=2e-4)  # every draw: q(z | x) is the posterior


def test_turning_the_factors_keeps_their_density_and_makes_the_posterior_diagonal():
    factors = some_factors(n_factors=3)
    turned, variance = diagonal_posterior(factors)
    torch.testing.assert_close(turned.loadings @ turned.loadings.T, factors.loadings @ factors.loadings.T)
    precision = torch.eye(3) + (turned.loadings.T / turned.variances) @ turned.loadings
    torch.testing.assert_close(torch.linalg.inv(precision), torch.diag(variance))


def test_of_one_missing_cell_the_posterior_variance_is_exact():
    factors = some_factors(n_factors=1)
    module = VAEModule(5, 1, (), "relu", "gaussian", missing_indicator=True)
    init_from_factors(module.encoder, module.decoder, factors)
    x = torch.from_numpy(normal_of(factors).rvs(5, random_state=0)).float()
    observed = ~torch.eye(5, dtype=torch.bool)
    sd = module.q_z(x, observed).sd[:, 0]
    information = (factors.loadings[:, 0] ** 2 / factors.variances).float()
    torch.testing.assert_close(sd**-2, 1 + information.sum() - information)


def test_only_gaussian_columns_take_part():
    """In a mixed table the other columns do not affect the codes, and keep their decoder weights."""
    groups = [("bernoulli", [0, 3]), ("gaussian", [1, 2, 4])]
    module = VAEModule(5, 2, (), "relu", groups, torch.Generator().manual_seed(0))
    before = module.decoder.mlp.layers[0].weight[:2].clone()
    factors = some_factors(n_columns=3)
    init_from_factors(module.encoder, module.decoder, factors)
    assert torch.equal(module.decoder.mlp.layers[0].weight[:2], before)
    x = torch.zeros(2, 5)
    x[1, [0, 3]] = 1.0
    assert torch.equal(module.q_z(x).mean[0], module.q_z(x).mean[1])
    means = module.p_x(torch.zeros(1, 2)).mean[0, [1, 2, 4]]
    torch.testing.assert_close(means, factors.mean.float())


@pytest.mark.parametrize("estimator", [VAE, DLGM])
def test_a_fit_begins_at_the_likelihood_of_factor_analysis(estimator):
    X = rows_of_factors(2000)
    model = estimator(3, prior="normal", early_stopping=False, **STANDING_STILL).fit(X)
    wanted = FactorAnalysis(3).fit(X).score(X)
    assert model.score(X) == pytest.approx(wanted, abs=0.1)
    assert -model.loss_curve_[0] == pytest.approx(wanted + np.log(model._columns.scale).sum(), abs=0.2)


def test_a_fit_on_few_rows_stays_near_factor_analysis():
    """30 rows of 20 columns without structure: memorizing them costs hundreds of nats."""
    rng = np.random.default_rng(0)
    X, held_out = rng.normal(size=(30, 20)), rng.normal(size=(500, 20))
    assert VAE(random_state=0).fit(X).score(held_out) > FactorAnalysis(1).fit(X).score(held_out) - 1.5


def test_nearly_collinear_columns_come_near_their_normal():
    """(a, aW + 0.05 noise) of 4 + 4 columns, 1,000 rows: independent columns are 8 nats lower."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(4, 4))

    def rows(n):
        a = rng.normal(size=(n, 4))
        return np.c_[a, a @ weights + 0.05 * rng.normal(size=(n, 4))]

    X, held_out = rows(1000), rows(1000)
    best = multivariate_normal(np.zeros(8), np.cov(rows(100_000).T)).logpdf(held_out).mean()
    assert best > VAE(4, random_state=0).fit(X).score(held_out) > best - 0.6


@pytest.mark.parametrize("n_rows", [4, 10, 40])
def test_constant_missing_and_far_cells_do_not_stop_it(n_rows):
    x = np.random.default_rng(0).normal(size=(n_rows, 6))
    x[:, 0], x[0, 1], x[1:3, 2], x[:, 5] = 0.0, 1e6, np.nan, x[:, 4]
    model = factor_analysis(x.astype(np.float32), 20, np.random.RandomState(0))
    assert np.isfinite(model.components_).all() and (model.noise_variance_ > 0).all()
    assert 1 <= model.n_components <= 5


def test_a_warm_start_goes_on_from_its_own_weights():
    X = rows_of_factors(200)
    model = VAE(3, warm_start=True, max_iter=30, random_state=0).fit(X)
    first = model.score(X)
    model.set_params(max_iter=1, learning_rate_init=1e-9).fit(X)
    assert model.score(X) == pytest.approx(first, abs=0.05)


def test_few_rows_shrink_all_networks_but_not_the_linear_maps():
    """With several layers of latent codes too, whose networks have other names."""
    X = rows_of_factors(40)
    model = DLGM((3, 2), max_iter=1, random_state=0).fit(X)
    shrunk = set(model._penalties(*X.shape))
    weights = {name for name, part in model.module_.named_parameters() if part.ndim > 1 and not name.startswith("p_z.")}
    assert {name for name in weights if ".skip." in name or name.startswith("g.")} == weights - shrunk
    assert model._penalties(*X.shape)["p_z"] == 0
    assert any(name.startswith("t.") for name in shrunk)
    assert model._penalties(16 * X.shape[1], X.shape[1]) == {"p_z": 0}

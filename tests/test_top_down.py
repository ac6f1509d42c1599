"""Tests of DLGM with top-down inference: exact posteriors of linear models, quadrature, and its start as bottom-up."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from test_identities import assert_mean, generator, roughened

from skdgm import DLGM
from skdgm.distributions import log_mean_exp, log_standard_normal
from skdgm.models.dlgm import DLGMModule
from skdgm.structured_normals import EqualMixture, ProductNormal

POSTERIORS = ["diagonal", "low_rank", "full"]
FAST = {"hidden_layer_sizes": (16,), "max_iter": 3, "n_importance_samples": 5, "early_stopping": False}


def a_module(layers=(3, 2), hidden=(6,), likelihood="bernoulli", posterior="diagonal", *, sd=0.3, **options):
    """A module of five columns with top-down inference, and with weights of standard deviation ``sd``, if any."""
    options = {"top_down": True, "rng": generator()} | options
    module = DLGMModule(5, layers, hidden, "softplus", likelihood, posterior, 1, **options)
    return roughened(module, sd) if sd else module


def some_rows(n=6, *, binary=True):
    x = torch.randn(n, 5, generator=generator(1))
    return (x > 0).float() if binary else 2 * x


# --- linear models, whose posterior is known --------------------------------------------------------------------------


def affine(mlp):
    """Weight and bias of a network without hidden layers."""
    return (parameter.detach().double().numpy() for parameter in mlp.linear_parameters)


def make_posterior_exact(module):
    """Set the encoders to p(xi_l | x, T_l(h_{l+1})), and return the density of rows: a normal.

    Given h_l, with the layers below integrated out, x ~ N(A h_l + a, S).
    """
    A, a = affine(module.decoder.mlp)
    S = np.diag(np.exp(module.decoder.shared.detach().double().numpy()))
    for level, encoder in enumerate(module.encoders):
        is_top = level == len(module.encoders) - 1
        G = np.eye(A.shape[1]) if is_top else module.g[level].weight.detach().double().numpy()
        set_encoder(encoder, A, a, S, G, reads_center=not is_top)
        S = S + A @ G @ G.T @ A.T
        if not is_top:
            T, t = affine(module.t[level])
            A, a = A @ T, a + A @ t
    return multivariate_normal(a, S)


@torch.no_grad()
def set_encoder(encoder, A, a, S, G, *, reads_center):
    """Put N(K (x - a - A center), C) into an affine encoder with full covariance."""
    precision = np.eye(G.shape[1]) + (A @ G).T @ np.linalg.solve(S, A @ G)
    K, C = np.linalg.solve(precision, (A @ G).T) @ np.linalg.inv(S), np.linalg.inv(precision)
    d, chol = len(C), np.linalg.cholesky(C)
    weight, bias = encoder.mlp.linear_parameters
    weight[:d], weight[d:] = torch.from_numpy(K), 0
    bias[:d], bias[d : 2 * d] = torch.from_numpy(-K @ a), torch.from_numpy(2 * np.log(np.diag(chol)))
    bias[2 * d :] = torch.from_numpy(chol[np.tril_indices(d, -1)])
    if reads_center:
        encoder.mlp.extra_weight[:d], encoder.mlp.extra_weight[d:] = torch.from_numpy(-K @ A), 0


@pytest.mark.parametrize("layers", [(3, 2), (2, 3, 2)])
def test_the_posterior_of_a_linear_model_is_exact(layers):
    """p(x, xi) / q(xi | x) = p(x) at every draw: T_l(h_{l+1}) tells an encoder all about the layers above."""
    module, x = a_module(layers, (), "gaussian", "full", sd=0.6), some_rows(binary=False)
    wanted = make_posterior_exact(module).logpdf(x.numpy())
    log_w = module.log_weights(x, generator(2), 7).detach().numpy()
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(log_w, np.tile(wanted, (7, 1)), atol=1e-3)
    many = x.repeat(4000, 1)
    bounds = module.bound(many, generator(3)).total().detach().view(4000, -1).numpy()
    assert_mean(bounds, wanted, sd_below=0.05)
    elbo = module.elbo(x, generator(4), 4000).detach().numpy()
    np.testing.assert_allclose(elbo, wanted, atol=0.15)


def test_independent_layers_cannot_be_exact():
    """The same posterior without the input from above has a bound below log p(x)."""
    module, x = a_module((3, 2), (), "gaussian", "full", sd=0.6), some_rows(binary=False)
    wanted = make_posterior_exact(module).logpdf(x.numpy())
    with torch.no_grad():
        module.encoders[0].mlp.extra_weight.zero_()
    assert np.all(module.elbo(x, generator(4), 4000).detach().numpy() < wanted - 0.04)


# --- nonlinear models, by quadrature ----------------------------------------------------------------------------------


def grid(n=401, limit=9.0):
    """Points of a square, (n * n, 1, 2), and the logarithm of the area that each of them stands for."""
    axis = torch.linspace(-limit, limit, n)
    return torch.cartesian_prod(axis, axis)[:, None], 2 * np.log(2 * limit / (n - 1))


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("n_prior_components", [0, 3])
def test_bounds_are_those_of_quadrature(posterior, n_prior_components):
    """Two layers of one dimension: q integrates to one, and draws average to the ELBO and to log p(x)."""
    module, x = a_module((1, 1), posterior=posterior, n_prior_components=n_prior_components), some_rows(3)
    z, log_area = grid()
    q_z = module.q_z(x)
    log_q, log_joint = q_z.log_prob(z), module.p_x(z).log_prob(x) + module.p_z.log_prob(z)
    torch.testing.assert_close(torch.logsumexp(log_q + log_area, 0), torch.zeros(3), atol=1e-3, rtol=0)
    log_p = torch.logsumexp(log_joint + log_area, 0)
    elbo = (torch.exp(log_q + log_area) * (log_joint - log_q)).sum(0)
    assert torch.all(elbo < log_p)
    bounds = module.bound(x.repeat(20_000, 1), generator(3)).total().view(-1, 3).numpy()
    assert_mean(bounds, elbo.numpy(), sd_below=0.05)
    weights = torch.exp(module.log_weights(x, generator(4), 20_000) - log_p).numpy()
    assert_mean(weights, np.ones(3), sd_below=0.05)


# --- the distribution -------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("layers", [(3, 2), (2, 3, 2)])
def test_draws_know_their_density_and_their_divergence(posterior, layers):
    """log q of a draw is that of ``log_prob``, and the closed-form KL is the mean of log q - log p."""
    q_z = a_module(layers, posterior=posterior).q_z(some_rows())
    for lead in [(), (4,), (2, 3)]:
        z, log_q = q_z.expand(*lead).rsample_and_log_prob(generator(5))
        assert z.shape == (*lead, 6, sum(layers)) and log_q.shape == (*lead, 6)
        torch.testing.assert_close(q_z.log_prob(z), log_q, atol=1e-4, rtol=1e-4)
        assert torch.equal(q_z.expand(*lead).rsample(generator(5)), z)
        assert torch.equal(q_z.rsample_and_kl(generator(5), *lead)[0], z)
    z, kl = q_z.rsample_and_kl(generator(6), 5000)
    assert_mean((kl - q_z.log_prob(z) + log_standard_normal(z)).numpy(), np.zeros(6), sd_below=0.1)


@torch.no_grad()
def test_moments_are_those_given_the_means_above():
    """The code of a lower layer is its encoder's mean, with the means of the layers above put into the model."""
    module, x = a_module((2, 3, 2)), some_rows()
    q_1, q_2, q_3 = module.encoders
    top = q_3(x)
    middle = q_2(x, extra=module.t[1](top.mean))
    h_2 = module.t[1](top.mean) + module.g[1](middle.mean)
    lowest = q_1(x, extra=module.t[0](h_2))
    q_z = module.q_z(x)
    torch.testing.assert_close(q_z.mean, torch.cat([lowest.mean, middle.mean, top.mean], -1))
    torch.testing.assert_close(q_z.covariance, ProductNormal([lowest, middle, top]).covariance)


@torch.no_grad()
def test_a_mixture_over_fills_averages_the_densities():
    """Rows filled several times, with an axis of fills before the rows."""
    module, fills = a_module(), some_rows(12).view(4, 3, 5)
    z, log_q = EqualMixture(module.q_z(fills)).expand(6).rsample_and_log_prob(generator(7))
    assert z.shape == (6, 3, 5)
    each = torch.stack([module.q_z(fill).log_prob(z) for fill in fills])
    torch.testing.assert_close(log_q, log_mean_exp(each), atol=1e-4, rtol=1e-4)


# --- the module -------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("linear_skip", [False, True])
def test_it_starts_as_bottom_up(posterior, linear_skip):
    """The weights of T_l(h_{l+1}) start at 0, and all others are drawn as for bottom-up: the same bits."""
    options = {"posterior": posterior, "sd": None, "linear_skip": linear_skip}
    top_down, bottom_up = (a_module(top_down=down, **options) for down in (True, False))
    added = set(top_down.state_dict()) - set(bottom_up.state_dict())
    assert added and all(name.endswith("extra_weight") for name in added)
    x = some_rows()
    ours, theirs = top_down.q_z(x), bottom_up.q_z(x)
    z = torch.randn(4, 6, 5, generator=generator(8))
    assert torch.equal(ours.mean, theirs.mean) and torch.equal(ours.covariance, theirs.covariance)
    assert torch.equal(ours.rsample_and_kl(generator(), 1)[1][0], theirs.kl_standard_normal())
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("n_draws", [1, 3])
def test_gradients_reach_every_parameter(posterior, n_draws):
    module, x = a_module((2, 3, 2), (6,), "gaussian", posterior, linear_skip=True), some_rows(binary=False)
    bound = module.bound(x, generator()) if n_draws == 1 else module.importance_bound(x, generator(), n_draws)
    bound.total().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_posterior_of_a_row_without_cells_is_the_prior(posterior):
    module, x = a_module(posterior=posterior, missing_indicator=True), some_rows()
    observed = torch.ones(6, 5, dtype=torch.bool)
    observed[0] = False
    z, log_q = module.q_z(x, observed).expand(9).rsample_and_log_prob(generator())
    prior, others = log_standard_normal(z), slice(1, None)
    torch.testing.assert_close(log_q[:, 0], prior[:, 0])
    assert (log_q[:, others] - prior[:, others]).abs().min() > 1e-3


# --- the estimator ----------------------------------------------------------------------------------------------------


def two_level_rows(n=400, seed=0):
    """0/1 rows of two kinds, each a noisy copy of its own pattern."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random((n, 1)) < 0.5, 0.9, 0.1) * np.ones(8)
    return (rng.random((n, 8)) < p).astype(float)


def test_one_layer_has_none_above():
    """The two kinds of inference are the same fit, and a warm start may change from one to the other."""
    X = two_level_rows()
    fits = [DLGM(3, inference=kind, random_state=0, **FAST).fit(X) for kind in ("bottom_up", "top_down")]
    assert np.array_equal(*(model.score_samples(X) for model in fits))
    fits[0].set_params(warm_start=True, inference="top_down").fit(X)


def test_a_fit_uses_the_layers_above():
    """The weights of the new input leave 0, all results are finite, and a warm start with another kind is an error."""
    X = two_level_rows()
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    model = DLGM((4, 2), inference="top_down", transform_layers="all", random_state=0, **FAST).fit(X)
    assert model.module_.encoders[0].mlp.extra_weight.abs().min() > 0
    for rows in (X, holes):
        assert model.transform(rows).shape == (400, 6) and np.isfinite(model.transform(rows)).all()
        assert np.isfinite(model.score_samples(rows)).all() and np.isfinite(model.elbo_samples(rows)).all()
        assert np.isfinite(model.impute(rows)).all()
    assert np.isfinite(model.impute(holes[:20], method="chain", n_draws=2, random_state=0)).all()
    mean, covariance = model.posterior_moments(X)
    assert np.array_equal(mean, model.transform(X)) and not covariance[:, :4, 4:].any()
    with pytest.raises(ValueError, match="inference changed since: DLGM had top_down=True, now top_down=False"):
        model.set_params(warm_start=True, inference="bottom_up").fit(X)

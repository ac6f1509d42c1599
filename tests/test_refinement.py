"""Tests of refined posteriors: exact posteriors of linear models, quadrature, and densities of real rows."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from test_identities import assert_mean, generator
from test_top_down import POSTERIORS, a_module, affine, grid, make_posterior_exact, some_rows

from skdgm import DLGM, VAE
from skdgm.distributions import Normal, log_mean_exp
from skdgm.models.bound import ImportanceBound
from skdgm.models.gaussian_latent import draw_with_path_gradient
from skdgm.models.refinement import LocationScale, refined
from skdgm.structured_normals import EqualMixture

FAST = {"hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0, "n_importance_samples": 5}


def refined_posterior(module, x, n_steps, observed=None):
    """The posterior of each row from a poor start, N(0.5, 2), which does not depend on the encoder."""
    start = Normal(torch.full((len(x), module.n_latent), 0.5), torch.full((len(x), module.n_latent), np.log(2.0)))

    def bound(q_z, n_draws):
        return module.importance_bound_by(x, generator(), q_z, n_draws, observed)

    return refined(start, bound, generator(), n_steps)


@torch.no_grad()
def test_it_reaches_the_posterior_of_a_linear_model():
    """One code of five columns, x ~ N(a z + b, S): the posterior is normal and known, and its bound is log p(x)."""
    module, x = a_module((1,), (), "gaussian", top_down=False), some_rows(binary=False)
    a, b = affine(module.decoder.mlp)
    S = np.diag(np.exp(module.decoder.shared.double().numpy()))
    variance = 1 / (1 + a.T @ np.linalg.solve(S, a))
    q = refined_posterior(module, x, 400)
    draws, log_q = q.expand(4000).rsample_and_log_prob(generator(2))
    mean = (x.double().numpy() - b) @ np.linalg.solve(S, a) @ variance
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.05 * variance.item() ** 0.5)
    np.testing.assert_allclose(draws.std(0), np.broadcast_to(variance**0.5, mean.shape), rtol=0.05)
    log_w = module.p_x(draws).log_prob(x) + module.p_z.log_prob(draws) - log_q
    np.testing.assert_allclose(log_mean_exp(log_w), multivariate_normal(b, S + a @ a.T).logpdf(x), rtol=1e-4, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("layers", [(3,), (3, 2)])
@pytest.mark.parametrize("n_steps", [1, 5, 50])
def test_it_leaves_exact_posteriors_exact(layers, n_steps):
    """Without gradient, there is no step in a random direction, which would cost much in many dimensions."""
    module = a_module(layers, (), "gaussian", "full")
    density, x = make_posterior_exact(module), some_rows(binary=False)
    found = module.log_likelihood(x, generator(), 5, n_refinement_steps=n_steps)
    np.testing.assert_allclose(found, density.logpdf(x), atol=1e-3)


@torch.no_grad()
def test_a_row_of_infinite_density_spoils_neither_itself_nor_others():
    """Cells of 1e18 have squares that are still finite, and gradients whose squares are not."""
    module, x = a_module((3,), (6,), "gaussian", "full", top_down=False, sd=0.5), some_rows(binary=False)
    far = torch.cat([x[:2], 1e18 * x[2:3], 1e30 * x[3:4]])
    found = module.log_likelihood(far, generator(), 5, n_refinement_steps=20)
    assert not found[:3].isnan().any()
    assert torch.all(found[:2] > module.log_likelihood(far, generator(), 5)[:2] - 1)


@torch.no_grad()
@pytest.mark.parametrize("n_draws", [1, 5, 12])
def test_with_a_mixture_it_is_still_a_lower_bound(n_draws):
    """Of p(x) = 1: weights N(z; 0, I) / q(z) have the mean 1, with fewer draws than components, too."""
    means = torch.randn(10, 3000, 3, generator=generator(1))
    q = EqualMixture(Normal(means, torch.full_like(means, -1.0)))
    target, rng = Normal(torch.zeros(3), torch.zeros(3)), generator(2)

    def bound(q_z, n_draws):
        z, log_q = draw_with_path_gradient(q_z.expand(n_draws), rng)
        return ImportanceBound(target.log_prob(z), log_q, paths=[z, log_q])

    z, log_q = refined(q, bound, rng, 50).expand(n_draws).rsample_and_log_prob(rng)
    assert_mean(torch.exp(log_mean_exp(target.log_prob(z) - log_q))[:, None].numpy(), np.ones(1), sd_below=0.05)


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize(("layers", "top_down"), [((2,), False), ((1, 1), False), ((1, 1), True)])
def test_it_tightens_the_bound_up_to_the_density(layers, top_down, posterior):
    """log p(x) of binary rows is a sum over a grid of codes; of few draws, the bound rises, but not above it."""
    module = a_module(layers, (6,), "bernoulli", posterior, top_down=top_down, sd=0.6)
    x = some_rows(20)
    points, log_area = grid()
    exact = torch.logsumexp(module.p_x(points).log_prob(x) + module.p_z.log_prob(points) + log_area, 0)

    def gap(n_steps):
        found = torch.stack([module.log_likelihood(x, generator(s), 3, None, n_steps) for s in range(30)])
        return (exact - found).mean().item()

    before, after = gap(0), gap(60)
    assert 0 < after < 0.4 * before


@torch.no_grad()
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("options", [{}, {"top_down": False}, {"layers": (3,)}])
def test_draws_know_their_density(posterior, options):
    module = a_module(posterior=posterior, **options)
    q, shape = module.q_z(some_rows()), (6, module.n_latent)
    shift, log_scale = torch.randn(shape, generator=generator(3)), 0.5 * torch.randn(shape, generator=generator(4))
    other = LocationScale(q, q.mean, shift, log_scale).expand(4)
    z, log_prob = other.rsample_and_log_prob(generator(5))
    torch.testing.assert_close(other.log_prob(z), log_prob, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_mixture_of_another_location_and_scale_integrates_to_one():
    """Of two components in two dimensions."""
    means = torch.tensor([[[-1.0, 0.5]], [[1.0, 0.0]]])
    q = EqualMixture(Normal(means, torch.full_like(means, -0.5)))
    points, log_area = grid()
    other = LocationScale(q, q.mean, torch.tensor([[0.3, -0.2]]), torch.tensor([[0.4, -0.3]]))
    total = torch.exp(other.expand(len(points)).log_prob(points) + log_area).sum()
    assert total.item() == pytest.approx(1, abs=1e-3)


# --- the estimators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [VAE, DLGM, lambda **params: DLGM((4, 3), inference="top_down", **params)])
def test_scores_rise_and_the_model_stays(make):
    X = load_digits().data
    model = make(**FAST | {"max_iter": 20}).fit(X[:1000])
    state = {name: value.clone() for name, value in model.module_.state_dict().items()}
    rows = X[1000:1050]
    before, elbo = model.score(rows), model.elbo_samples(rows)
    after = model.set_params(n_refinement_steps=50).score_samples(rows)
    assert after.mean() > before + 0.3
    np.testing.assert_array_equal(model.elbo_samples(rows), elbo)
    np.testing.assert_allclose(model.score_samples(rows[7:9]), after[7:9], rtol=1e-5)
    for name, value in model.module_.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert all(p.grad is None for p in model.module_.parameters())


@pytest.mark.parametrize("seen_in_training", [True, False])
def test_rows_with_missing_cells(seen_in_training):
    """A row without cells has log p() = 0; the score of the others does not depend on them."""
    X = load_digits().data[:300]
    holed = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    holed[5] = np.nan
    model = VAE(4, **FAST).fit(holed if seen_in_training else X)
    before = model.score(holed)
    scores = model.set_params(n_refinement_steps=30).score_samples(holed)
    assert scores[5] == 0
    assert scores.mean() > before
    np.testing.assert_allclose(model.score_samples(holed[6:9]), scores[6:9], rtol=1e-5)


def test_in_inference_mode():
    X = load_digits().data[:200]
    model = VAE(4, **FAST, n_refinement_steps=3).fit(X)
    expected = model.score_samples(X)
    with torch.inference_mode():
        np.testing.assert_array_equal(model.score_samples(X), expected)


def test_far_rows_have_finite_scores():
    X = load_digits().data[:200]
    model = VAE(4, **FAST, n_refinement_steps=20).fit(X)
    with np.errstate(all="raise"):
        assert np.isfinite(model.score_samples(np.vstack([X[:3], 1e30 * X[:1]]))).all()


@pytest.mark.parametrize("wrong", [-1, 0.5, "many"])
def test_wrong_numbers_of_steps(wrong):
    with pytest.raises(ValueError, match="n_refinement_steps"):
        VAE(2, n_refinement_steps=wrong).fit(load_digits().data[:50])

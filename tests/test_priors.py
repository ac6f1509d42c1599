"""The prior p(z): a learned mixture against SciPy and torch, its marginals, its draws, and what it does for a VAE."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from skdgm import DLGM, VAE
from skdgm.distributions import Normal
from skdgm.models.priors import MixturePrior, StandardNormalPrior, prior
from skdgm.noise import RowNoise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mixture():
    """Three components in two dimensions, far from their start."""
    p_z = MixturePrior(3, 2, generator())
    with torch.no_grad():
        p_z.logits.copy_(torch.tensor([0.0, 1.0, -0.5]))
        p_z.mean.copy_(torch.tensor([[-2.0, 0.0], [1.0, 1.0], [0.0, 3.0]]))
        p_z.log_var.copy_(torch.tensor([[-1.0, 0.5], [0.0, -2.0], [-0.3, 0.1]]))
    return p_z


def parts(p_z):
    weights = torch.softmax(p_z.logits, 0)
    return [value.detach().double().numpy() for value in (weights, p_z.mean, torch.exp(0.5 * p_z.log_var))]


def scipy_log_prob(p_z, z):
    log_p = [np.log(w) + stats.norm(m, sd).logpdf(z).sum(-1) for w, m, sd in zip(*parts(p_z), strict=True)]
    return logsumexp(log_p, axis=0)


def test_density_of_the_mixture_is_scipys(mixture):
    z = 3 * torch.randn(4, 50, 2, generator=generator(1))
    np.testing.assert_allclose(mixture.log_prob(z).detach(), scipy_log_prob(mixture, z.numpy()), atol=1e-4)


def test_lower_layers_are_standard_normal(mixture):
    z = torch.randn(50, 5, generator=generator(1))
    expected = scipy_log_prob(mixture, z[:, 3:].numpy()) + stats.norm.logpdf(z[:, :3].numpy()).sum(-1)
    np.testing.assert_allclose(mixture.log_prob(z).detach(), expected, atol=1e-4)
    draws = mixture.sample((40_000, 5), generator(2), z).detach()
    np.testing.assert_allclose(draws[:, :3].mean(0), 0, atol=0.02)
    np.testing.assert_allclose(draws[:, :3].std(0), 1, atol=0.02)


def test_marginal_is_the_integral_over_the_other_dimension(mixture):
    grid = torch.linspace(-12, 14, 2001)
    z = torch.tensor([-2.0, 0.3, 1.0])
    pairs = torch.stack(torch.broadcast_tensors(z[:, None], grid), -1)
    integral = torch.trapezoid(torch.exp(mixture.log_prob(pairs)), grid).log()
    marginal = mixture.log_prob_of(z[:, None], torch.tensor([True, False]))
    torch.testing.assert_close(marginal, integral, atol=1e-4, rtol=0)


@pytest.mark.parametrize("noise", ["generator", "row noise"])
def test_draws_follow_the_density(mixture, noise):
    n = 60_000
    rng = generator(3) if noise == "generator" else RowNoise(0, torch.arange(float(n))[:, None])
    z = mixture.sample((n, 2), rng, torch.zeros(1)).detach().numpy()
    weights, mean, sd = parts(mixture)
    center = weights @ mean
    np.testing.assert_allclose(z.mean(0), center, atol=0.03)
    np.testing.assert_allclose(mixture.expectation.detach(), center, atol=1e-6)
    np.testing.assert_allclose(z.var(0), weights @ (sd**2 + mean**2) - center**2, rtol=0.03)
    # the mean log-density of draws is minus the entropy, which importance sampling from a wide normal gives too
    wide = stats.norm(0, 4)
    far = wide.rvs((400_000, 2), random_state=0)
    ratio = np.exp(scipy_log_prob(mixture, far) - wide.logpdf(far).sum(-1))
    assert scipy_log_prob(mixture, z).mean() == pytest.approx((ratio * scipy_log_prob(mixture, far)).mean(), abs=0.03)


def test_one_standard_component_is_the_standard_normal():
    p_z = MixturePrior(1, 3, generator())
    with torch.no_grad():
        p_z.mean.zero_()
        p_z.log_var.zero_()
    q_z = Normal(torch.tensor([[0.5, -1.0, 0.0]]), torch.tensor([[-1.0, 0.3, -2.0]]))
    z, exact = StandardNormalPrior().draw_and_kl(q_z, generator(), 100_000)
    same_z, drawn = p_z.draw_and_kl(q_z, generator(), 100_000)
    torch.testing.assert_close(z, same_z)
    torch.testing.assert_close(p_z.log_prob(z), StandardNormalPrior().log_prob(z), atol=1e-5, rtol=1e-5)
    assert drawn.mean().item() == pytest.approx(exact.item(), abs=0.02)
    assert p_z.log_hyperprior().item() == pytest.approx(0, abs=1e-6)


def test_hyperprior_is_minus_the_kl_of_the_components(mixture):
    components = TorchNormal(mixture.mean, torch.exp(0.5 * mixture.log_var))
    kl = kl_divergence(components, TorchNormal(0.0, 1.0)).sum()
    torch.testing.assert_close(mixture.log_hyperprior(), -kl)


def test_density_is_the_same_in_any_batch(mixture):
    z = torch.randn(37, 2, generator=generator(5))
    with torch.no_grad():
        whole = mixture.log_prob(z)
        assert torch.equal(whole[20:], mixture.log_prob(z[20:]))


def test_the_start_is_close_to_the_standard_normal():
    p_z = prior(16, 4, generator())
    z = torch.randn(5000, 4, generator=generator(1))
    difference = StandardNormalPrior().log_prob(z) - p_z.log_prob(z)
    assert 0 <= difference.mean() < 0.5
    assert isinstance(prior(0, 4, generator()), StandardNormalPrior)


def two_moons(n, seed=0):
    rng = np.random.default_rng(seed)
    angle, upper = rng.uniform(0, np.pi, n), rng.random(n) < 0.5
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    x[~upper] = [1, 0.5] - x[~upper]
    return x + 0.05 * rng.standard_normal(x.shape)


@pytest.mark.parametrize("estimator", [VAE, DLGM])
def test_a_mixture_scores_held_out_rows_of_separate_groups_higher(estimator):
    X, held_out = two_moons(600), two_moons(1000, seed=1)
    scores = {
        prior: estimator(2, prior=prior, hidden_layer_sizes=(32,), learning_rate_init=0.01, random_state=0)
        .set_params(max_iter=150)
        .fit(X)
        .score(held_out)
        for prior in ("mixture", "normal")
    }
    assert scores["mixture"] > scores["normal"] + 0.05


@pytest.mark.parametrize("estimator", [VAE, DLGM])
@pytest.mark.parametrize("prior", ["mixture", "normal"])
def test_a_row_without_cells_has_log_density_0_and_is_filled_by_draws_of_the_model(estimator, prior):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((200, 1)) < 0.5, -3.0, 3.0) + 0.3 * rng.standard_normal((200, 2))
    model = estimator(1, prior=prior, hidden_layer_sizes=(16,), max_iter=40, learning_rate_init=0.01, random_state=0)
    model.fit(X)
    empty = np.full((1000, 2), np.nan)
    np.testing.assert_array_equal(model.score_samples(empty[:1]), 0)
    np.testing.assert_allclose(model.elbo_samples(empty[:1]), 0, atol=1e-5)
    drawn = model.sample(1000, random_state=0)
    filled = np.concatenate(model.impute(empty, n_draws=1, random_state=0))
    for column in range(2):
        assert stats.ks_2samp(filled[:, column], drawn[:, column]).statistic < 0.12


@pytest.mark.parametrize("prior", ["mixture", "normal"])
def test_codes_are_drawn_from_the_prior_and_decode_to_means_of_rows(prior):
    model = DLGM((2, 3), prior=prior, transform_layers="all", hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    model.set_params(early_stopping=False).fit(two_moons(100))
    codes = model.sample_codes(20_000, random_state=1)
    np.testing.assert_array_equal(codes, model.sample_codes(20_000, random_state=1))
    expected = np.r_[0, 0, np.broadcast_to(torch.as_tensor(model.module_.p_z.expectation).numpy(), 3)]
    np.testing.assert_allclose(codes.mean(0), expected, atol=0.04)
    # rows scatter around the decoded codes: both have the same mean
    decoded, rows = model.inverse_transform(codes), model.sample(20_000, random_state=2)
    np.testing.assert_allclose(decoded.mean(0), rows.mean(0), atol=0.05)
    assert (decoded.std(0) < rows.std(0)).all()
    top = model.set_params(transform_layers="top").sample_codes(20_000, random_state=1)
    np.testing.assert_array_equal(top, codes[:, 2:])
    with pytest.raises(ValueError, match="n_samples"):
        model.sample_codes(0)

"""Adapted proposals against exact posteriors of normals and mixtures, and rows with few observed cells."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from skdgm import DLGM, VAE, M2Classifier
from skdgm.distributions import Normal, log_mean_exp
from skdgm.models.adaptive import EFFECTIVE_SHARE, Proposal, adapted_draws, drawn, fitted_normal, tempered
from skdgm.noise import RowNoise


def normal(mean, sd, rng):
    return Proposal.of(Normal(torch.as_tensor(mean).float(), 2 * torch.log(torch.as_tensor(sd).float())), rng)


def test_a_mixture_of_proposals_has_its_density():
    rng = torch.Generator().manual_seed(0)
    parts = (
        (normal(np.zeros((4, 2)), np.ones((4, 2)), rng), 10),
        (normal(np.ones((4, 2)), np.full((4, 2), 3.0), rng), 30),
    )
    z, log_q = drawn(*parts)
    expected = np.log(0.25 * norm.pdf(z).prod(-1) + 0.75 * norm.pdf(z, 1, 3).prod(-1))
    np.testing.assert_allclose(log_q, expected, rtol=1e-4)
    assert z.shape == (40, 4, 2)


def test_weights_keep_an_effective_number_of_draws():
    log_w = 20 * torch.randn(200, 50, generator=torch.Generator().manual_seed(0))
    log_w[:, 0] = 0.0  # equal weights stay
    found = tempered(log_w)
    effective = 1 / (torch.softmax(found, 0) ** 2).sum(0)
    assert (effective >= EFFECTIVE_SHARE * 200 - 1e-3).all() and (effective[1:] < 2 * EFFECTIVE_SHARE * 200).all()
    power = found[:, 1:] / log_w[:, 1:]
    torch.testing.assert_close(power, power[:1].expand_as(power), rtol=1e-3, atol=1e-6)
    assert torch.equal(found[:, 0], log_w[:, 0])


def test_the_fitted_normal_has_the_moments_of_the_weights():
    z = torch.randn(20_000, 3, 2, generator=torch.Generator().manual_seed(0))
    found = fitted_normal(z, -0.5 * ((z - 1) ** 2).sum(-1))  # N(0, I) times N(1, I) is N(1/2, I/2)
    np.testing.assert_allclose(found.mean, 0.5, atol=0.03)
    np.testing.assert_allclose(torch.exp(found.log_var), 1.3 * 0.5, rtol=0.06)


@pytest.mark.parametrize("observed", [1, 3, 8])
def test_adapted_draws_integrate_a_posterior_that_the_encoder_misses(observed):
    """x = z_1 + noise in each of 8 cells, z of 4 dimensions; the encoder is narrow and far off."""
    n, sd = 400, 0.3
    x = torch.full((n, observed), 2.0) + 0.1 * torch.arange(observed)
    rng = RowNoise(0, torch.arange(float(n))[:, None])

    def log_joint(z):
        log_x = torch.from_numpy(norm.logpdf(x, z[..., :1], sd)).sum(-1)
        return (log_x + torch.from_numpy(norm.logpdf(z)).sum(-1)).float()

    q_z = normal(np.full((n, 4), -1.0), np.full((n, 4), 0.1), rng)
    p_z = Proposal.standard_normal((n, 4), rng, x)
    log_w, z = adapted_draws(log_joint, q_z, p_z, rng, 50)
    exact = multivariate_normal.logpdf(x[0], np.zeros(observed), 1 + sd**2 * np.eye(observed))
    found = log_mean_exp(log_w)
    assert abs(found.mean() - exact) < 0.05 and found.min() > exact - 3.0
    assert torch.logsumexp(found, 0).item() - np.log(n) == pytest.approx(exact, abs=0.05)  # unbiased
    weight = torch.softmax(log_w, 0)
    variance = 1 / (1 + observed / sd**2)
    mean = (weight * z[..., 0]).sum(0)
    assert mean.mean() == pytest.approx(variance * float(x[0].sum()) / sd**2, abs=0.03)
    spread = (weight * (z[..., 0] - mean) ** 2).sum(0).mean()
    assert spread == pytest.approx(variance, rel=0.15)
    assert (weight * z[..., 1] ** 2).sum(0).mean() == pytest.approx(1, abs=0.1)  # the prior's


# --- estimators: one cell of six is observed --------------------------------------------------------------------------


def table(n=600):
    """z, and six columns: z with much noise, and five times z with little, so that the first says little of them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    return z, np.c_[z + rng.normal(size=n), z[:, None] + 0.2 * rng.normal(size=(n, 5))]


MAKERS = {
    "VAE": lambda: VAE(2, max_iter=60, random_state=0),
    "DLGM": lambda: DLGM((2, 2), max_iter=60, random_state=0),
    "VAE of holes": lambda: VAE(2, max_iter=60, random_state=0),
    "M2": lambda: M2Classifier(2, max_iter=60, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_rows_of_which_little_is_known_have_wide_draws(name):
    """x_0 = 2.5: given it, x_1 has mean 1.25 and variance 1/2 + 0.04. The model's own draws of complete rows agree."""
    z, X = table()
    y = (X[:, 1:].mean(1) > 1).astype(int)
    if name == "VAE of holes":
        X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    model = MAKERS[name]()
    model.fit(X, y) if name == "M2" else model.fit(X)
    rows = np.full((100, 6), np.nan)
    rows[:, 0] = 2.5 + np.linspace(-0.01, 0.01, 100)
    own = model.sample(100_000, random_state=0)
    own = np.asarray(own[0] if isinstance(own, tuple) else own)
    near = own[np.abs(own[:, 0] - 2.5) < 0.1, 1]
    drawn = np.asarray(model.impute(rows, n_draws=20, random_state=0))[..., 1]
    assert drawn.mean() == pytest.approx(near.mean(), abs=0.12) and near.mean() == pytest.approx(1.25, abs=0.2)
    assert drawn.std() == pytest.approx(near.std(), rel=0.15)
    assert model.impute(rows)[:, 1].mean() == pytest.approx(near.mean(), abs=0.12)
    density = np.log(np.mean(np.abs(own[:, 0] - 2.5) < 0.1) / 0.2)
    assert model.score_samples(rows).mean() == pytest.approx(density, abs=0.12)
    if name == "M2":
        share = (own[np.abs(own[:, 0] - 2.5) < 0.1, 1:].mean(1) > 1).mean()
        assert model.predict_proba(rows)[:, 1].mean() == pytest.approx(share, abs=0.08)
        model.set_params(proba_method="bayes")
        assert model.predict_proba(rows)[:, 1].mean() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("name", ["VAE of holes", "M2"])
def test_complete_rows_beside_rows_with_holes_keep_their_density(name):
    _, X = table(200)
    y = (X[:, 1] > 0).astype(int)
    X[:50][np.random.default_rng(1).random((50, 6)) < 0.3] = np.nan
    model = MAKERS[name]().set_params(max_iter=3)
    model.fit(X, y) if name == "M2" else model.fit(X)
    together, alone = model.score_samples(X), model.score_samples(X[50:])
    assert np.array_equal(together[50:], alone)
    assert np.array_equal(together[:50], np.concatenate([model.score_samples(row) for row in np.split(X[:50], 10)]))

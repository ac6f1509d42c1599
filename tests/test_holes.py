"""Missing cells that the networks have not learned to read: chains fill them, and a mixture over the fills is read."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skdgm import DLGM, VAE, ADGMClassifier, M1M2Classifier, M2Classifier
from skdgm.distributions import Normal
from skdgm.models.holes import fills, has_new_holes, learned_holes
from skdgm.noise import RowNoise
from skdgm.structured_normals import EqualMixture, FullNormal, LowRankNormal

SHORT = {"hidden_layer_sizes": (16,), "random_state": 0}


def curved_rows(n, seed=0):
    """Six columns that depend on two numbers, not linearly."""
    rng = np.random.default_rng(seed)
    z, weights = rng.standard_normal((n, 2)), np.random.default_rng(9).standard_normal((2, 2, 6))
    return 2 * np.tanh(z @ weights[0]) + 0.5 * z @ weights[1] + 0.4 * rng.standard_normal((n, 6))


def with_one_hole(X, seed=0):
    """A missing cell in each row, and its column."""
    holes = np.random.default_rng(seed).integers(0, X.shape[1], len(X))
    holed = X.copy()
    holed[np.arange(len(X)), holes] = np.nan
    return holed, holes


class Quadrature:
    """The fitted decoder at a grid of two-dimensional codes."""

    def __init__(self, model):
        axis = np.linspace(-6, 6, 161)
        codes = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        with torch.no_grad():
            z = torch.from_numpy(codes.astype(np.float32))
            p_x, log_p_z = model.module_.p_x(z), model.module_.p_z.log_prob(z).double().numpy()
        self.model, self.mean, self.var = model, p_x.mean.double().numpy(), p_x.log_var.double().exp().numpy()
        self.log_p_z = log_p_z + 2 * np.log(axis[1] - axis[0])

    def log_joint(self, X):
        """log p(x_observed, z) at each row and code."""
        x = self.model._columns.transform(X).astype(float)
        cells = -0.5 * (np.log(2 * np.pi * self.var) + (x[:, None] - self.mean) ** 2 / self.var)
        return np.nansum(cells, -1) + self.log_p_z

    def log_density(self, X):
        return logsumexp(self.log_joint(X), 1) - self.model._columns.log_scale(X)

    def moments(self, X, holes):
        """Mean and standard deviation of a missing cell of each row, standardized."""
        log_joint = self.log_joint(X)
        weight = np.exp(log_joint - logsumexp(log_joint, 1, keepdims=True))
        mean, var = self.mean[:, holes].T, self.var[:, holes].T
        first = (weight * mean).sum(1)
        return first, np.sqrt((weight * (var + mean**2)).sum(1) - first**2)


@pytest.mark.parametrize("estimator", [VAE, DLGM])
def test_holes_at_prediction_cost_nothing(estimator):
    """Fitted to complete rows: density and imputed draws of rows with one missing cell, against quadrature."""
    X = curved_rows(480)
    model = estimator(2, max_iter=120, **SHORT).fit(X[:400])
    holed, holes = with_one_hole(X[400:])
    exact = Quadrature(model)
    gap = model.score_samples(holed) - exact.log_density(holed)
    of_complete = model.score_samples(X[400:]) - exact.log_density(X[400:])
    assert abs(gap.mean()) < 0.05 and gap.mean() > of_complete.mean() - 0.03 and gap.min() > -0.6
    rows, (mean, sd) = np.arange(len(holed)), exact.moments(holed, holes)
    draws = model.impute(holed, n_draws=150, random_state=0)[:, rows, holes]
    draws = (draws - model._columns.center[holes]) / model._columns.scale[holes]
    assert np.mean(draws.std(0) / sd) == pytest.approx(1, abs=0.05)
    assert np.abs((draws.mean(0) - mean) / sd).mean() < 0.15


def test_fills_are_draws_of_the_conditional_if_the_encoder_is_exact():
    """x1 = z + noise, x2 = z + noise, q(z | x) the exact posterior: x2 given x1 has the normal's mean and variance."""
    var = 0.5
    precision = 1 + 2 / var

    def step(x, mask):
        z = Normal(x.sum(-1, keepdim=True) / var / precision, torch.full((1,), -np.log(precision)).float())
        return Normal(z.rsample(rng).expand(*x.shape), torch.full((2,), np.log(var)).float())

    x = torch.tensor([[1.5, 0.0]]).expand(4000, 2)
    rng = RowNoise(0, torch.arange(4000.0)[:, None])
    start = Normal(torch.full((10, 4000, 2), 1 / (1 + var) * 1.5), torch.full((2,), np.log(1 + var)).float())
    observed, learned = torch.tensor([True, False]).expand(4000, 2), torch.zeros(2, dtype=torch.bool)
    filled, mask = fills(x, rng, observed, learned, start, step, (10,))
    assert torch.equal(filled[..., 0], x[:, 0].expand(10, 4000)) and mask.all()
    covariance = np.array([[1 + var, 1], [1, 1 + var]])
    drawn = filled[..., 1].numpy().ravel()
    assert drawn.mean() == pytest.approx(1.5 / (1 + var), abs=0.03)
    assert drawn.var() == pytest.approx(covariance[1, 1] - 1 / covariance[0, 0], rel=0.05)


def test_a_learned_column_stays_missing():
    """Only columns that were complete in training are filled; others are read as missing."""
    learned = learned_holes([True, False, False], 3)
    observed = torch.tensor([[False, False, True]])
    start = Normal(torch.zeros(10, 1, 3), torch.zeros(3))
    step = lambda x, mask: Normal(x + 1, torch.zeros(3))  # noqa: E731
    filled, mask = fills(torch.zeros(1, 3), None, observed, learned, start, step, (10,))
    assert torch.equal(mask, torch.tensor([[[False, True, True]]]).expand(10, 1, 3))
    assert (filled[..., 1] != 0).all() and (filled[..., [0, 2]] == 0).all()
    assert has_new_holes(observed, learned)
    assert not has_new_holes(torch.tensor([[False, True, True]]), learned)
    assert not has_new_holes(torch.tensor([[False, False, False]]), learned)  # the prior is exact there
    assert not has_new_holes(None, learned)
    assert learned_holes(False, 2).tolist() == [False, False] and learned_holes(True, 2).tolist() == [True, True]


def a_normal(kind, n_components=3, n=4, d=2):
    rng = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, n_components, n, d, generator=rng)
    if kind == "diagonal":
        return Normal(mean, log_var), torch.diag_embed(log_var.exp())
    if kind == "low_rank":
        factors = torch.randn(n_components, n, 1, d, generator=rng)
        precision = torch.diag_embed((-log_var).exp()) + factors.mT @ factors
        return LowRankNormal(mean, -log_var, factors), torch.linalg.inv(precision)
    chol = torch.tril(torch.randn(n_components, n, d, d, generator=rng), -1) + torch.diag_embed((0.5 * log_var).exp())
    return FullNormal(mean, chol), chol @ chol.mT


@pytest.mark.parametrize("kind", ["diagonal", "low_rank", "full"])
def test_a_mixture_is_the_mean_of_its_components(kind):
    """Density against SciPy, mean, and the shares of draws."""
    components, covariance = a_normal(kind)
    mixture = EqualMixture(components).expand(7)
    z, log_prob = mixture.rsample_and_log_prob(torch.Generator().manual_seed(1))
    assert z.shape == (7, 4, 2) and log_prob.shape == (7, 4)
    for draw, row in np.ndindex(7, 4):
        normals = [multivariate_normal(components.mean[m, row], covariance[m, row]) for m in range(3)]
        expected = logsumexp([normal.logpdf(z[draw, row]) for normal in normals]) - np.log(3)
        assert log_prob[draw, row].item() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(mixture.mean, components.mean.mean(0))
    many, _ = EqualMixture(components).expand(6000).rsample_and_log_prob(torch.Generator().manual_seed(2))
    torch.testing.assert_close(many.mean(0), mixture.mean, atol=0.15, rtol=0)


CLASSIFIERS = {
    "M2": lambda **params: M2Classifier(3, max_iter=40, **SHORT, **params),
    "ADGM": lambda **params: ADGMClassifier(3, max_iter=40, **SHORT, **params),
    "M1M2": lambda **params: M1M2Classifier(3, encoder=VAE(4, max_iter=60, **SHORT), max_iter=40, **SHORT, **params),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("proba_method", ["classifier", "bayes"])
def test_classes_of_rows_with_holes(name, proba_method):
    """Near the accuracy on complete rows, without touching the predictions for these; the same in any batch."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    X = 3 * np.eye(3)[y] @ np.random.default_rng(5).standard_normal((3, 8)) + rng.standard_normal((400, 8))
    model = CLASSIFIERS[name](proba_method=proba_method).fit(X[:300], np.where(np.arange(300) < 90, y[:300], -1))
    holed = X[300:].copy()
    holed[rng.random(holed.shape) < 0.3] = np.nan
    complete = model.score(X[300:], y[300:])
    assert complete > 0.9 and model.score(holed, y[300:]) > complete - 0.1
    P = model.predict_proba(holed)
    both = model.predict_proba(np.vstack([X[300:], holed]))
    assert np.array_equal(both[:100], model.predict_proba(X[300:])) and np.array_equal(both[100:], P)
    assert np.array_equal(model.predict_proba(holed[37:38]), P[37:38])
    assert np.isfinite(model.transform(holed)).all() and np.isfinite(model.score_samples(holed)).all()
    entropy = lambda P: -(P * np.log(P + 1e-12)).sum(1).mean()  # noqa: E731
    assert entropy(P) > entropy(both[:100])  # fewer cells say less

"""Rows without any observed cell, whose posterior is the prior, and complete rows beside rows with missing cells."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from skdgm import DLGM, VAE, ADGMClassifier, M1M2Classifier, M2Classifier
from skdgm.datasets import mask_labels

SHORT = {"hidden_layer_sizes": (9,), "max_iter": 5, "random_state": 0}
# Enough draws for several blocks of importance weights.
MODELS = {
    "VAE": VAE(2, **SHORT),
    "DLGM": DLGM((3, 2), **SHORT),
    "DLGM, top-down": DLGM((3, 2), inference="top_down", **SHORT),
    "M2": M2Classifier(2, n_importance_samples=60, **SHORT),
    "M2, bayes": M2Classifier(2, n_importance_samples=60, proba_method="bayes", **SHORT),
    "ADGM": ADGMClassifier(2, n_importance_samples=60, **SHORT),
    "SDGM": ADGMClassifier(2, skip=True, n_importance_samples=60, proba_method="bayes", **SHORT),
    "M1M2": M1M2Classifier(2, encoder=VAE(2, **SHORT), n_importance_samples=60, proba_method="bayes", **SHORT),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def rows():
    """Iris with missing cells in the last fifty rows, and fifteen labels."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], mask_labels(y[order], 15, random_state=0)
    X[100:][np.random.default_rng(1).random((50, 4)) < 0.3] = np.nan
    X[-1] = np.nan
    return X, y


@pytest.mark.parametrize("name", MODELS)
def test_complete_rows_do_not_depend_on_rows_beside_them(rows, name):
    X, y = rows
    model = MODELS[name].fit(X, y)
    for method in ("score_samples", "elbo_samples", "transform", "predict_proba"):
        if hasattr(model, method):
            of = getattr(model, method)
            assert np.array_equal(of(X)[:100], of(X[:100])), method


@pytest.mark.parametrize("name", MODELS)
def test_a_row_without_observed_cells_has_density_one(rows, name):
    X, y = rows
    model = MODELS[name].fit(X, y)
    assert np.allclose(model.score_samples(X[-2:])[-1], 0, atol=1e-5)
    assert np.allclose(model.elbo_samples(X[-2:])[-1], 0, atol=1e-5)
    if hasattr(model, "class_prior_"):
        assert np.allclose(model.predict_proba(X[-2:])[-1], model.class_prior_, atol=1e-5)


@pytest.mark.parametrize("model", [VAE(2), DLGM((3, 2)), DLGM((3, 2), inference="top_down")])
@pytest.mark.parametrize("n_draws", [1, 5])
def test_rows_without_observed_cells_do_not_train(model, n_draws):
    module = model.set_params(**SHORT).fit(load_iris().data).module_.requires_grad_(True)
    x, observed = torch.zeros(7, 4), torch.ones(7, 4, dtype=torch.bool)
    observed[:3] = False
    rng = torch.Generator().manual_seed(0)
    bound = module.bound(x, rng, observed) if n_draws == 1 else module.importance_bound(x, rng, n_draws, observed)
    total = bound.total()
    assert not total[:3].any() and total[3:].all()
    module.zero_grad()
    total[:3].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


def two_groups(n):
    """Two columns of two groups of rows, so that the prior is no normal."""
    rng = np.random.default_rng(0)
    return rng.choice([-4.0, 4.0], n)[:, None] + rng.standard_normal((n, 2))


@pytest.mark.filterwarnings("ignore:DLGM has no active units")
@pytest.mark.parametrize("model", [VAE(2), DLGM((2, 2)), DLGM((2, 2), inference="top_down")])
def test_filling_a_row_without_observed_cells_draws_a_row(model):
    model = model.set_params(hidden_layer_sizes=(20,), random_state=0, max_iter=60, n_importance_samples=20)
    model.fit(two_groups(500))
    assert model.module_.p_z.__class__.__name__ == "MixturePrior"
    beside = np.r_[np.full((1, 2), np.nan), [[4.0, np.nan]]]
    filled = np.array(model.impute(beside, n_draws=2000, random_state=0))[:, 0]
    drawn = model.sample(20_000, random_state=0)
    for statistic in (lambda X: X, lambda X: X**2, lambda X: X.prod(1, keepdims=True)):
        one, other = statistic(filled), statistic(drawn)
        error = np.sqrt(one.var(0) / len(one) + other.var(0) / len(other))
        assert (np.abs(one.mean(0) - other.mean(0)) < 4 * error).all()

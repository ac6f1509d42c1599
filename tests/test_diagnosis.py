"""What a fit warns about its data, and what it tells about its columns."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skdgm import DLGM, VAE, M2Classifier
from skdgm.estimators._base import some
from skdgm.estimators._diagnosis import FACTOR_OF_DISTANCE, MIN_LABELED, are_dependent, share_unlike

FAST = {"hidden_layer_sizes": (16,), "random_state": 0}


def test_dependence_is_a_correlation_above_one_half():
    """Exact for two columns of chosen correlation; constant and missing cells do not matter."""
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(rng.standard_normal((200, 2)))[0].T * np.sqrt(200)
    a, b = a - a.mean(), b - b.mean()
    b -= a * (a @ b) / (a @ a)
    for correlation, expected in ((0.45, False), (0.55, True), (-0.55, True)):
        mixed = correlation * a / a.std() + np.sqrt(1 - correlation**2) * b / b.std()
        X = np.column_stack([a, mixed, np.ones(200)])
        assert np.corrcoef(X[:, 0], X[:, 1])[0, 1] == pytest.approx(correlation)
        assert are_dependent(X) is expected
    assert not are_dependent(a[:, None])
    holes = np.column_stack([a, a])
    holes[::10, 1] = np.nan
    assert are_dependent(holes)


def test_share_of_unlike_rows_by_brute_force():
    """The share beyond the factor times the largest nearest-neighbor distance among labeled rows."""
    rng = np.random.default_rng(1)
    labeled, unlabeled = rng.standard_normal((40, 2)), 3 * rng.standard_normal((300, 2))
    between = cdist(labeled, labeled)
    np.fill_diagonal(between, np.inf)
    far = cdist(unlabeled, labeled).min(1) > FACTOR_OF_DISTANCE * between.min(1).max()
    assert 0 < far.mean() < 1
    assert share_unlike(labeled, unlabeled) == pytest.approx(far.mean())
    assert share_unlike(labeled[: MIN_LABELED - 1], unlabeled) == 0
    assert share_unlike(labeled, unlabeled[:0]) == 0
    assert share_unlike(np.repeat(labeled, 3, 0), unlabeled) == pytest.approx(far.mean())  # repeated labels


def test_periodic_rows_are_not_read_as_one_class():
    """Labels that alternate row by row, in a table larger than what is looked at."""
    rows = np.arange(10_400)
    assert len(some(rows)) == 5_000 and 0.45 < (some(rows) % 2).mean() < 0.55
    np.testing.assert_array_equal(some(rows), np.unique(some(rows)))
    np.testing.assert_array_equal(some(rows[:5_000]), rows[:5_000])


def blobs(n, n_classes):
    """Well separated classes, in turn."""
    rng = np.random.default_rng(2)
    truth = np.arange(n) % n_classes
    return 12 * np.eye(4)[truth] + rng.standard_normal((n, 4)), truth


@pytest.mark.parametrize("missing", [False, True])
def test_m2_warns_of_a_class_without_labels_only(missing):
    """No warning if every class has labels (warnings are errors in this suite)."""
    X, truth = blobs(240, 3)
    y = np.where(np.arange(240) < 60, truth, -1)
    model = M2Classifier(max_iter=3, **FAST)
    if not missing:
        model.fit(X, y)
        return
    y[truth == 2] = -1
    with pytest.warns(UserWarning, match=r"^4\d% of the unlabeled rows are far from all labeled rows"):
        model.fit(X, y)


def test_no_warning_if_the_class_prior_names_the_class():
    """The user knows."""
    X, truth = blobs(240, 3)
    y = np.where((np.arange(240) < 60) & (truth < 2), truth, -1)
    M2Classifier(max_iter=3, class_prior={0: 0.3, 1: 0.3, 2: 0.4}, **FAST).fit(X, y)


@pytest.mark.parametrize("make", [VAE, DLGM])
def test_reconstruction_r2_by_hand(make):
    """1 - mean squared residual / variance, column by column, over the rows that trained; NaN if constant."""
    rng = np.random.default_rng(3)
    z = rng.standard_normal(400)
    X = np.column_stack([z, -2 * z + 0.1 * rng.standard_normal(400), rng.standard_normal(400), np.full(400, 7.0)])
    model = make(1, early_stopping=False, max_iter=60, **FAST).fit(X)
    residual = X - model.inverse_transform(model.transform(X))
    expected = 1 - (residual[:, :3] ** 2).mean(0) / X[:, :3].var(0)
    np.testing.assert_allclose(model.reconstruction_r2_[:3], expected, atol=1e-4)
    assert np.isnan(model.reconstruction_r2_[3])
    assert model.reconstruction_r2_[:2].min() > 0.9 and model.reconstruction_r2_[2] < 0.2

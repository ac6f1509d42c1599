"""The temperature of class probabilities: by brute force, by its laws, and in the classifiers."""

import numpy as np
import pytest
import sklearn
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss

from skdgm import VAE, ADGMClassifier, M1M2Classifier, M2Classifier, SemiSupervisedMetaClassifier
from skdgm.datasets import mask_labels
from skdgm.estimators._temperature import LOG_TEMPERATURE_SD, fit_temperature, folds, with_temperature
from skdgm.model_selection import LabeledStratifiedKFold

SKLEARN_VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
FAST = {"n_components": 2, "hidden_layer_sizes": (16,), "max_iter": 4, "n_importance_samples": 5, "random_state": 0}
MAKERS = {
    "M2": lambda **params: M2Classifier(**FAST | params),
    "ADGM": lambda **params: ADGMClassifier(**FAST | params),
    "M1M2": lambda **params: M1M2Classifier(encoder=VAE(2, hidden_layer_sizes=(16,), max_iter=4), **FAST | params),
}


def held_out(n, temperature, seed=0):
    """Log-probabilities that are too certain by a temperature, and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    right = log_softmax(2 * rng.standard_normal((n, 3)), 1)
    targets = np.array([rng.choice(3, p=p) for p in np.exp(right)])
    return log_softmax(right * temperature, 1), targets


def test_many_labels_find_the_temperature():
    """With 20,000 labels it is the true one, up to the sampling error."""
    for temperature in (0.5, 1.0, 3.0):
        assert fit_temperature(*held_out(20_000, temperature)) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("n", [5, 50])
def test_it_is_the_mode_under_the_log_normal_prior(n):
    """Against a grid of the negative log-likelihood plus the prior."""
    log_proba, targets = held_out(n, 2.0, seed=n)
    grid = np.exp(np.linspace(-3, 3, 20_001))
    losses = [
        -log_softmax(log_proba / t, 1)[np.arange(n), targets].sum() + 0.5 * (np.log(t) / LOG_TEMPERATURE_SD) ** 2
        for t in grid
    ]
    assert fit_temperature(log_proba, targets) == pytest.approx(grid[np.argmin(losses)], rel=1e-3)


def test_few_labels_draw_it_only_a_little_way():
    """One certain and wrong label moves it less far than twenty such labels."""
    wrong = np.log([[0.99, 0.01]])
    one, twenty = (fit_temperature(np.repeat(wrong, n, 0), np.ones(n, int)) for n in (1, 20))
    assert 1 < one < twenty


def test_with_temperature_keeps_the_order_and_normalizes():
    log_proba, _ = held_out(30, 1.0)
    assert with_temperature(log_proba, 1.0) is log_proba
    for temperature in (0.3, 4.0):
        scaled = with_temperature(log_proba, temperature)
        np.testing.assert_allclose(np.exp(scaled).sum(1), 1)
        np.testing.assert_array_equal(scaled.argsort(1), log_proba.argsort(1))


def test_folds_are_a_partition_of_the_labels_spread_over_classes():
    targets = np.array([-1, 0, 0, 1, -1, 1, 0, 1, 2, 0, 1, -1, 2])
    parts = folds(targets, 3, np.random.RandomState(0))
    assert sorted(np.concatenate(parts)) == np.flatnonzero(targets >= 0).tolist()
    counts = np.array([np.bincount(targets[part], minlength=3) for part in parts])
    assert (counts.max(0) - counts.min(0)).max() <= 1
    assert len(folds(np.array([0, 1, -1]), 5, np.random.RandomState(0))) == 2


def test_a_label_without_a_companion_says_nothing():
    """Its class is unknown to the fold's model; without any other label, the temperature is 1."""
    X, y = table()
    y[np.flatnonzero(y == "c")] = None
    without = MAKERS["M2"](calibration_cv=4).fit(X, y)
    assert 0.3 < without.temperature_ < 3
    y[2] = "c"
    assert 0.3 < MAKERS["M2"](calibration_cv=4).fit(X, y).temperature_ < 3
    for labels in (["a"], ["a", "b", "c"]):
        y = np.full(150, None, dtype=object)
        y[: len(labels)] = labels
        assert MAKERS["M2"](calibration_cv=2).fit(X, y).temperature_ == 1


def test_classes_that_only_the_prior_names_have_a_column():
    X, y = table()
    model = MAKERS["M2"](calibration_cv=2, class_prior={"a": 0.3, "b": 0.2, "c": 0.2, "d": 0.3}).fit(X, y)
    assert model.predict_proba(X).shape == (150, 4) and np.isfinite(model.temperature_)


def table(n=150):
    """Three overlapping classes of strings, 30 labels, some flipped: a model is too certain of them."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 3
    X = 1.5 * np.eye(3)[truth] + rng.standard_normal((n, 3))
    given = np.where(rng.random(n) < 0.2, (truth + 1) % 3, truth)
    y = np.full(n, None, dtype=object)
    y[:30] = np.array(["a", "b", "c"], dtype=object)[given[:30]]
    return X, y


@pytest.mark.parametrize("name", MAKERS)
def test_predict_and_the_model_do_not_depend_on_it(name):
    """The logits are those without folds, divided by temperature_; predict is the same; pickles keep it."""
    X, y = table()
    plain, calibrated = (MAKERS[name](calibration_cv=cv).fit(X, y) for cv in (None, 3))
    assert plain.temperature_ == 1
    np.testing.assert_array_equal(calibrated.predict(X), plain.predict(X))
    for method in ("classifier", "bayes"):
        plain.set_params(proba_method=method)
        calibrated.set_params(proba_method=method)
        assert calibrated.temperature_ not in (1, plain.temperature_)
        expected = log_softmax(plain.predict_log_proba(X) / calibrated.temperature_, 1)
        np.testing.assert_allclose(calibrated.predict_log_proba(X), expected, atol=1e-9)
    assert len({calibrated._temperatures[method] for method in ("classifier", "bayes")}) == 2


@pytest.mark.parametrize("params", [{"class_prior": [0.2, 0.3, 0.5]}, {"class_weight": {"a": 2.0, "b": 1.0, "c": 1.0}}])
def test_priors_and_weights_by_label_reach_the_folds(params):
    """A class with a single label is missing in one fold."""
    X, y = table()
    y[np.flatnonzero(y == "c")[1:]] = None
    model = MAKERS["M2"](calibration_cv=4, **params).fit(X, y)
    assert np.isfinite(model.temperature_) and model.temperature_ > 0


def test_an_encoder_is_fitted_once(monkeypatch):
    """The folds of M1M2Classifier share it."""
    fits, fit = [], VAE.fit
    monkeypatch.setattr(VAE, "fit", lambda self, X, y=None, **params: fits.append(1) or fit(self, X, y, **params))
    X, y = table()
    MAKERS["M1M2"](calibration_cv=3).fit(X, y)
    assert len(fits) == 1


def wine_with_three_labels_per_class(seed):
    X, y = load_wine(return_X_y=True)
    y_few = mask_labels(y, 9, random_state=seed)
    return X, y_few, X[y_few == -1], y[y_few == -1]


def test_three_labels_per_class_do_not_make_probabilities_worse():
    """Log-loss of the hidden labels, in the mean over seeds."""
    losses = []
    for seed in range(3):
        X, y_few, X_test, y_test = wine_with_three_labels_per_class(seed)
        for calibration_cv in (None, 3):
            model = M2Classifier(max_iter=5, calibration_cv=calibration_cv, random_state=seed).fit(X, y_few)
            losses.append(log_loss(y_test, model.predict_proba(X_test)))
    assert np.mean(losses[1::2]) < 1.05 * np.mean(losses[::2])


@pytest.mark.parametrize("method", ["sigmoid", "temperature"])
def test_scikit_learns_calibration_runs_with_three_labels_per_class(method):
    """With a temperature of scikit-learn's, predictions are those of the member, which has all labels."""
    if method == "temperature" and SKLEARN_VERSION < (1, 8):
        pytest.skip("scikit-learn has method='temperature' from 1.8 on")
    X, y_few, X_test, _ = wine_with_three_labels_per_class(0)
    member = M2Classifier(max_iter=5, random_state=0)
    calibrated = CalibratedClassifierCV(member, cv=LabeledStratifiedKFold(3), method=method, ensemble=False)
    model = SemiSupervisedMetaClassifier(calibrated).fit(X, y_few)
    proba = model.predict_proba(X_test)
    np.testing.assert_allclose(proba.sum(1), 1)
    if method == "temperature":
        assert np.array_equal(proba.argmax(1), member.fit(X, y_few).predict(X_test))

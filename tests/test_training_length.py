"""How long a fit is: the epochs that max_iter=None plans, and the warning if training ended while the bound rose."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skdgm import DLGM, VAE, M1M2Classifier, M2Classifier, training

N_COLUMNS = 3


class Planned(Exception):
    """Raised in place of training, with its settings."""


def labels_of_20(n_rows, n_labeled=20):
    return np.concatenate([np.full(n_rows - n_labeled, -1), np.arange(n_labeled) % 2])


def plan(model, n_rows, monkeypatch):
    """The settings with which a model would train on so many rows, 20 of them labeled."""
    rows = np.random.default_rng(0).standard_normal((n_rows, N_COLUMNS))

    def do_not_train(module, terms, settings, *args, **kwargs):
        raise Planned(settings)

    with monkeypatch.context() as patch, pytest.raises(Planned) as planned:
        patch.setattr(training, "train", do_not_train)
        model.fit(rows, labels_of_20(n_rows))
    return planned.value.args[0]


SMALL = {"hidden_layer_sizes": (4,), "random_state": 0}


@pytest.mark.parametrize("model", [VAE(2, **SMALL), DLGM(2, **SMALL)], ids=["VAE", "DLGM"])
@pytest.mark.parametrize(("n_rows", "n_steps"), [(100, 3), (1000, 12), (10_000, 18)])
def test_a_fit_plans_20000_steps(model, n_rows, n_steps, monkeypatch):
    """Whatever the number of rows, in whole epochs: passes over the rows that are not held out."""
    settings = plan(model, n_rows, monkeypatch)
    assert settings.n_steps == n_steps and settings.max_iter == -(-20_000 // n_steps)


@pytest.mark.parametrize(
    ("n_rows", "n_steps", "n_epochs"), [(100, 4, 250), (1000, 13, 77), (10_000, 20, 70), (150_000, 300, 67)]
)
def test_m2_plans_70_epochs_within_limits(n_rows, n_steps, n_epochs, monkeypatch):
    """At least 1,000 and at most 20,000 steps, in whole epochs: as many steps as a pass over all rows."""
    settings = plan(M2Classifier(2, **SMALL), n_rows, monkeypatch)
    assert (settings.n_steps, settings.max_iter) == (n_steps, n_epochs)
    assert n_epochs == 70 or min(abs(n_epochs * n_steps - limit) for limit in (1000, 20_000)) < n_steps


@pytest.mark.parametrize("n_rows", [100, 1000])
def test_m1m2_plans_as_m2_does(n_rows, monkeypatch):
    """Its own training, on the codes of an encoder that plans as a VAE does."""
    model, plans, train = M1M2Classifier(2, encoder=VAE(2, **SMALL), **SMALL), [], training.train

    def short(module, terms, settings, *args, **kwargs):
        plans.append(settings)
        one_epoch = training.Settings(1, settings.learning_rate_init, n_steps=settings.n_steps)
        return train(module, terms, one_epoch, *args, **kwargs)

    monkeypatch.setattr(training, "train", short)
    model.fit(np.random.default_rng(0).standard_normal((n_rows, N_COLUMNS)), labels_of_20(n_rows))
    monkeypatch.undo()
    for found, alone in zip(plans, (VAE(2, **SMALL), M2Classifier(2, **SMALL)), strict=True):
        expected = plan(alone, n_rows, monkeypatch)
        assert (found.max_iter, found.n_steps) == (expected.max_iter, expected.n_steps)


@pytest.mark.parametrize("estimator", [VAE, DLGM, M2Classifier])
def test_without_held_out_rows_it_plans_at_most_300_epochs(estimator, monkeypatch):
    """Nothing else would end the fit before it overfits. A given max_iter is obeyed."""
    expected = 250 if estimator is M2Classifier else 300
    assert plan(estimator(2, **SMALL, early_stopping=False), 100, monkeypatch).max_iter == expected
    few = plan(estimator(2, **SMALL), 40, monkeypatch)  # "auto" holds none of fewer than 50 rows out
    assert few.max_iter == 300 and few.n_steps == 2
    assert plan(estimator(2, **SMALL, early_stopping=False, max_iter=301), 100, monkeypatch).max_iter == 301
    assert plan(estimator(2, **SMALL, early_stopping=False, max_iter=7), 100, monkeypatch).max_iter == 7


@pytest.mark.parametrize("n_rows", [59, 95, 384, 999, 5999, 6000, 9999, 10_000])
def test_one_more_unlabeled_row_changes_the_number_of_steps_little(n_rows, monkeypatch):
    """At most by an epoch's steps in a VAE; in M2 also by one step for each of at most 70 epochs."""
    for model, n_epochs in [(VAE(2, **SMALL), 0), (M2Classifier(2, **SMALL), 70)]:
        first, second = (plan(model, n, monkeypatch) for n in (n_rows, n_rows + 1))
        change = abs(first.max_iter * first.n_steps - second.max_iter * second.n_steps)
        assert change <= max(first.n_steps, second.n_steps) + n_epochs


@pytest.mark.parametrize(("n_rows", "patience"), [(100, 40), (1000, 40), (10_000, 40), (60_000, 14), (300_000, 5)])
def test_patience_is_1500_steps_within_5_to_40_epochs(n_rows, patience, monkeypatch):
    """n_iter_no_change=None; a given number is obeyed."""
    few_columns = {"hidden_layer_sizes": (), "weight_prior": None, "random_state": 0}
    settings = plan(VAE(1, **few_columns), n_rows, monkeypatch)
    assert settings.n_iter_no_change == patience == min(40, max(5, -(-1500 // settings.n_steps)))
    assert plan(VAE(1, **few_columns, n_iter_no_change=11), 100, monkeypatch).n_iter_no_change == 11


# --- the warning ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def correlated():
    """300 rows of 20 binary columns, noisy copies of 3 hidden bits: far from independent."""
    rng = np.random.default_rng(0)
    bits = rng.random((300, 3)) < 0.5
    return (bits[:, np.arange(20) % 3] ^ (rng.random((300, 20)) < 0.05)).astype(float)


def converged(model, X, y=None):
    """Fit; a warning that the bound still rises is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return model.fit(X, y)


STILL_ROSE = r"reached its {} epochs while the bound still rose, by [0-9.]+ nats per row .*Raise max_iter above {}"


@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_a_fit_that_stops_too_early_warns(early_stopping, correlated):
    """It says for how many epochs it ran and by how much the bound rose."""
    model = VAE(3, hidden_layer_sizes=(16,), max_iter=14, early_stopping=early_stopping, random_state=0)
    with pytest.warns(ConvergenceWarning, match=STILL_ROSE.format(14, 14)):
        model.fit(correlated)
    bounds = np.array(model.validation_scores_ or model.history_["bound"])[:7]  # at full rate
    assert bounds[6] - bounds[5] > max(0.1, 0.01 * abs(bounds[6]))


@pytest.mark.parametrize(
    ("n_epochs", "way_out"), [(20, r"above 20 \(None means up to 77 here\)"), (77, "=154"), (150, "=300")]
)
def test_the_warning_advises_more_epochs(n_epochs, way_out):
    """And ``max_iter=None`` only if it means more."""
    with pytest.warns(ConvergenceWarning, match="max_iter ?" + way_out):
        M2Classifier()._warn_if_still_rising("M2Classifier", n_epochs, 77, 1.6)


def test_m2_warns_too(correlated):
    """In a fit of a few epochs with few labels."""
    model = M2Classifier(3, hidden_layer_sizes=(16,), max_iter=12, random_state=0)
    with pytest.warns(ConvergenceWarning, match="M2Classifier " + STILL_ROSE.format(12, 12)):
        model.fit(correlated, labels_of_20(300))


def test_a_default_fit_does_not_warn(correlated):
    """Its bound is far above that of the fit that stops too early, and it ended by itself."""
    model = converged(VAE(3, hidden_layer_sizes=(16,), random_state=0), correlated)
    assert model.n_iter_ < 20_000 / 9  # steps per epoch: 270 rows in batches of at most 32
    with pytest.warns(ConvergenceWarning):
        short = VAE(3, hidden_layer_sizes=(16,), max_iter=14, random_state=0).fit(correlated)
    assert max(model.validation_scores_) > max(short.validation_scores_) + 1


def test_a_fit_that_early_stopping_ended_does_not_warn(correlated):
    """Even after few epochs, because the bound of held-out rows had stopped rising."""
    model = VAE(3, hidden_layer_sizes=(16,), early_stopping=True, n_iter_no_change=1, tol=1e3, max_iter=30)
    assert converged(model.set_params(random_state=0), correlated).n_iter_ == 2


@pytest.mark.parametrize("max_iter", [1, 2])
def test_a_fit_of_one_epoch_at_full_rate_has_nothing_to_compare(max_iter, correlated):
    """No warning."""
    converged(VAE(3, hidden_layer_sizes=(16,), max_iter=max_iter, random_state=0), correlated)

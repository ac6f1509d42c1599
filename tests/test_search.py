"""Searches of scikit-learn and Optuna, and joblib's dask backend, with unlabeled rows and without hangs."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.datasets import load_wine
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdgm import VAE, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.model_selection import LabeledStratifiedKFold

FAST = {"hidden_layer_sizes": (8,), "random_state": 0}
X, TRUTH = load_wine(return_X_y=True)
y = mask_labels(TRUTH, 45, random_state=0)
CV = LabeledStratifiedKFold(n_splits=3)


def test_successive_halving_over_epochs_in_a_pipeline():
    search = HalvingRandomSearchCV(
        make_pipeline(StandardScaler(), M2Classifier(early_stopping=False, **FAST)),
        {"m2classifier__learning_rate_init": loguniform(1e-3, 1e-2)},
        n_candidates=4,
        factor=2,
        resource="m2classifier__max_iter",
        min_resources=1,
        max_resources=4,
        cv=CV,
        random_state=0,
    ).fit(X, y)
    assert search.n_candidates_ == [4, 2, 1] and search.n_resources_ == [1, 2, 4]
    assert search.best_estimator_[-1].n_iter_ == 4
    assert search.score(X, TRUTH) > 0.8


def test_optuna_finds_what_scikit_learn_scores():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def accuracy(trial):
        model = M2Classifier(trial.suggest_int("n_components", 1, 3), max_iter=2, **FAST)
        return cross_val_score(model, X, y, cv=CV).mean()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(accuracy, n_trials=2)
    best = M2Classifier(**study.best_params, max_iter=2, **FAST)
    assert cross_val_score(best, X, y, cv=CV).mean() == study.best_value


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_dask_workers_find_the_same_scores():
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")
    model = M2Classifier(max_iter=2, **FAST)
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = distributed.Client(**options)
    with client, joblib.parallel_config(backend="dask"):
        scores = cross_val_score(model, X, y, cv=CV, n_jobs=2)
    np.testing.assert_array_equal(scores, cross_val_score(model, X, y, cv=CV))


def test_worker_processes_with_two_threads_do_not_hang():
    """A parent that has computed with two threads starts workers that do: new processes, not forks."""
    code = (
        "import torch, warnings; warnings.simplefilter('ignore'); torch.set_num_threads(2)\n"
        "from sklearn.datasets import load_wine\n"
        "from sklearn.model_selection import cross_val_score\n"
        "from skdgm import VAE\n"
        "if __name__ == '__main__':\n"
        "    X, _ = load_wine(return_X_y=True)\n"
        "    model = VAE(max_iter=1, random_state=0)\n"
        "    torch.ones(700, 700) @ torch.ones(700, 700)\n"
        "    assert len(cross_val_score(model.fit(X), X, cv=2, n_jobs=2)) == 2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_fits_in_threads_reproduce():
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="threading"):
        scores = cross_val_score(VAE(max_iter=2, **FAST), X, cv=3, n_jobs=3)
    np.testing.assert_array_equal(scores, cross_val_score(VAE(max_iter=2, **FAST), X, cv=3))
